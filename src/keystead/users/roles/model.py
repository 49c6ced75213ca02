"""What a role is."""

from __future__ import annotations

from dataclasses import dataclass

from keystead.permissions import PermissionSet


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions of one brand."""

    name: str
    permissions: PermissionSet
