"""The examples of docs/sdk.md, and the Strawberry recipe, do what they say against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead_client import AsyncClient, Client
from tests.api import listening
from tests.docs.examples import ADDRESS, EMAIL, PASSWORD, against, example, run
from tests.make import make_api_key, make_brand, make_brand_token, make_entities, make_entity, make_user


async def test_a_program(server: Server, brand: ActiveBrand, capsys: pytest.CaptureFixture[str]) -> None:
    code = example("client.logout()")
    await against(server, lambda url: run(code.replace(ADDRESS, url)))
    assert capsys.readouterr().out.splitlines()[-1] == EMAIL


async def test_records(server: Server, brand: ActiveBrand, capsys: pytest.CaptureFixture[str]) -> None:
    _, key = await make_api_key(server, await make_entity(server, brand), "admin")
    code = example('entity("customer")').replace("ks_sk_...", key.reveal())
    await against(server, lambda url: run(code.replace(ADDRESS, url)))
    assert capsys.readouterr().out.splitlines()[-1] == "1 ['Ann']"


PEOPLE = {
    "rob@example.com": ("read", "write"),
    "bea@example.com": ("order:create", "order:read:own"),
    "tim@example.com": ("customer:read",),
}
ORDERS = "{ motto orders }"


@pytest.fixture
async def shop(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str]]]:
    """A browser at the Strawberry API, and the access tokens of people with and without permissions."""
    async with listening(server.settings, server) as url, AsyncClient(url) as client:
        tokens = {}
        await make_entities(server, brand, "order", "customer")
        for email, permissions in PEOPLE.items():
            await make_user(server, brand, email, password=PASSWORD, permissions=permissions)
            tokens[email[:3]] = (await client.login_with(email, PASSWORD, brand=brand.name)).auth_token or ""
        elsewhere = await make_brand(server, "elsewhere")
        await make_user(server, elsewhere, "eve@example.com", password=PASSWORD, permissions=("admin",))
        tokens["eve"] = (await client.login_with("eve@example.com", PASSWORD, brand="elsewhere")).auth_token or ""
        brand_token = (await make_brand_token(server, brand)).reveal()
        async with AsyncClient(url, brand_token=brand_token) as guest:
            await guest.create_me()
            tokens["ano"] = await guest.get_access_token()
        monkeypatch.setenv("KEYSTEAD_API_KEY", "ks_sk_stale")  # of another program
        names = run(example("import strawberry").replace(ADDRESS, url))
        await names["keystead"].login_with("bea@example.com", PASSWORD)  # as a login page does, once it has one
        transport = httpx.ASGITransport(app=names["app"], client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
            yield browser, tokens
        await names["keystead"].close()


@pytest.mark.parametrize("way", ["cookie", "bearer"])
async def test_strawberry(shop: tuple[httpx.AsyncClient, dict[str, str]], way: str) -> None:
    browser, tokens = shop

    async def asked(document: str, who: str) -> Any:
        token = tokens.get(who, "")
        shown = {"Cookie": f"keystead_auth_token={token}"} if way == "cookie" else {"Authorization": f"bearer {token}"}
        answer = (await browser.post("/graphql", json={"query": document}, headers=shown if token else {})).json()
        return answer["errors"][0]["extensions"] if "errors" in answer else answer["data"]

    assert await asked("{ motto }", "anonymous") == {"motto": "for everybody"}
    for who in ("anonymous", "eve", "ano"):
        assert await asked(ORDERS, who) == {"code": "UNAUTHENTICATED"}
    assert await asked(ORDERS, "tim") == {"code": "FORBIDDEN", "permission": "order:read:own"}
    assert await asked('mutation { order(what: "tea") }', "tim") == {"code": "FORBIDDEN", "permission": "order:create"}
    assert await asked('mutation { order(what: "paint") }', "bea") == {"order": True}
    assert await asked('mutation { order(what: "brushes") }', "rob") == {"order": True}
    assert await asked(ORDERS, "bea") == {"motto": "for everybody", "orders": ["paint"]}
    assert await asked(ORDERS, "rob") == {"motto": "for everybody", "orders": ["paint", "brushes"]}


@pytest.mark.parametrize("header", ["Cookie", "Authorization"])
async def test_strawberry_denies_access_while_the_server_is_unreachable(server: Server, header: str) -> None:
    async with listening(server.settings, server) as url:
        pass
    names = run(example("import strawberry").replace(ADDRESS, url))
    shown = {"Cookie": "keystead_auth_token=a.b.c", "Authorization": "Bearer a.b.c"}
    transport = httpx.ASGITransport(app=names["app"], client=("127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        answer = await browser.post("/graphql", json={"query": ORDERS}, headers={header: shown[header]})
        assert answer.status_code == 503


async def test_an_invalid_bearer_token_is_not_replaced_by_a_cookie(
    shop: tuple[httpx.AsyncClient, dict[str, str]],
) -> None:
    browser, tokens = shop
    shown = {"Cookie": f"keystead_auth_token={tokens['rob']}", "Authorization": "Bearer not-one"}
    answer = (await browser.post("/graphql", json={"query": ORDERS}, headers=shown)).json()
    assert answer["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_checking_tokens(server: Server, brand: ActiveBrand) -> None:
    def check(url: str) -> None:
        with Client(url, brand=brand.name) as client:
            tokens = client.login(EMAIL, PASSWORD)
            user_id = client.me(["id"])["id"]
        issuer, brand_id = server.settings.base_url, brand.id
        code = example("Verifier(").replace(ADDRESS, issuer).replace("<id of the brand>", brand_id)
        # The issuer of the tests is a name without a host: its keys are fetched where the server listens.
        code = code.replace('brand="', 'transport=listening, clock=now, brand="')
        keys = httpx.get(f"{url}/.well-known/jwks.json").content
        listening = httpx.MockTransport(lambda request: httpx.Response(200, content=keys))
        names = run(code, now=lambda: server.clock.now().timestamp(), listening=listening)
        assert names["user_id_of"](tokens.auth_token) == user_id

    await against(server, check)
