"""Open, list, end and sweep sessions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import func, select

from keystead.authentication.refresh import refresh_pair
from keystead.context import ActiveBrand, Server
from keystead.db.statements import Statement
from keystead.pagination import PageRequest
from keystead.policy import Preset, SessionKind
from keystead.sessions import refresh_token_store
from keystead.sessions import service as sessions
from keystead.sessions import store as session_store
from keystead.sessions.model import EndReason, Opened
from keystead.sessions.rotation import RotationKeys
from keystead.sessions.store import refresh_tokens
from keystead.sessions.store import sessions as session_table
from keystead.users import login_store
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from tests.clocks import ManualClock
from tests.make import (
    REQUEST,
    change_brand,
    make_access_token,
    make_brand,
    make_caller,
    make_context,
    make_session,
    make_user,
)


async def open_with(server: Server, brand: ActiveBrand, user_id: str, password_hash: str) -> Opened | None:
    keys, device = RotationKeys.of(server), sessions.device(REQUEST)
    async with server.db.transaction() as tx:
        return await sessions.open_session(
            tx, brand, user_id, SessionKind.pair, device, keys, server.clock.now(), password_hash=password_hash
        )


async def hash_of(server: Server, brand: ActiveBrand, user: User) -> str:
    candidate = await login_store.find_login_of(server.db.reads, brand.id, user.id)
    assert candidate is not None
    assert candidate.password_hash is not None
    return candidate.password_hash


async def alive(server: Server, opened: Opened) -> list[str]:
    ctx = await make_caller(server, opened)
    page = await sessions.list_own(ctx, ctx.principal, PageRequest(), with_total=True)  # type: ignore[arg-type]
    assert page.total == len(page.items)
    return [row.id for row in page.items]


async def test_a_session_opens_only_with_the_verified_hash(server: Server, brand: ActiveBrand, ann: User) -> None:
    right = await hash_of(server, brand, ann)
    assert await open_with(server, brand, ann.id, right)
    assert await open_with(server, brand, ann.id, right + "x") is None


async def test_a_disabled_user_opens_no_session(server: Server, brand: ActiveBrand, ann: User) -> None:
    right = await hash_of(server, brand, ann)
    await users.update_user(make_context(server), brand.id, ann.id, UserChanges(is_disabled=True))
    assert await open_with(server, brand, ann.id, right) is None


async def test_a_user_of_another_brand_opens_no_session(server: Server, brand: ActiveBrand, ann: User) -> None:
    elsewhere = replace(brand, id="01890000-0000-7000-8000-000000000000")
    assert await open_with(server, elsewhere, ann.id, await hash_of(server, brand, ann)) is None


async def test_the_oldest_pair_session_over_the_limit_is_ended(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    brand = await change_brand(server, brand, {"policy": {"max_sessions": 2}})
    opened = []
    for _ in range(4):
        opened.append(await make_session(server, brand, ann.id))
        clock.advance(seconds=1)
    assert [one.ended for one in opened] == [(), (), (opened[0].session_id,), (opened[1].session_id,)]
    assert await alive(server, opened[3]) == [opened[3].session_id, opened[2].session_id]


async def test_standing_sessions_are_not_counted(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    brand = await change_brand(server, brand, {"policy": {"max_sessions": 1}})
    standing = await make_session(server, brand, ann.id, SessionKind.standing)
    for _ in range(2):
        clock.advance(seconds=1)
        await make_session(server, brand, ann.id, SessionKind.standing)
    pair = await make_session(server, brand, ann.id)
    assert pair.ended == ()
    assert len(await alive(server, standing)) == 4


async def test_own_sessions_are_listed_while_they_can_be_used(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    pair = await make_session(server, brand, ann.id)
    clock.advance(days=6)
    standing = await make_session(server, brand, ann.id, SessionKind.standing)
    assert await alive(server, standing) == [standing.session_id, pair.session_id]
    clock.advance(days=1)
    assert await alive(server, standing) == [standing.session_id]


async def test_one_of_two_concurrent_ends_succeeds(server: Server, brand: ActiveBrand, ann: User) -> None:
    opened = await make_session(server, brand, ann.id)
    ends = []
    for _ in range(2):
        async with server.db.transaction() as tx:
            ends.append(
                await session_store.end_own_session(
                    tx, brand.id, ann.id, opened.session_id, EndReason.logout, server.clock.now()
                )
            )
    assert ends == [True, False]


@pytest.mark.parametrize("agent", ["", "curl/8", "x" * 300, "a\x00b\x1b[31m"])
def test_a_user_agent_is_stored_as_printable_text(agent: str) -> None:
    kept = sessions.device(msgspec.structs.replace(REQUEST, user_agent=agent)).user_agent
    assert kept is None if agent == "" else kept is not None
    assert kept is None or (len(kept) <= 200 and kept.isprintable())


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
