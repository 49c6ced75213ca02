"""Opening sessions, and ending them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from keystead.context import ActiveBrand, Server
from keystead.pagination import PageRequest
from keystead.policy import SessionKind
from keystead.sessions import service as sessions
from keystead.sessions import store as session_store
from keystead.sessions.model import EndReason, Opened
from keystead.sessions.rotation import RotationKeys
from keystead.users import login_store
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from tests.clocks import ManualClock
from tests.make import REQUEST, change_brand, make_caller, make_context, make_session


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
