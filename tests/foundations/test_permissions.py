"""Permissions and permission sets."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keystead.errors import BadUserInput
from keystead.permissions import NOTHING, PermissionSet, is_permission

NAMES = [
    "read", "write", "admin",
    *(f"{entity}:{action}" for entity in ("customer", "order") for action in ("read", "write", "create", "update")),
    "customer:delete", "customer:read:own", "customer:write:own",
]  # fmt: skip
sets = st.sets(st.sampled_from(NAMES)).map(PermissionSet)
names = st.sampled_from(NAMES)


@pytest.mark.parametrize(
    ("held", "needed"),
    [
        ("admin", "read"), ("admin", "customer:delete"), ("read", "customer:read"), ("read", "customer:read:own"),
        ("write", "customer:create"), ("customer:write", "customer:update"), ("customer:write", "customer:write:own"),
        ("operator", "operator"),
    ],
)  # fmt: skip
def test_a_permission_covers(held: str, needed: str) -> None:
    assert PermissionSet([held]).covers(needed)


@pytest.mark.parametrize(
    ("held", "needed"),
    [
        ("write", "read"), ("read", "write"), ("write", "admin"), ("admin", "operator"), ("operator", "admin"),
        ("customer:read", "read"), ("customer:read", "order:read"), ("customer:read:own", "customer:read"),
        ("customer:create", "customer:write"), ("customer:write:own", "customer:update"),
    ],
)  # fmt: skip
def test_a_permission_does_not_cover(held: str, needed: str) -> None:
    assert not PermissionSet([held]).covers(needed)


def test_an_empty_set_covers_nothing() -> None:
    assert not any(NOTHING.covers(name) for name in [*NAMES, "operator"])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(sets, sets, names)
def test_an_intersection_never_allows_what_one_side_forbids(a: PermissionSet, b: PermissionSet, name: str) -> None:
    if a.intersect(b).covers(name):
        assert a.covers(name)
        assert b.covers(name)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(sets, sets, names)
def test_a_union_allows_what_either_side_allows(a: PermissionSet, b: PermissionSet, name: str) -> None:
    assert a.union(b).covers(name) == (a.covers(name) or b.covers(name))


@given(sets, sets)
def test_a_subset_allows_nothing_more(a: PermissionSet, b: PermissionSet) -> None:
    if a.is_subset(b):
        assert all(b.covers(name) for name in NAMES if a.covers(name))


@given(sets)
def test_the_stored_form_comes_back(held: PermissionSet) -> None:
    assert PermissionSet.parse(held.as_words()) == held


@pytest.mark.parametrize(
    "name", ["operator", "", "Read", "customer:", "customer:drop", "a b", "customer:create:own", "*"]
)
def test_invalid_permissions_are_rejected(name: str) -> None:
    assert not is_permission(name)
    with pytest.raises(BadUserInput) as caught:
        PermissionSet.of([name])
    assert caught.value.extensions == {"field": "permissions"}
