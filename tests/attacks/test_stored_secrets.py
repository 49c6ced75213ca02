"""A33: a copy of the database contains no usable secret."""

from __future__ import annotations

import base64
import hashlib
from itertools import product

import pytest
from sqlalchemy import Table, bindparam, update

from keystead.api_keys.store import api_key_secrets
from keystead.brands.store import brand_tokens
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.db.statements import Statement
from keystead.policy import SessionKind
from keystead.sessions.store import refresh_tokens
from keystead.users.model import User
from tests.api import Api
from tests.attacks.dumped import assert_not_held, dump, is_digest_held
from tests.attacks.operations import (
    CREATE_ME,
    HEALTH,
    assert_error,
    assert_key_refused,
    get_access_token,
    log_in,
    refresh,
    send_get_access_token,
    send_login,
    send_refresh,
)
from tests.make import PASSWORD, make_api_key, make_brand_token, make_session

_CREATE_KEY = """
mutation ($public: Boolean) {
  createApiKey(input: { name: "a key", permissions: ["read"], publishable: $public }) { data { id token } }
}
"""
_ROTATE_KEY = "mutation ($id: ID!) { rotateApiKey(id: $id) { data { token } } }"
_CHANGE_PASSWORD = "mutation ($old: String, $new: String!) { changePassword(oldPassword: $old, newPassword: $new) }"


async def _use_everything(server: Server, api: Api, brand: ActiveBrand, brand_token: str, ann: User) -> dict[str, str]:
    """Every kind of secret that is issued or presented, by name."""
    access, first = await log_in(api, "ann@example.com", PASSWORD)
    refreshed, second = await refresh(api, first)
    _, third = await refresh(api, second)
    standing = (await api.send(CREATE_ME, brand=brand_token)).data["createMe"]
    short = await get_access_token(api, standing)
    admin = (await make_api_key(server, brand, "admin"))[1].reveal()
    made = [(await api.send(_CREATE_KEY, {"public": public}, key=admin)).data for public in (False, True)]
    keys = [answer["createApiKey"]["data"] for answer in made]
    rotated = (await api.send(_ROTATE_KEY, {"id": keys[0]["id"]}, key=admin)).data["rotateApiKey"]["data"]["token"]
    changed = {"old": PASSWORD, "new": "a new secret sentence"}
    assert (await api.send(_CHANGE_PASSWORD, changed, token=access)).data["changePassword"]
    await send_login(api, "ann@example.com", "a mistyped secret")
    await send_login(api, "unknown@example.com", "another mistyped secret")
    unknown = secrets.generate(SecretKind.refresh).reveal()
    await send_refresh(api, unknown)
    foreign_key = secrets.generate(SecretKind.secret_key).reveal()
    assert_key_refused(await api.send(HEALTH, key=foreign_key))
    return {
        "access token": access, "refreshed access token": refreshed, "short access token": short,
        "refresh token": first, "rotated refresh token": second, "current refresh token": third, "standing": standing,
        "brand token": brand_token, "first key": admin, "secret key": keys[0]["token"], "publishable": keys[1]["token"],
        "rotated key": rotated, "old password": PASSWORD, "new password": changed["new"],
        "mistyped": "a mistyped secret", "mistyped for an unknown user": "another mistyped secret", "presented":
        unknown, "presented key": foreign_key, "master key": "a master key that only tests may use",
    }  # fmt: skip


@pytest.mark.attack("A33")
async def test_a_dump_holds_no_issued_secret(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, ann: User, database_url: str
) -> None:
    """Not as text, not in base64, not the random part alone, not a token's signature."""
    used = await _use_everything(server, api, brand, brand_token, ann)
    held = await dump(database_url)
    # The digests are found, so the search works.
    kept = ("refresh token", "current refresh token", "standing", "brand token", "rotated key", "publishable")
    for name in kept:
        assert is_digest_held(held, used[name]), name
    assert ann.id.encode() in held
    assert_not_held(held, used)


@pytest.mark.attack("A33")
def test_digests_depend_on_the_kind() -> None:
    """SHA-256 over kind ‖ 0 ‖ secret: for every two kinds, with the same 256 bits or with the same text."""
    same = {kind: secrets.generate(kind, random=lambda size: b"\x5a" * size) for kind in SecretKind}
    assert len({secret.digest() for secret in same.values()}) == len(SecretKind)
    for kind, other in product(SecretKind, SecretKind):
        text = same[kind].reveal()
        assert (secrets.parse(text, other) is not None) is (kind is other)
        as_other = hashlib.sha256(other.value.encode() + b"\0" + text.encode()).digest()
        assert (as_other == same[kind].digest()) is (kind is other)


def _tamper(table: Table) -> Statement:
    change = update(table).where(table.c.digest == bindparam("before")).values(digest=bindparam("after"))
    return Statement(change, unbranded="a test tampers with the database")


_SET_KEY, _SET_BRAND_TOKEN, _SET_REFRESH_TOKEN = map(_tamper, (api_key_secrets, brand_tokens, refresh_tokens))


async def _is_accepted(api: Api, place: SecretKind, text: str) -> bool:
    """Whether a text is accepted where secrets of this kind are presented."""
    match place:
        case SecretKind.secret_key | SecretKind.publishable_key:
            answer = await api.send(HEALTH, key=text)
        case SecretKind.brand_token:
            answer = await api.send(HEALTH, brand=text)
        case _:
            answer = await send_get_access_token(api, text)
            if answer.errors:
                assert_error(answer, "REFRESH_TOKEN_INVALID")
                return False
            return True
    if answer.status == 401:
        assert_key_refused(answer)
        return False
    return "data" in answer.body


@pytest.mark.attack("A33")
async def test_a_digest_in_a_row_of_another_kind_is_useless(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    """Secrets are looked up as their own kind only."""
    rows = {
        SecretKind.secret_key: (_SET_KEY, (await make_api_key(server, brand, "admin"))[1]),
        SecretKind.publishable_key: (_SET_KEY, (await make_api_key(server, brand, "read", is_publishable=True))[1]),
        SecretKind.brand_token: (_SET_BRAND_TOKEN, await make_brand_token(server, brand)),
        SecretKind.refresh: (
            _SET_REFRESH_TOKEN,
            (await make_session(server, brand, ann.id, SessionKind.standing)).refresh_token,
        ),
    }
    for place, (statement, original) in rows.items():
        assert await _is_accepted(api, place, original.reveal())
        stored = original.digest()

        async def put(digest: bytes, statement: Statement = statement) -> None:
            nonlocal stored
            async with server.db.transaction() as tx:
                assert await tx.execute(statement, before=stored, after=digest) == 1
            stored = digest

        for kind in SecretKind:
            attacker = secrets.generate(kind)
            await put(attacker.digest())
            assert await _is_accepted(api, place, attacker.reveal()) is (kind is place), (place, kind)
            await put(hashlib.sha256(attacker.reveal().encode()).digest())
            assert not await _is_accepted(api, place, attacker.reveal()), (place, kind)
        assert not await _is_accepted(api, place, original.reveal())


@pytest.mark.attack("A33")
async def test_stored_digests_cannot_be_presented(server: Server, api: Api, brand: ActiveBrand, ann: User) -> None:
    """A digest, in whatever spelling, is no secret."""
    key = (await make_api_key(server, brand, "admin"))[1]
    standing = (await make_session(server, brand, ann.id, SessionKind.standing)).refresh_token
    assert await _is_accepted(api, SecretKind.secret_key, key.reveal())
    assert await _is_accepted(api, SecretKind.refresh, standing.reveal())
    for place, secret in ((SecretKind.secret_key, key), (SecretKind.refresh, standing)):
        digest = secret.digest()
        texts = [
            digest.hex(), base64.b64encode(digest).decode(), place.prefix + digest.hex(), secret.hint.encode().hex(),
        ]  # fmt: skip
        texts.append(secrets.generate(place, random=lambda _, digest=digest: digest).reveal())  # type: ignore[misc]
        for text in texts:
            assert not await _is_accepted(api, place, text), (place, text)
