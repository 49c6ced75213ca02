"""End the caller's session, another of theirs, or all of them."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.authentication import logout
from keystead.authentication.refresh import get_access_token, refresh_pair
from keystead.context import ActiveBrand, Anonymous, Context, Server
from keystead.errors import NoLoginMethod, NotFound, RefreshTokenInvalid, Unauthenticated
from keystead.policy import SessionKind
from keystead.sessions.model import Opened
from keystead.users import service as users
from keystead.users.model import User
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW
from tests.authentication.observed import events, is_alive
from tests.clocks import ManualClock
from tests.make import (
    PASSWORD,
    change_brand,
    make_brand,
    make_caller,
    make_context,
    make_session,
    make_user,
)


@pytest.fixture
async def two(server: Server, brand: ActiveBrand, ann: User) -> tuple[Opened, Opened]:
    """A pair and a standing session of one user."""
    return await make_session(server, brand, ann.id), await make_session(server, brand, ann.id, SessionKind.standing)


async def test_logout_ends_this_session_only(server: Server, two: tuple[Opened, Opened]) -> None:
    mine, other = two
    await logout.log_out(await make_caller(server, mine))
    assert (await is_alive(server, mine), await is_alive(server, other)) == (False, True)
    with pytest.raises(RefreshTokenInvalid):
        await refresh_pair(make_context(server), mine.refresh_token.reveal())


async def test_a_user_may_revoke_their_other_sessions(server: Server, two: tuple[Opened, Opened]) -> None:
    mine, other = two
    ctx = await make_caller(server, mine)
    await logout.revoke_session(ctx, other.session_id)
    assert (await is_alive(server, mine), await is_alive(server, other)) == (True, False)
    with pytest.raises(NotFound):
        await logout.revoke_session(ctx, other.session_id)


@pytest.mark.attack("A98")
async def test_a_user_may_not_revoke_sessions_of_others(
    server: Server, brand: ActiveBrand, two: tuple[Opened, Opened]
) -> None:
    bob = await make_user(server, brand, "bob@example.com")
    theirs = await make_session(server, brand, bob.id)
    other_brand = await make_brand(server, "other")
    elsewhere = await make_session(server, other_brand, (await make_user(server, other_brand)).id)
    ctx = await make_caller(server, two[0])
    refusals = set()
    for session_id in (theirs.session_id, elsewhere.session_id, "no id at all", ""):
        with pytest.raises(NotFound) as refused:
            await logout.revoke_session(ctx, session_id)
        refusals.add(refused.value.message)
    assert len(refusals) == 1
    assert await is_alive(server, theirs)
    assert await is_alive(server, elsewhere)


@pytest.mark.attack("A29")
async def test_log_out_everywhere_ends_sessions_of_both_kinds(
    server: Server, brand: ActiveBrand, two: tuple[Opened, Opened]
) -> None:
    pair, standing = two
    ctx = await make_caller(server, pair)
    with pytest.raises(NoLoginMethod):
        await logout.log_out_everywhere(await anonymous_caller(server, brand), force=False)
    await logout.log_out_everywhere(ctx, force=False)
    assert (await is_alive(server, pair), await is_alive(server, standing)) == (False, False)
    with pytest.raises(RefreshTokenInvalid):
        await refresh_pair(make_context(server), pair.refresh_token.reveal())
    with pytest.raises(RefreshTokenInvalid):
        await get_access_token(make_context(server), standing.refresh_token.reveal(), None)
    with pytest.raises(NotFound):
        await logout.revoke_session(ctx, standing.session_id)


async def anonymous_caller(server: Server, brand: ActiveBrand) -> Context:
    """A request of an anonymous user."""
    async with server.db.transaction() as tx:
        user_id = await users.create_anonymous(tx, brand.id, server.clock.now())
    return await make_caller(server, await make_session(server, brand, user_id, SessionKind.standing))


@pytest.mark.attack("A32")
@pytest.mark.parametrize(
    ("choices", "features", "can_return"),
    [
        ({"password": "rainbow123"}, {}, True),
        ({"password": "rainbow123"}, {"password_login": False}, False),
        ({"password": "rainbow123"}, {"password_login": False, "magic_login": True}, True),
        ({}, {}, False),
        ({}, {"magic_login": True}, True),
        ({"password": "rainbow123", "is_verified": False}, {"magic_login": True}, False),
        (None, {"magic_login": True}, False),
        ({"password": "rainbow123"}, {"email_verification": False}, True),
        ({}, {"magic_login": True, "password_login": False}, True),
        ({"password": "rainbow123", "is_verified": False}, {}, False),
        ({"is_verified": False}, {"magic_login": True}, False),
        (None, {}, False),
    ],
)
async def test_a_user_who_could_not_log_in_again_has_to_force_it(
    server: Server, brand: ActiveBrand, choices: dict[str, Any] | None, features: dict[str, bool], can_return: bool
) -> None:
    if choices is None:
        ctx = await anonymous_caller(server, brand)
    else:
        user = await make_user(server, brand, "bob@example.com", **choices)
        ctx = await make_caller(server, await make_session(server, brand, user.id))
    brand = await change_brand(server, brand, {"features": features})
    ctx = make_context(server, brand, ctx.principal)
    if not can_return:
        with pytest.raises(NoLoginMethod):
            await logout.log_out_everywhere(ctx, force=False)
        await logout.log_out_everywhere(ctx, force=True)
    else:
        await logout.log_out_everywhere(ctx, force=False)
    assert len(await events(server, brand, "session.all_ended")) == 1


async def test_each_end_is_recorded(
    server: Server, brand: ActiveBrand, two: tuple[Opened, Opened], clock: ManualClock
) -> None:
    mine, other = two
    ctx = await make_caller(server, mine)
    await logout.revoke_session(ctx, other.session_id)
    clock.advance(seconds=1)
    await logout.log_out(ctx)
    await logout.log_out(ctx)
    recorded = await events(server, brand, "session.ended")
    assert [(event.reason, event.session_id) for event in recorded] == [
        ("logout", mine.session_id),
        ("revoked", other.session_id),
    ]


async def test_an_anonymous_request_is_unauthenticated(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server, brand, Anonymous())
    for ending in (logout.log_out(ctx), logout.revoke_session(ctx, "x"), logout.log_out_everywhere(ctx, force=True)):
        with pytest.raises(Unauthenticated):
            await ending


async def test_a_change_outlives_all_sessions_of_a_user_without_login(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await changes.change_email(server, guest, NEW, PASSWORD)
    await logout.log_out_everywhere(await make_caller(server, guest), force=True)
    assert not await is_alive(server, guest)
    await changes.verify(server, await changes.newest_token(server))
    assert await changes.can_log_in(server, brand, NEW, PASSWORD)
