"""Permission checks, by the server's own rules.

A permission includes those to the right of it; ``operator`` includes and is included by none::

    admin > read  > customer:read  > customer:read:own
          > write > customer:write > customer:create | customer:update | customer:delete | customer:write:own
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["allows"]

_WITHOUT_ENTITY = frozenset({"admin", "read", "write", "operator"})
_OF_ENTITY = re.compile(r"([a-z][a-zA-Z0-9]{0,47}):(?:(read|write)(:own)?|create|update|delete)")


def allows(granted: Iterable[str], needed: str) -> bool:
    """Whether a user's permissions, as ``me`` returns them, include the one that is needed.

    ``customer:read`` includes ``customer:read:own``, not the reverse: it is up to the application to restrict such a
    user to their own records.

    :raises ValueError: ``needed`` is no permission, so that a typo grants nothing.
    """
    if isinstance(granted, str):
        raise TypeError("granted: a list of permissions, not one text")
    return not _including(needed).isdisjoint(granted)


@lru_cache(maxsize=1024)
def _including(needed: str) -> frozenset[str]:
    """The permissions that include this one, itself among them."""
    if needed == "operator":
        return frozenset({needed})
    if needed in _WITHOUT_ENTITY:
        return frozenset({needed, "admin"})
    found = _OF_ENTITY.fullmatch(needed)
    if found is None:
        raise ValueError(f"not a permission: {needed!r}")
    entity, kind, _ = found.groups()
    kind = kind or "write"
    return frozenset({needed, f"{entity}:{kind}", kind, "admin"})
