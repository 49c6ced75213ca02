"""Permissions: strings, and sets of them. Pure; contract §4.

A permission covers those to its right::

    admin > read  > customer:read  > customer:read:own
          > write > customer:write > customer:create | customer:update | customer:delete | customer:write:own

``write`` does not include ``read``. ``operator`` is separate and never granted by name: authentication adds it to
``admin`` of the reserved brand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from keystead.errors import BadUserInput

ADMIN = "admin"
READ = "read"
WRITE = "write"
OPERATOR = "operator"

ENTITY_ACTIONS = ("read", "write", "create", "update", "delete")
_ENTITY_PERMISSION = re.compile(r"([a-z][a-zA-Z0-9]{0,47}):(?:(?:read|write)(?::own)?|create|update|delete)", re.ASCII)


@lru_cache(maxsize=4096)
def _covering(permission: str) -> frozenset[str]:
    """Return every permission that covers ``permission``, including itself."""
    if permission == OPERATOR:
        return frozenset({OPERATOR})
    covering = {permission, ADMIN}
    entity, _, action = permission.partition(":")
    if action:
        if action.endswith(":own"):
            action = action.removesuffix(":own")
            covering.add(f"{entity}:{action}")
        if action == "read":
            covering |= {READ, f"{entity}:read"}
        else:
            covering |= {WRITE, f"{entity}:write"}
    return frozenset(covering)


def is_permission(text: str) -> bool:
    """Return whether ``text`` is a permission that can be granted by name."""
    return text in (ADMIN, READ, WRITE) or _ENTITY_PERMISSION.fullmatch(text) is not None


def entity_of(permission: str) -> str | None:
    """Return the entity that a permission names; None for ``admin``, ``read``, ``write`` and ``operator``."""
    entity, separator, _ = permission.partition(":")
    return entity if separator else None


def of_entity(entity: str) -> tuple[str, ...]:
    """Return every permission that names the entity."""
    return tuple(f"{entity}:{action}" for action in (*ENTITY_ACTIONS, "read:own", "write:own"))


class PermissionSet:
    """An immutable set of permissions; the empty set allows nothing."""

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(names)

    @classmethod
    def of(cls, names: Iterable[str], *, field: str = "permissions") -> PermissionSet:
        """Parse the names of a client's input.

        :raises BadUserInput: for an unknown permission; names ``field``.
        """
        kept = frozenset(names)
        for name in kept:
            if not is_permission(name):
                raise BadUserInput(f"'{name[:80]}' is not a permission that can be granted.", field=field)
        return cls(kept)

    @staticmethod
    @lru_cache(maxsize=4096)
    def parse(text: str) -> PermissionSet:
        """Parse the stored form: words with spaces between them."""
        return PermissionSet(text.split())

    def covers(self, needed: str) -> bool:
        """Return whether this set covers the permission ``needed``."""
        return not self._names.isdisjoint(_covering(needed))

    def is_subset(self, other: PermissionSet) -> bool:
        """Return whether ``other`` covers each permission of this set."""
        return all(other.covers(name) for name in self._names)

    def intersect(self, other: PermissionSet) -> PermissionSet:
        """Return the intersection: what both sets allow, as far as single permissions express it; never more."""
        return PermissionSet(
            {name for name in self._names if other.covers(name)} | {name for name in other._names if self.covers(name)}
        )

    def union(self, other: PermissionSet) -> PermissionSet:
        """Return the union: what either set allows."""
        return PermissionSet(self._names | other._names)

    def as_words(self) -> str:
        """Return the stored form: sorted words with spaces between them."""
        return " ".join(sorted(self._names))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PermissionSet) and self._names == other._names

    def __hash__(self) -> int:
        return hash(self._names)

    def __repr__(self) -> str:
        return f"PermissionSet({sorted(self._names)})"


NOTHING = PermissionSet()
EVERYTHING = PermissionSet((ADMIN, OPERATOR))
