"""A brand's choices: which kinds of session it has, which features are on, how long tokens live. Pure.

Contract §3 ("Brand presets and features") and security §3 give the names and the defaults.
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
    """Which of the two published contracts a brand speaks."""

    pair = "pair"
    standing = "standing"
    both = "both"


class SessionKind(StrEnum):
    """How a session is kept alive: rotated pairs of tokens, or one standing refresh token."""

    pair = "pair"
    standing = "standing"


class Features(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The switches of a brand."""

    email_verification: bool = True
    password_login: bool = True
    password_reset: bool = True
    magic_login: bool = False
    anonymous_users: bool = True


class BrandPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The figures of a brand. Times are whole seconds; ``None`` means no limit."""

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
    """A language tag: what mails are written in where the reader's own language is not known or not spoken."""


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
    """The features a new brand starts with: anonymous users belong to the standing contract only."""
    return Features(anonymous_users=preset is not Preset.pair)


def changed_features(features: Features, changes: object) -> Features:
    """``features`` with the given switches turned.

    :raises BadUserInput: for a name that is no feature or a value that is no Boolean; names the field.
    """
    return _converted(features, changes, "features")


def changed_policy(policy: BrandPolicy, changes: object) -> BrandPolicy:
    """``policy`` with the given figures changed.

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
    """:raises Forbidden: when the brand has no sessions of this kind; names it as the feature."""
    if not allows(preset, kind):
        raise Forbidden(feature=kind.value)


def require_feature(features: Features, name: str) -> None:
    """:raises Forbidden: when the feature is off; names it."""
    if not getattr(features, name):
        raise Forbidden(feature=name)


@lru_cache(maxsize=1024)
def parse_features(text: str) -> Features:
    """The features as stored: a JSON object."""
    return msgspec.json.decode(text, type=Features)


@lru_cache(maxsize=1024)
def parse_policy(text: str) -> BrandPolicy:
    """The policy as stored: a JSON object."""
    return msgspec.json.decode(text, type=BrandPolicy)
