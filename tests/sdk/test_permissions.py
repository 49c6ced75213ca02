"""The SDK decides about permissions as the server does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.permissions import ENTITY_ACTIONS, PermissionSet, is_permission
from keystead_client.permissions import allows

ACTIONS = [*ENTITY_ACTIONS, "read:own", "write:own"]
PERMISSIONS = ["admin", "read", "write", "operator"]
PERMISSIONS += [f"{entity}:{action}" for entity in ("customer", "customerOrder") for action in ACTIONS]
TEXTS = st.one_of(
    st.sampled_from(PERMISSIONS),
    st.from_regex(r"[a-zA-Z]{1,4}(:[a-z]{1,6}){0,3}\n?", fullmatch=True),
    st.builds(lambda name, action: f"{name}:{action}", st.text(max_size=50), st.sampled_from([*ACTIONS, "create:own"])),
)


def test_one_permission_includes_another_as_it_does_at_the_server() -> None:
    cases = list(itertools.product(PERMISSIONS, repeat=2))
    assert len(cases) > 300
    differing = [(has, needs) for has, needs in cases if allows([has], needs) != PermissionSet([has]).covers(needs)]
    assert differing == []


@given(st.sets(st.sampled_from(PERMISSIONS)), st.sampled_from(PERMISSIONS))
def test_sets_of_them_do_too(granted: set[str], needed: str) -> None:
    assert allows(granted, needed) == PermissionSet(granted).covers(needed)


@given(TEXTS)
def test_what_is_no_permission_at_the_server_is_none_here(text: str) -> None:
    if is_permission(text) or text == "operator":
        assert allows([text], text)
    else:
        with pytest.raises(ValueError, match="not a permission"):
            allows(["admin"], text)


@pytest.mark.parametrize(
    ("granted", "needed", "expected"),
    [
        (["customer:read"], "customer:read:own", True),
        (["customer:read:own"], "customer:read", False),
        (["write"], "customer:read", False),
        (["customer:write"], "customer:delete", True),
        (["customer:write"], "order:delete", False),
        ([], "read", False),
        (["admin"], "operator", False),
    ],
)
def test_examples(granted: list[str], needed: str, expected: bool) -> None:
    assert allows(granted, needed) is expected


@pytest.mark.parametrize("granted", ["admin", "read write"])
def test_a_text_is_no_set(granted: Any) -> None:
    with pytest.raises(TypeError):
        allows(granted, "read")
