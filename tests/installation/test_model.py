"""The life of a signing key, from its times alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keystead.crypto.keyring import FOREVER
from keystead.installation.model import KeyTimes, find_active, find_next, is_rotation_due, next_change

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OLD = KeyTimes("old", NOW, NOW, NOW + 10 * MINUTE, NOW + 71 * MINUTE)
NEW = KeyTimes("new", NOW, NOW + 10 * MINUTE)


@pytest.mark.parametrize(
    ("minutes", "old", "new", "signs"),
    [
        (0, "active", "next", "old"),
        (9.99, "active", "next", "old"),
        (10, "retiring", "active", "new"),
        (70.99, "retiring", "active", "new"),
        (71, "retired", "active", "new"),
    ],
)
def test_a_key_moves_on_with_time(minutes: float, old: str, new: str, signs: str) -> None:
    now = NOW + minutes * MINUTE
    active = find_active([OLD, NEW], now)
    assert (OLD.state(now), NEW.state(now)) == (old, new)
    assert active is not None
    assert active.kid == signs


def test_a_revoked_key_is_retired_whatever_the_clock_says() -> None:
    revoked = KeyTimes("x", NOW, NOW, revoked_at=NOW + MINUTE)
    assert revoked.state(NOW - MINUTE) == revoked.state(NOW) == "retired"
    assert find_active([revoked], NOW) is None


def test_a_node_whose_clock_lags_signs_with_the_key_that_comes_first() -> None:
    early = NOW - MINUTE
    assert find_active([NEW, OLD], early) == OLD
    assert find_active([], early) is None


def test_the_next_change_is_when_a_key_moves_on() -> None:
    keys = [OLD, NEW]
    assert next_change(keys, NOW) == NOW + 10 * MINUTE
    assert next_change(keys, NOW + 10 * MINUTE) == NOW + 71 * MINUTE
    assert next_change(keys, NOW + 71 * MINUTE) == FOREVER
    assert next_change([KeyTimes("x", NOW, NOW + MINUTE, revoked_at=NOW)], NOW) == FOREVER


def test_a_rotation_is_due_after_thirty_days_unless_one_is_under_way() -> None:
    key = KeyTimes("x", NOW, NOW)
    later = NOW + timedelta(days=30)
    assert is_rotation_due([key], later)
    assert not is_rotation_due([key], later - MINUTE)
    assert not is_rotation_due([key, KeyTimes("y", later, later + MINUTE)], later)
    assert not is_rotation_due([], later)
    assert find_next([key], later) is None
