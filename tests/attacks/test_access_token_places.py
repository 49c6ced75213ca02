"""A14-A17: where access tokens are read from, and other secrets in their place."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.policy import SessionKind
from keystead.users.model import User
from tests.api import Api
from tests.attacks.operations import HEALTH, ME, assert_error, assert_key_refused, assert_token_refused
from tests.attacks.watched import WatchedDatabase
from tests.forging import Forge
from tests.make import make_api_key, make_brand_token, make_session


@pytest.mark.attack("A14")
@pytest.mark.attack("A77")
async def test_each_header_accepts_its_own_kind_of_secret_only(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, ann: User, forge: Forge, watched: WatchedDatabase
) -> None:
    """Every kind, valid where it can be created; a wrong one is rejected by its shape, without a statement."""
    texts = {kind: [secrets.generate(kind).reveal()] for kind in SecretKind} | {
        SecretKind.refresh: [
            (await make_session(server, brand, ann.id, kind)).refresh_token.reveal() for kind in SessionKind
        ],
        SecretKind.secret_key: [(await make_api_key(server, brand, "admin"))[1].reveal()],
        SecretKind.publishable_key: [(await make_api_key(server, brand, "read", is_publishable=True))[1].reveal()],
        SecretKind.brand_token: [brand_token],
    }
    accepted = {"key": {SecretKind.secret_key, SecretKind.publishable_key}, "brand": {SecretKind.brand_token}}
    for (header, kinds), kind in product(accepted.items(), SecretKind):
        for text in texts[kind]:
            watched.forget()
            answer = await api.send(HEALTH, **{header: text})  # type: ignore[arg-type]
            if kind in kinds:
                assert answer.data["health"], (header, kind)
            else:
                assert_key_refused(answer, (header, kind))
                assert watched.asked == []
    watched.forget()
    for kind in SecretKind:
        for text, scheme in product(texts[kind], ("", "Bearer ")):
            assert_token_refused(await api.send(ME, token=scheme + text), kind)
    for header in accepted:
        assert_key_refused(await api.send(ME, **{header: forge.good}))  # type: ignore[arg-type]
    assert watched.asked == []
    assert (await api.send(ME, token=forge.good)).data["me"]


@pytest.mark.attack("A15")
async def test_an_access_token_elsewhere_is_ignored(api: Api, forge: Forge) -> None:
    """In the URL, the body, a cookie or another header it has no effect: the caller is anonymous."""
    token = forge.good
    assert (await api.send(ME, token=token)).data["me"]["email"] == "ann@example.com"
    names = ("access_token", "authorization", "Authorization", "auth_token", "token", "bearer")
    requests: list[dict[str, Any]] = [{"json": {"query": ME, name: f"Bearer {token}"}} for name in names]
    requests += [{"json": {"query": ME, "extensions": {name: token}}} for name in names]
    requests += [{"json": {"query": ME, "variables": {name: token}}} for name in names]
    requests += [{"json": {"query": ME}, "params": {name: token}} for name in names]
    requests += [{"json": {"query": ME}, "headers": {"Cookie": f"{name}={token}"}} for name in names]
    cookies = ("keystead_auth_token", "pylo_auth_token")
    requests += [{"json": {"query": ME}, "headers": {"Cookie": f"{name}={token}"}} for name in cookies]
    others = ("x-access-token", "x-auth-token", "x-authorization", "proxy-authorization", "x-forwarded-authorization")
    requests += [{"json": {"query": ME}, "headers": {name: f"Bearer {token}"}} for name in others]
    for request in requests:
        assert_error(await api.post(**request), "UNAUTHENTICATED", request)
    form = await api.post(data={"query": ME, "access_token": token})
    assert (form.status, "data" in form.body) == (415, False), "RFC 6750 §2.2"


@pytest.mark.attack("A16")
async def test_two_headers_of_one_kind_are_rejected(
    api: Api, server: Server, brand: ActiveBrand, brand_token: str, forge: Forge
) -> None:
    """Even when they are equal; aliases are one kind."""
    key = (await make_api_key(server, brand, "read"))[1].reveal()
    up = {"query": HEALTH}
    kinds = [
        (("authorization",), forge.good),
        (server.settings.api_key_headers, key),
        (server.settings.brand_headers, brand_token),
    ]
    assert [len(names) for names, _ in kinds] == [1, 3, 2]
    for names, value in kinds:
        for name in names:
            assert (await api.post(json=up, headers=[(name, value)])).status == 200, name
        for first, second in product(names, names):
            for other in (value, "something else", ""):
                answer = await api.post(json=up, headers=[(first, value), (second, other)])
                assert (answer.status, "data" in answer.body) == (400, False), (first, second)
                answer = await api.post(json=up, headers=[(first, other), (second.title(), value)])
                assert (answer.status, "data" in answer.body) == (400, False), (first, second)


@pytest.mark.attack("A16")
@pytest.mark.attack("A69")
async def test_credentials_of_two_brands_are_refused(
    api: Api, server: Server, brand: ActiveBrand, brand_token: str, other_brand: ActiveBrand, forge: Forge
) -> None:
    """Each is valid alone."""
    other_token = (await make_brand_token(server, other_brand)).reveal()
    keys = [
        (await make_api_key(server, which, "read", is_publishable=public))[1].reveal()
        for which, public in product((brand, other_brand), (False, True))
    ]
    for key in keys[:2]:
        assert (await api.send(ME, token=forge.good, key=key)).data["me"]
        assert (await api.send(ME, token=forge.good, key=key, brand=brand_token)).data["me"]
        assert_key_refused(await api.send(ME, token=forge.good, key=key, brand=other_token))
        assert_key_refused(await api.send(HEALTH, key=key, brand=other_token))
    for key in keys[2:]:
        assert (await api.send(HEALTH, key=key, brand=other_token)).data["health"]
        assert_key_refused(await api.send(ME, token=forge.good, key=key))
        assert_key_refused(await api.send(ME, token=forge.good, key=key, brand=brand_token))
        assert_key_refused(await api.send(HEALTH, key=key, brand=brand_token))
    assert (await api.send(ME, token=forge.good, brand=brand_token)).data["me"]
    assert_key_refused(await api.send(ME, token=forge.good, brand=other_token))


@pytest.mark.attack("A17")
async def test_bearer_in_any_case_or_the_raw_token(api: Api, forge: Forge) -> None:
    """The contract sends it raw; one space after the scheme, and nothing beside the token."""
    token = forge.good
    for value in (token, f"Bearer {token}", f"bearer {token}", f"BEARER {token}", f"bEaReR {token}"):
        assert (await api.send(ME, token=value)).data["me"]["email"] == "ann@example.com", value
    schemes = ("Basic", "Token", "JWT", "Digest", "DPoP", "MAC", "Bearer:", "Bearer,", "Bearer=", "Bearerx", "Bear")
    refused = [f"{scheme} {token}" for scheme in schemes]
    refused += [
        f"Bearer  {token}", f"Bearer\t{token}", f"Bearer \t{token}", f"Bearer{token}", f"Bearer {token} {token}",
        f"Bearer {token}, Bearer {token}", f"Bearer Bearer {token}", f"{token} Bearer", f"Bearer {token};",
        f'Bearer "{token}"',
        f"Bearer <{token}>", f"Bearer\xa0{token}", f"Bearer token={token}", f"{token},{token}", "Bearer", "Bearer ",
        "bearer",
        "", "null", "undefined", "Bearer null", "Bearer undefined", "Basic YW5uOnBhc3M=",
    ]  # fmt: skip
    for value in refused:
        assert_token_refused(
            await api.post(json={"query": ME}, headers={b"authorization": value.encode("latin-1")}), value
        )
