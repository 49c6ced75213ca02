"""The keys from which successors of refresh tokens are derived: HKDF(master key, "refresh", id).

The id is stored with each token, so that a new one can be brought in while chains made with the old one live on.
"""

from __future__ import annotations

from keystead.context import Server
from keystead.crypto.master_key import MasterKey
from keystead.installation.service import CURRENT_ROTATION_KEY, rotation_key


class RotationKeys:
    """Derived once per process; hidden in ``repr``."""

    __slots__ = ("_derived", "_master_key", "current")

    def __init__(self, master_key: MasterKey, derived: dict[str, bytes], current: str = CURRENT_ROTATION_KEY) -> None:
        self._master_key = master_key
        self._derived = derived
        self.current = current
        """The id of the key that new tokens are stored with."""

    @classmethod
    def of(cls, server: Server) -> RotationKeys:
        """The keys of this process."""
        return cls(server.master_key, server.rotation_keys)

    def key(self, key_id: str) -> bytes:
        """The key of that id."""
        known = self._derived.get(key_id)
        if known is None:
            known = self._derived[key_id] = rotation_key(self._master_key, key_id)
        return known

    def __repr__(self) -> str:
        return f"RotationKeys(current={self.current!r})"
