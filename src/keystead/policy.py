"""A brand's preset, features and policy: session kinds, feature switches, token lifetimes. Pure.

Contract §3 and security §3 specify names and defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from keystead.errors import BadUserInput, Forbidden
from keystead.permissions import PermissionSet

_Choices = TypeVar("_Choices", bound=msgspec.Struct)

LONGEST_ACCESS_TTL = 3600
SHORTEST_ACCESS_TTL = 30
STANDING_ACCESS_TTL = 900


_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", re.ASCII)


class Preset(StrEnum):
    """The contract of a brand: pair, standing, or both."""

    pair = "pair"
    standing = "standing"
    both = "both"


class SessionKind(StrEnum):
    """The kind of a session: rotated token pairs, or one standing refresh token."""

    pair = "pair"
    standing = "standing"


class Features(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The feature switches of a brand."""

    email_verification: bool = True
    password_login: bool = True
    password_reset: bool = True
    magic_login: bool = False
    anonymous_users: bool = True


class BrandPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The policy of a brand. Times are whole seconds; ``None`` means no limit."""

    access_ttl: int = LONGEST_ACCESS_TTL
    refresh_ttl: int = 604_800
    grace: int = 10
    lost_window: int = 300
    max_sessions: int = 50
    idle_ttl: int | None = None
    standing_refresh_ttl: int | None = None
    password_minimum: int = 8
    default_permissions: tuple[str, ...] = ()
    mail_language: str = "en"
    """A language tag: the language of mails when the recipient's is unknown or has no template."""


_RANGES: dict[str, tuple[int, int]] = {
    "access_ttl": (SHORTEST_ACCESS_TTL, LONGEST_ACCESS_TTL),
    "refresh_ttl": (60, 366 * 86_400),
    "grace": (0, 60),
    "lost_window": (0, 3600),
    "max_sessions": (1, 10_000),
    "idle_ttl": (60, 366 * 86_400),
    "standing_refresh_ttl": (60, 3_660 * 86_400),
    "password_minimum": (8, 64),
}


def initial_features(preset: Preset) -> Features:
    """The features of a new brand: anonymous users belong to the standing contract only."""
    return Features(anonymous_users=preset is not Preset.pair)


def changed_features(features: Features, changes: object) -> Features:
    """Apply changes to ``features``.

    :raises BadUserInput: for an unknown name or a value that is not a Boolean; names the field.
    """
    return _converted(features, changes, "features")


def changed_policy(policy: BrandPolicy, changes: object) -> BrandPolicy:
    """Apply changes to ``policy``.

    :raises BadUserInput: for an unknown name or a value outside its range; names the field.
    """
    changed = _converted(policy, changes, "policy")
    for name, (low, high) in _RANGES.items():
        value = getattr(changed, name)
        if value is not None and not low <= value <= high:
            raise BadUserInput(f"'{name}' must be between {low} and {high}.", field=f"policy.{name}")
    PermissionSet.of(changed.default_permissions, field="policy.default_permissions")
    if _LANGUAGE.fullmatch(changed.mail_language) is None:
        raise BadUserInput("'mail_language' must be a language tag such as en or de-AT.", field="policy.mail_language")
    return changed


def _converted(current: _Choices, changes: object, field: str) -> _Choices:
    if not isinstance(changes, Mapping):
        raise BadUserInput(f"'{field}' must be an object.", field=field)
    known = type(current).__struct_fields__
    for name in changes:
        if name not in known:
            asked = str(name)[:80]
            raise BadUserInput(f"'{asked}' is not known here; known: {', '.join(known)}.", field=f"{field}.{asked}")
    merged: dict[str, Any] = {**msgspec.structs.asdict(current), **changes}
    for name, value in changes.items():
        try:
            msgspec.convert({**msgspec.structs.asdict(current), name: value}, type(current))
        except msgspec.ValidationError as error:
            raise BadUserInput(f"'{name}' has the wrong type.", field=f"{field}.{name}", cause=str(error)) from None
    return msgspec.convert(merged, type(current))


def allows(preset: Preset, kind: SessionKind) -> bool:
    """Whether a brand of this preset has sessions of this kind."""
    return preset is Preset.both or preset.value == kind.value


def require_kind(preset: Preset, kind: SessionKind) -> None:
    """Require that the brand has sessions of this kind.

    :raises Forbidden: when it does not; names the kind as the feature.
    """
    if not allows(preset, kind):
        raise Forbidden(feature=kind.value)


def require_feature(features: Features, name: str) -> None:
    """Require that a feature is on.

    :raises Forbidden: when it is off; names it.
    """
    if not getattr(features, name):
        raise Forbidden(feature=name)


@lru_cache(maxsize=1024)
def parse_features(text: str) -> Features:
    """Parse stored features, a JSON object."""
    return msgspec.json.decode(text, type=Features)


@lru_cache(maxsize=1024)
def parse_policy(text: str) -> BrandPolicy:
    """Parse a stored policy, a JSON object."""
    return msgspec.json.decode(text, type=BrandPolicy)
