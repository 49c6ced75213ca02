"""Whether permissions that were granted include one that is needed: the server's own rules.

A permission includes those to the right of it; ``operator`` stands alone::

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
    """Whether what a user was granted, as ``me`` tells it, includes the permission that is needed.

    ``customer:read:own`` is included in ``customer:read``, not the other way round: whoever has it alone is to be shown
    the records of their own, which is for the application to see to.

    Raises ``ValueError`` where ``needed`` is no permission, so that a slip of the pen opens no door.
    """
    if isinstance(granted, str):
        raise TypeError("granted: the user's permissions, one text for each")
    return not _including(needed).isdisjoint(granted)


@lru_cache(maxsize=1024)
def _including(needed: str) -> frozenset[str]:
    """Each permission that includes this one, itself among them."""
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
