"""Rotation on both databases: one successor, forgiveness for a while, then reuse (security §3)."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import Secret
from keystead.sessions import rotation
from keystead.sessions.model import Expired, KindOff, Opened, Replayed, Reused, Rotated, Unknown, Verdict
from keystead.sessions.rotation import RotationKeys
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from tests.clocks import ManualClock
from tests.make import change_brand, make_context, make_session


async def rotate(server: Server, secret: Secret, expected: str | None = None) -> Verdict:
    keys = RotationKeys.of(server)
    async with server.db.transaction() as tx:
        return await rotation.rotate(tx, expected, secret, keys, server.clock.now())


async def rotated(server: Server, secret: Secret) -> Secret:
    verdict = await rotate(server, secret)
    assert isinstance(verdict, Rotated), verdict
    return verdict.refresh_token


@pytest.fixture
async def opened(server: Server, brand: ActiveBrand, ann: User) -> Opened:
    return await make_session(server, brand, ann.id)


async def test_a_token_is_rotated_into_another_of_the_same_session(server: Server, opened: Opened) -> None:
    verdict = await rotate(server, opened.refresh_token)
    assert isinstance(verdict, Rotated)
    assert (verdict.session_id, verdict.user_id, verdict.brand_id) == (
        opened.session_id,
        opened.user_id,
        opened.brand_id,
    )
    assert verdict.refresh_token.reveal() != opened.refresh_token.reveal()
    assert isinstance(await rotate(server, verdict.refresh_token), Rotated)


async def test_its_lifetime_counts_from_its_own_issue(server: Server, opened: Opened, clock: ManualClock) -> None:
    secret = opened.refresh_token
    for _ in range(3):
        clock.advance(days=6)
        secret = await rotated(server, secret)
    clock.advance(days=7)
    assert isinstance(await rotate(server, secret), Expired)


async def test_a_replay_walks_to_the_current_token(server: Server, opened: Opened, clock: ManualClock) -> None:
    secret = opened.refresh_token
    for _ in range(5):
        secret = await rotated(server, secret)
        clock.advance(seconds=1)
    verdict = await rotate(server, opened.refresh_token)
    assert isinstance(verdict, Replayed)
    assert verdict.refresh_token == secret


async def test_a_grandparent_is_not_a_lost_response(server: Server, opened: Opened, clock: ManualClock) -> None:
    await rotated(server, await rotated(server, opened.refresh_token))
    clock.advance(seconds=11)
    assert isinstance(await rotate(server, opened.refresh_token), Reused)


async def test_a_disabled_user_is_refused(server: Server, brand: ActiveBrand, opened: Opened) -> None:
    await users.update_user(make_context(server), brand.id, opened.user_id, UserChanges(is_disabled=True))
    assert isinstance(await rotate(server, opened.refresh_token), Unknown)
    await users.update_user(make_context(server), brand.id, opened.user_id, UserChanges(is_disabled=False))
    assert isinstance(await rotate(server, opened.refresh_token), Unknown)


async def test_a_deleted_user_leaves_no_token(server: Server, brand: ActiveBrand, opened: Opened) -> None:
    await users.delete_users(make_context(server), brand.id, [opened.user_id])
    assert isinstance(await rotate(server, opened.refresh_token), Unknown)


async def test_an_idle_limit_shortens_the_lifetime(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    strict = await change_brand(server, brand, {"policy": {"idle_ttl": 3600}})
    opened = await make_session(server, strict, ann.id)
    clock.advance(seconds=3599)
    successor = await rotated(server, opened.refresh_token)
    clock.advance(seconds=3600)
    assert isinstance(await rotate(server, successor), Expired)


@pytest.mark.attack("A28")
async def test_a_brand_without_pairs_rotates_nothing(
    server: Server, ann: User, opened: Opened, clock: ManualClock
) -> None:
    successor = await rotated(server, opened.refresh_token)
    await set_preset(server, "standing")
    assert isinstance(await rotate(server, successor), KindOff)
    clock.advance(hours=1)
    assert isinstance(await rotate(server, opened.refresh_token), KindOff)
    await set_preset(server, "pair")
    assert isinstance(await rotate(server, successor), Rotated)


async def set_preset(server: Server, preset: str) -> None:
    """Brands keep their preset for life; this is what a later release, or a hand in the database, might do."""
    from sqlalchemy import update

    from keystead.brands.store import brands
    from keystead.db.statements import Statement

    async with server.db.transaction() as tx:
        await tx.execute(Statement(update(brands).values(preset=preset)))
