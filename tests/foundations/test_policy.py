"""A brand's preset, features and policy."""

from __future__ import annotations

import pytest

from keystead.errors import BadUserInput, Forbidden
from keystead.policy import (
    BrandPolicy,
    Features,
    Preset,
    SessionKind,
    allows,
    changed_features,
    changed_policy,
    initial_features,
    require_kind,
)


def test_the_defaults_are_those_of_the_contract() -> None:
    policy = BrandPolicy()
    assert (policy.access_ttl, policy.refresh_ttl, policy.grace, policy.lost_window) == (3600, 604_800, 10, 300)
    assert initial_features(Preset.both) == Features(True, True, True, False, True)
    assert not initial_features(Preset.pair).anonymous_users


@pytest.mark.parametrize(
    ("preset", "kind", "expected"),
    [
        (Preset.pair, SessionKind.pair, True), (Preset.pair, SessionKind.standing, False),
        (Preset.standing, SessionKind.standing, True), (Preset.standing, SessionKind.pair, False),
        (Preset.both, SessionKind.pair, True), (Preset.both, SessionKind.standing, True),
    ],
)  # fmt: skip
def test_a_preset_allows_its_kinds(preset: Preset, kind: SessionKind, expected: bool) -> None:
    assert allows(preset, kind) is expected
    if expected:
        require_kind(preset, kind)
    else:
        with pytest.raises(Forbidden) as caught:
            require_kind(preset, kind)
        assert caught.value.extensions["feature"] == kind.value


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"access_ttl": 3601}, "policy.access_ttl"), ({"access_ttl": 29}, "policy.access_ttl"),
        ({"access_ttl": "60"}, "policy.access_ttl"), ({"access_ttl": True}, "policy.access_ttl"),
        ({"grace": None}, "policy.grace"), ({"nope": 1}, "policy.nope"),
        ({"default_permissions": ["operator"]}, "policy.default_permissions"), ([], "policy"),
    ],
)  # fmt: skip
def test_a_bad_change_names_its_field(changes: object, field: str) -> None:
    with pytest.raises(BadUserInput) as caught:
        changed_policy(BrandPolicy(), changes)
    assert caught.value.extensions["field"] == field


@pytest.mark.parametrize("changes", [{"magic_login": 1}, {"magic_login": "on"}, {"teleport": True}])
def test_a_bad_switch_names_its_field(changes: object) -> None:
    with pytest.raises(BadUserInput) as caught:
        changed_features(Features(), changes)
    assert caught.value.extensions["field"].startswith("features.")
