"""What a caller may do: permission strings, and sets of them. Pure; contract §4.

A permission covers another when holding it includes the other::

    admin > read  > customer:read  > customer:read:own
          > write > customer:write > customer:create | customer:update | customer:delete | customer:write:own

``write`` does not include ``read``. ``operator`` stands alone and is never granted by name: ``admin`` of the
reserved brand is given it by authentication.
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
    """Every permission that includes ``permission``, itself among them."""
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
    """Whether ``text`` is a permission that may be granted by name."""
    return text in (ADMIN, READ, WRITE) or _ENTITY_PERMISSION.fullmatch(text) is not None


def entity_of(permission: str) -> str | None:
    """The entity that a permission names; None for ``admin``, ``read``, ``write`` and ``operator``."""
    entity, separator, _ = permission.partition(":")
    return entity if separator else None


def of_entity(entity: str) -> tuple[str, ...]:
    """Every permission that names the entity."""
    return tuple(f"{entity}:{action}" for action in (*ENTITY_ACTIONS, "read:own", "write:own"))


class PermissionSet:
    """An immutable set of permission strings; empty means: nothing is allowed."""

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(names)

    @classmethod
    def of(cls, names: Iterable[str], *, field: str = "permissions") -> PermissionSet:
        """The set of the names a client sent.

        :raises BadUserInput: for a name that is no permission; names ``field``.
        """
        kept = frozenset(names)
        for name in kept:
            if not is_permission(name):
                raise BadUserInput(f"'{name[:80]}' is not a permission that can be granted.", field=field)
        return cls(kept)

    @staticmethod
    @lru_cache(maxsize=4096)
    def parse(text: str) -> PermissionSet:
        """The set stored as words with spaces between them."""
        return PermissionSet(text.split())

    def covers(self, needed: str) -> bool:
        """Whether this set includes the permission ``needed``."""
        return not self._names.isdisjoint(_covering(needed))

    def is_subset(self, other: PermissionSet) -> bool:
        """Whether ``other`` covers each permission of this set."""
        return all(other.covers(name) for name in self._names)

    def intersect(self, other: PermissionSet) -> PermissionSet:
        """What both sets allow, as far as single permissions can say it; never more."""
        return PermissionSet(
            {name for name in self._names if other.covers(name)} | {name for name in other._names if self.covers(name)}
        )

    def union(self, other: PermissionSet) -> PermissionSet:
        """What either set allows."""
        return PermissionSet(self._names | other._names)

    def as_words(self) -> str:
        """The stored form: sorted words with spaces between them."""
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
