"""The states of a signing key, derived from its times."""

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
        (0, "active", "next", "old"), (9.99, "active", "next", "old"), (10, "retiring", "active", "new"),
        (70.99, "retiring", "active", "new"), (71, "retired", "active", "new"),
    ],
)  # fmt: skip
def test_states_over_time(minutes: float, old: str, new: str, signs: str) -> None:
    now = NOW + minutes * MINUTE
    active = find_active([OLD, NEW], now)
    assert (OLD.state(now), NEW.state(now)) == (old, new)
    assert active is not None
    assert active.kid == signs


def test_a_node_whose_clock_is_behind_signs_with_the_next_key() -> None:
    early = NOW - MINUTE
    assert find_active([NEW, OLD], early) == OLD
    assert find_active([], early) is None


def test_the_next_change_of_state() -> None:
    keys = [OLD, NEW]
    assert next_change(keys, NOW) == NOW + 10 * MINUTE
    assert next_change(keys, NOW + 10 * MINUTE) == NOW + 71 * MINUTE
    assert next_change(keys, NOW + 71 * MINUTE) == FOREVER
    assert next_change([KeyTimes("x", NOW, NOW + MINUTE, revoked_at=NOW)], NOW) == FOREVER


def test_a_rotation_is_due_after_thirty_days_unless_one_is_in_progress() -> None:
    key = KeyTimes("x", NOW, NOW)
    later = NOW + timedelta(days=30)
    assert is_rotation_due([key], later)
    assert not is_rotation_due([key], later - MINUTE)
    assert not is_rotation_due([key, KeyTimes("y", later, later + MINUTE)], later)
    assert not is_rotation_due([], later)
    assert find_next([key], later) is None
