"""The sweep removes what is over for good, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from keystead.authentication.refresh import refresh_pair
from keystead.context import ActiveBrand, Server
from keystead.db.statements import Statement
from keystead.policy import Preset, SessionKind
from keystead.sessions import refresh_token_store
from keystead.sessions import store as session_store
from keystead.sessions.model import EndReason
from keystead.sessions.store import refresh_tokens
from keystead.sessions.store import sessions as session_table
from tests.clocks import ManualClock
from tests.make import make_access_token, make_brand, make_context, make_session, make_user

_COUNT_SESSIONS = Statement(select(func.count()).select_from(session_table), unbranded="test")
_COUNT_TOKENS = Statement(select(func.count()).select_from(refresh_tokens), unbranded="test")


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_brand(server)


async def left(server: Server) -> tuple[int, int]:
    found = [await server.db.reads.find(statement) for statement in (_COUNT_SESSIONS, _COUNT_TOKENS)]
    return (found[0] or [0])[0], (found[1] or [0])[0]


async def sweep(server: Server, limit: int = 100) -> int:
    async with server.db.transaction() as tx:
        return await refresh_token_store.sweep(tx, server.clock.now() - timedelta(days=30), limit)


async def test_an_ended_session_is_swept_after_its_time(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    user = await make_user(server, brand)
    opened = await make_session(server, brand, user.id, SessionKind.standing)
    async with server.db.transaction() as tx:
        await session_store.end_own_session(tx, brand.id, user.id, opened.session_id, EndReason.logout, clock.now())
    clock.advance(days=29)
    assert (await sweep(server), await left(server)) == (0, (1, 1))
    clock.advance(days=2)
    assert (await sweep(server), await left(server)) == (1, (0, 0))


async def test_a_standing_session_is_never_swept(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    user = await make_user(server, brand)
    await make_session(server, brand, user.id, SessionKind.standing)
    clock.advance(days=4000)
    assert (await sweep(server), await left(server)) == (0, (1, 1))


async def test_a_pair_session_is_swept_after_its_last_token_expired(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    user = await make_user(server, brand)
    await make_session(server, brand, user.id)
    clock.advance(days=36)
    assert await sweep(server) == 0
    clock.advance(days=2)
    assert (await sweep(server), await left(server)) == (1, (0, 0))


async def test_old_tokens_of_a_chain_are_swept_and_the_session_stays(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    user = await make_user(server, brand)
    opened = await make_session(server, brand, user.id)
    raw = opened.refresh_token.reveal()
    for _ in range(10):
        clock.advance(days=5)
        raw = (await refresh_pair(make_context(server, brand), raw)).refresh_token
    assert await left(server) == (1, 11)
    await sweep(server)
    assert await left(server) == (1, 8)
    assert (await refresh_pair(make_context(server, brand), raw)).auth_token
    assert make_access_token(server, opened)


async def test_a_sweep_goes_in_batches(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    user = await make_user(server, brand)
    for _ in range(3):
        await make_session(server, brand, user.id)
    clock.advance(days=60)
    assert [await sweep(server, 2), await sweep(server, 2), await sweep(server, 2)] == [2, 1, 0]


async def test_a_session_with_many_tokens_is_swept_in_slices(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    """Its DELETE alone would take all of its tokens along, and hold the writer meanwhile."""
    user = await make_user(server, brand)
    opened = await make_session(server, brand, user.id)
    raw = opened.refresh_token.reveal()
    for _ in range(10):
        clock.advance(minutes=1)
        raw = (await refresh_pair(make_context(server, brand), raw)).refresh_token
    async with server.db.transaction() as tx:
        await session_store.end_own_session(tx, brand.id, user.id, opened.session_id, EndReason.logout, clock.now())
    clock.advance(days=31)
    assert [(await sweep(server, 4), await left(server)) for _ in range(4)] == [
        (4, (1, 7)),
        (4, (1, 3)),
        (1, (0, 0)),
        (0, (0, 0)),
    ]


async def test_a_standing_session_is_swept_where_its_tokens_expire(server: Server, clock: ManualClock) -> None:
    brand = await make_brand(server, "standing", preset=Preset.standing, policy={"standing_refresh_ttl": 86_400})
    user = await make_user(server, brand)
    await make_session(server, brand, user.id, SessionKind.standing)
    clock.advance(days=30)
    assert await sweep(server) == 0
    clock.advance(days=2)
    assert (await sweep(server), await left(server)) == (1, (0, 0))
