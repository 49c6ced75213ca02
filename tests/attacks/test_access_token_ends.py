"""A18-A20: access tokens whose key was dropped, or whose session, user or brand has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keystead.brands import service as brands
from keystead.context import ActiveBrand, Server
from keystead.crypto.signing import SigningKey
from keystead.crypto.token_cache import TokenCache
from keystead.installation import service as installation
from keystead.installation import store as installation_store
from keystead.policy import SessionKind
from keystead.users.model import User
from keystead.web.upkeep import Upkeep
from tests.api import Api, make_api
from tests.attacks.operations import INVALIDATE, ME, assert_error, assert_token_refused, refresh, send_refresh
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_access_token, make_api_key, make_context, make_session, make_user

FAR = 10 * 366 * 86_400
"""Seconds, beyond the lifetime of any token: an attacker with a stolen key can choose any."""


async def _follow_keyring(server: Server) -> None:
    await Upkeep(server).follow_keyring()


async def _is_accepted(api: Api, token: str) -> bool:
    answer = await api.send(ME, token=token)
    if answer.status == 200:
        return bool(answer.data["me"])
    assert_token_refused(answer)
    return False


@pytest.mark.attack("A18")
async def test_a_key_is_accepted_as_its_schedule_says(
    server: Server, api: Api, forge: Forge, clock: ManualClock
) -> None:
    """Next, active, retiring: accepted and published. Dropped: refused, with a warm cache as well as a cold one."""
    old = forge.with_payload(exp=forge.payload["exp"] + FAR)
    waiting = (await installation.rotate(make_context(server))).kid
    stored = (await installation_store.list_private_keys(server.db.reads))[waiting]
    new_key = SigningKey.from_encrypted(waiting, stored, server.master_key)
    early = forge.with_header(new_key.signature, kid=waiting)
    assert waiting not in server.keyring.verifying, "this node has not seen the key yet"
    assert await _is_accepted(api, early), "published, and to become active in ten minutes"
    assert await _is_accepted(api, old)
    assert server.keyring.active.kid == forge.key.kid
    clock.advance(minutes=10)
    await Upkeep(server).follow_keyring()
    assert server.keyring.active.kid == waiting
    assert await _is_accepted(api, old), "retiring: the longest token of it may still be in use"
    clock.advance(seconds=3659)
    await Upkeep(server).follow_keyring()
    assert await _is_accepted(api, old)
    clock.advance(seconds=1)
    await Upkeep(server).follow_keyring()
    assert not await _is_accepted(api, old), "dropped, though the cache knows the token"
    server.token_cache.clear()
    assert not await _is_accepted(api, old)
    assert forge.key.kid.encode() not in server.keyring.jwks


@pytest.mark.attack("A18")
async def test_a_revoked_key_is_dropped_on_the_next_reload(server: Server, api: Api, forge: Forge) -> None:
    """Active or next: as soon as the node has read the keyring again, which it does every two seconds."""
    good = forge.good
    waiting = (await installation.rotate(make_context(server))).kid
    stored = (await installation_store.list_private_keys(server.db.reads))[waiting]
    early = forge.with_header(SigningKey.from_encrypted(waiting, stored, server.master_key).signature, kid=waiting)
    await Upkeep(server).follow_keyring()
    assert await _is_accepted(api, good)
    assert await _is_accepted(api, early)
    await installation.revoke(make_context(server), forge.key.kid)
    await Upkeep(server).follow_keyring()
    assert not await _is_accepted(api, good)
    assert await _is_accepted(api, early)
    await installation.revoke(make_context(server), waiting)
    await Upkeep(server).follow_keyring()
    assert not await _is_accepted(api, early)


@pytest.mark.attack("A19")
async def test_signing_out_of_all_sessions_takes_effect_on_the_next_request_on_every_node(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    """All tokens of the user, of both contracts and every session; those of other users stay valid."""
    kinds = (SessionKind.pair, SessionKind.pair, SessionKind.standing)
    tokens = [make_access_token(server, await make_session(server, brand, ann.id, kind)) for kind in kinds]
    bob = await make_user(server, brand, "bob@example.com")
    of_bob = make_access_token(server, await make_session(server, brand, bob.id))
    node = await make_api(replace(server, token_cache=TokenCache()))
    for token in (*tokens, of_bob):
        assert await _is_accepted(api, token)
        assert await _is_accepted(node, token)
    assert (await api.send(INVALIDATE, token=tokens[0])).data["invalidateRefreshToken"] is True
    for token in tokens:
        assert not await _is_accepted(api, token)
        assert not await _is_accepted(node, token)
    assert await _is_accepted(api, of_bob)
    assert await _is_accepted(api, make_access_token(server, await make_session(server, brand, ann.id)))


@pytest.mark.attack("A19")
async def test_an_ended_session_ends_its_access_tokens(server: Server, api: Api, brand: ActiveBrand, ann: User) -> None:
    """By logging out, or revoked from another session; a third session stays valid."""
    first, second, third = [await make_session(server, brand, ann.id) for _ in range(3)]
    tokens = [make_access_token(server, opened) for opened in (first, second, third)]
    assert (await api.send("mutation { logout { data { success } } }", token=tokens[0])).data
    assert [await _is_accepted(api, token) for token in tokens] == [False, True, True]
    revoke = "mutation ($id: ID!) { revokeSession(id: $id) { data { success } } }"
    assert (await api.send(revoke, {"id": second.session_id}, token=tokens[2])).data
    assert [await _is_accepted(api, token) for token in tokens] == [False, False, True]
    assert_error(await send_refresh(api, second.refresh_token.reveal()), "REFRESH_TOKEN_INVALID")
    assert await refresh(api, third.refresh_token.reveal())


@pytest.mark.attack("A20")
@pytest.mark.parametrize("what", ["user disabled", "user deleted", "brand disabled"])
async def test_a_token_is_rejected_after_its_user_or_brand_is_disabled_or_deleted(
    server: Server, api: Api, brand: ActiveBrand, other_brand: ActiveBrand, ann: User, what: str
) -> None:
    """Still after the user is enabled again, or recreated at the same address; other brands are not affected."""
    key = (await make_api_key(server, brand, "admin"))[1].reveal()
    opened, eve = await make_session(server, brand, ann.id), await make_user(server, other_brand, "eve@example.com")
    token = make_access_token(server, opened)
    of_eve = make_access_token(server, await make_session(server, other_brand, eve.id))
    assert await _is_accepted(api, token)
    if what == "brand disabled":
        await brands.set_disabled(make_context(server), brand.name, True)
    elif what == "user deleted":
        delete = "mutation ($ids: [ID!]!) { deleteUser(ids: $ids) { data { success } } }"
        assert (await api.send(delete, {"ids": [ann.id]}, key=key)).data
        await make_user(server, brand)
    else:
        update = (
            "mutation ($id: ID!, $off: Boolean) { updateUser(input: {id: $id, is_disabled: $off}) { data { id } } }"
        )
        for off in (True, False):
            assert (await api.send(update, {"id": ann.id, "off": off}, key=key)).data
            assert not await _is_accepted(api, token)
            assert_error(await send_refresh(api, opened.refresh_token.reveal()), "REFRESH_TOKEN_INVALID")
        assert await _is_accepted(api, make_access_token(server, await make_session(server, brand, ann.id)))
    assert not await _is_accepted(api, token)
    assert_error(await send_refresh(api, opened.refresh_token.reveal()), "REFRESH_TOKEN_INVALID")
    assert await _is_accepted(api, of_eve)
