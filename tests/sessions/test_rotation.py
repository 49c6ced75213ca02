"""Rotate refresh tokens, and classify those that could not be rotated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import Secret
from keystead.policy import BrandPolicy, Preset, SessionKind
from keystead.sessions import rotation
from keystead.sessions.model import (
    Expired,
    Opened,
    PresentedToken,
    Replayed,
    Reused,
    Rotated,
    Unknown,
    Verdict,
)
from keystead.sessions.rotation import LONGEST_WALK, Judgement, RotationKeys, judge, judge_standing
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


async def test_an_idle_limit_shortens_the_lifetime(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    strict = await change_brand(server, brand, {"policy": {"idle_ttl": 3600}})
    opened = await make_session(server, strict, ann.id)
    clock.advance(seconds=3599)
    successor = await rotated(server, opened.refresh_token)
    clock.advance(seconds=3600)
    assert isinstance(await rotate(server, successor), Expired)


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = BrandPolicy()
CURRENT = PresentedToken(
    brand_id="brand",
    session_id="session",
    user_id="user",
    kind=SessionKind.pair,
    is_alive=True,
    preset=Preset.both,
    policy=POLICY,
    keyring_version=1,
    generation=3,
    head_generation=3,
    issued_at=NOW,
    expires_at=NOW + timedelta(days=7),
    rotated_at=None,
    used_at=NOW,
)
STANDING = msgspec.structs.replace(CURRENT, kind=SessionKind.standing, generation=0, head_generation=0, expires_at=None)


def rotated_token(seconds_ago: float, steps: int = 1) -> PresentedToken:
    return msgspec.structs.replace(
        CURRENT, rotated_at=NOW - timedelta(seconds=seconds_ago), head_generation=CURRENT.generation + steps
    )


@pytest.mark.parametrize(
    ("token", "word"),
    [
        pytest.param(None, "unknown", id="no such token"),
        pytest.param(rotated_token(0), "replay", id="immediately"),
        pytest.param(rotated_token(-2), "replay", id="by a node whose clock is behind"),
        pytest.param(rotated_token(-10, steps=2), "replay", id="before the clock went back by the grace"),
        pytest.param(rotated_token(-10.001, steps=2), "reuse", id="before the clock went back by more, not the parent"),
        pytest.param(rotated_token(-300), "replay", id="the answer was lost before the clock went back"),
        pytest.param(rotated_token(-300.001), "reuse", id="before the clock went back by more than the window"),
        pytest.param(rotated_token(10, steps=LONGEST_WALK), "replay", id="within the grace, however far behind"),
        pytest.param(rotated_token(10, steps=LONGEST_WALK + 1), "reuse", id="too far behind"),
        pytest.param(rotated_token(10.001, steps=2), "reuse", id="after the grace, not the parent"),
        pytest.param(rotated_token(300), "replay", id="the answer was lost"),
        pytest.param(rotated_token(300.001), "reuse", id="the answer was lost too long ago"),
    ],
)
def test_a_rotated_token_is_a_replay_within_its_windows(token: PresentedToken | None, word: str) -> None:
    assert judge(token, NOW, POLICY) is Judgement(word)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"kind": SessionKind.standing}, "unknown"),
        ({"is_alive": False}, "unknown"),
        ({"preset": Preset.standing}, "kind_off"),
        ({"preset": Preset.pair}, "replay"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + timedelta(microseconds=1)}, "replay"),
        ({"rotated_at": None}, "unknown"),
    ],
)
def test_dead_sessions_kinds_and_expiry_come_first(changes: dict[str, object], word: str) -> None:
    token = msgspec.structs.replace(rotated_token(1), **changes)
    assert judge(token, NOW, POLICY) is Judgement(word)


def test_a_token_of_an_ended_session_is_unknown() -> None:
    dead = msgspec.structs.replace(rotated_token(3600), is_alive=False, preset=Preset.standing)
    assert judge(dead, NOW, POLICY) is Judgement.unknown


def test_without_grace_and_window_each_replay_is_reuse() -> None:
    strict = BrandPolicy(grace=0, lost_window=0)
    assert judge(rotated_token(0), NOW, strict) is Judgement.replay
    assert judge(rotated_token(0.001), NOW, strict) is Judgement.reuse


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "usable"),
        ({"kind": SessionKind.pair}, "unknown"),
        ({"is_alive": False}, "unknown"),
        ({"rotated_at": NOW}, "unknown"),
        ({"preset": Preset.pair}, "kind_off"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + timedelta(seconds=1)}, "usable"),
        ({"used_at": NOW - timedelta(days=4000)}, "usable"),
    ],
)
def test_a_standing_token_is_usable_until_it_is_invalidated(changes: dict[str, object], word: str) -> None:
    assert judge_standing(msgspec.structs.replace(STANDING, **changes), NOW, POLICY) is Judgement(word)


def test_an_idle_limit_has_a_minute_of_slack() -> None:
    policy = BrandPolicy(idle_ttl=3600)
    in_time = msgspec.structs.replace(STANDING, used_at=NOW - timedelta(seconds=3659))
    too_late = msgspec.structs.replace(STANDING, used_at=NOW - timedelta(seconds=3660))
    for ahead, word in ((3659, Judgement.usable), (3660, Judgement.expired)):
        of_a_clock_ahead = msgspec.structs.replace(STANDING, used_at=NOW + timedelta(seconds=ahead))
        assert judge_standing(of_a_clock_ahead, NOW, policy) is word
    assert judge_standing(in_time, NOW, policy) is Judgement.usable
    assert judge_standing(too_late, NOW, policy) is Judgement.expired


@pytest.mark.parametrize(
    ("stored", "set_by_now", "end"),
    [(None, None, None), (None, 60, 60), (100, None, 100), (100, 60, 60), (100, 200, 100)],
)
def test_a_lifetime_that_the_brand_sets_applies_to_issued_tokens(
    stored: int | None, set_by_now: int | None, end: int | None
) -> None:
    """A longer one, or none any more, does not: a token keeps the end that it was issued with."""
    expires_at = None if stored is None else NOW + timedelta(seconds=stored)
    token = msgspec.structs.replace(STANDING, expires_at=expires_at)
    policy = BrandPolicy(standing_refresh_ttl=set_by_now)
    assert token.standing_expiry(policy) == (None if end is None else NOW + timedelta(seconds=end))
    if end is not None:
        assert judge_standing(token, NOW + timedelta(seconds=end - 0.1), policy) is Judgement.usable
        assert judge_standing(token, NOW + timedelta(seconds=end), policy) is Judgement.expired
