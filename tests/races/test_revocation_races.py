"""Revocation races sign-in and refresh: an acknowledged revocation holds against concurrent requests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable

import pytest

from keystead.authentication import login, logout
from keystead.authentication.authenticate import Credentials, authenticate
from keystead.authentication.password_change import change_password
from keystead.authentication.refresh import TokenPair, get_access_token, refresh_pair
from keystead.context import ActiveBrand, Context, Server
from keystead.errors import AccessTokenRefused, InvalidCredentials, RefreshTokenInvalid
from keystead.policy import SessionKind
from keystead.sessions import service as sessions
from keystead.sessions.rotation import RotationKeys
from keystead.users import login_store
from keystead.users import service as users
from keystead.users.model import User
from tests.authentication.observed import is_alive
from tests.make import PASSWORD, REQUEST, change_brand, make_access_token, make_caller, make_context, make_session
from tests.races.conftest import ROUNDS, Nodes, is_blocked, outcome

EMAIL = "ann@example.com"
NEW = "another long one"


async def assert_dead(nodes: Nodes, access_token: str) -> None:
    for node in nodes:
        with pytest.raises(AccessTokenRefused):
            await authenticate(node, REQUEST, Credentials(access_token))


@pytest.mark.race
@pytest.mark.attack("A30")
async def test_no_token_survives_log_out_everywhere(nodes: Nodes, brand: ActiveBrand, ann: User) -> None:
    """Whatever was issued before, and whatever a racing refresh gives back before or after the acknowledgement."""
    order = random.Random(30)
    for round_ in range(ROUNDS):
        shared = await make_session(nodes[0], brand, ann.id)
        sessions = [shared, *[await make_session(nodes[0], brand, ann.id) for _ in range(10)]]
        standing = await make_session(nodes[0], brand, ann.id, SessionKind.standing)
        issued = [make_access_token(nodes[0], opened) for opened in (*sessions, standing)]
        refresh_tokens = [opened.refresh_token.reveal() for opened in sessions]
        caller = await make_caller(nodes[0], shared)
        presented = [*refresh_tokens[1:], *[refresh_tokens[0]] * 10]
        racing: list[Awaitable[object]] = [
            refresh_pair(make_context(nodes[at % 2]), token) for at, token in enumerate(presented)
        ]
        racing += [
            get_access_token(make_context(nodes[at % 2]), standing.refresh_token.reveal(), None) for at in range(4)
        ]
        racing.append(logout.log_out_everywhere(caller, force=True))
        order.shuffle(racing)
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        refused = {type(one) for one in outcomes if isinstance(one, BaseException)}
        assert refused <= {RefreshTokenInvalid}, (round_, outcomes)
        pairs = [one for one in outcomes if isinstance(one, TokenPair)]
        issued += [pair.auth_token for pair in pairs] + [one for one in outcomes if isinstance(one, str)]
        refresh_tokens += [pair.refresh_token for pair in pairs]
        for token in issued:
            await assert_dead(nodes, token)
        for node in nodes:
            for token in refresh_tokens:
                with pytest.raises(RefreshTokenInvalid):
                    await refresh_pair(make_context(node), token)
            with pytest.raises(RefreshTokenInvalid):
                await get_access_token(make_context(node), standing.refresh_token.reveal(), None)
        again = await make_session(nodes[1], brand, ann.id)
        renewed = await refresh_pair(make_context(nodes[0]), again.refresh_token.reveal())
        assert (await authenticate(nodes[0], REQUEST, Credentials(renewed.auth_token))).brand


@pytest.mark.race
async def test_no_more_sessions_than_allowed_however_many_log_in(nodes: Nodes, brand: ActiveBrand, ann: User) -> None:
    brand = await change_brand(nodes[0], brand, {"policy": {"max_sessions": 3}})
    pairs = await asyncio.gather(
        *(login.log_in_pair(make_context(nodes[n % 2]), brand, EMAIL, PASSWORD) for n in range(12))
    )
    outcomes = [await outcome(authenticate(nodes[0], REQUEST, Credentials(pair.auth_token))) for pair in pairs]
    assert sum(isinstance(one, Context) for one in outcomes) == 3


async def hash_of(server: Server, brand: ActiveBrand, user: User) -> str:
    candidate = await login_store.find_login_of(server.db.reads, brand.id, user.id)
    assert candidate is not None
    assert candidate.password_hash is not None
    return candidate.password_hash


@pytest.mark.attack("A31")
async def test_a_concurrent_login_is_revoked_by_a_password_change(nodes: Nodes, brand: ActiveBrand, ann: User) -> None:
    first, second = nodes
    mine = await make_session(first, brand, ann.id)
    caller = await make_caller(second, mine)
    old_hash = await hash_of(first, brand, ann)
    keys, device = RotationKeys.of(first), sessions.device(REQUEST)
    async with first.db.transaction() as tx:
        opened = await sessions.open_session(
            tx, brand, ann.id, SessionKind.pair, device, keys, first.clock.now(), password_hash=old_hash
        )
        change = asyncio.create_task(change_password(caller, NEW, PASSWORD))
        assert await is_blocked(change)
    await change
    assert opened is not None
    assert not await is_alive(first, opened)
    assert await is_alive(first, mine)


@pytest.mark.race
@pytest.mark.attack("A31")
async def test_a_new_password_against_logins_with_the_old_one(nodes: Nodes, brand: ActiveBrand, ann: User) -> None:
    mine = await make_session(nodes[0], brand, ann.id)
    caller = await make_caller(nodes[0], mine)
    old, new = PASSWORD, NEW
    for _ in range(ROUNDS):
        logins = [outcome(login.log_in_pair(make_context(nodes[n % 2]), brand, EMAIL, old)) for n in range(8)]
        outcomes = await asyncio.gather(*logins[:4], change_password(caller, new, old), *logins[4:])
        for one in outcomes:
            if isinstance(one, TokenPair):
                await assert_dead(nodes, one.auth_token)
            else:
                assert one is None or isinstance(one, InvalidCredentials), one
        assert await is_alive(nodes[1], mine)
        old, new = new, old


@pytest.mark.race
async def test_deleting_a_user_against_refreshes_ends_without_a_deadlock(
    nodes: Nodes, brand: ActiveBrand, ann: User
) -> None:
    pairs = [await make_session(nodes[0], brand, ann.id) for _ in range(10)]
    work = [
        outcome(refresh_pair(make_context(nodes[n % 2]), one.refresh_token.reveal())) for n, one in enumerate(pairs)
    ]
    deletion = users.delete_users(make_context(nodes[1]), brand.id, [ann.id])
    *outcomes, deleted = await asyncio.gather(*work, outcome(deletion))
    assert deleted is None
    for one in outcomes:
        assert isinstance(one, TokenPair | RefreshTokenInvalid), one
        if isinstance(one, TokenPair):
            await assert_dead(nodes, one.auth_token)
