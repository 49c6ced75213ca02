"""Access tokens forged for a session that is alive: all is right but what the attack changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keystead.context import Server
from keystead.sessions.model import Opened
from tests.crypto.tokens import MISSING, signed, with_change

__all__ = ["MISSING", "Forge"]


class Forge:
    """Makes tokens; ``good`` would be accepted."""

    def __init__(self, server: Server, opened: Opened) -> None:
        self.server = server
        self.key = server.keyring.active
        now = int(server.clock.now().timestamp())
        self.header: dict[str, Any] = {"alg": "ES256", "typ": "at+jwt", "kid": self.key.kid}
        self.payload: dict[str, Any] = {
            "iss": server.settings.base_url,
            "aud": f"urn:keystead:brand:{opened.brand_id}",
            "sub": opened.user_id,
            "sid": opened.session_id,
            "iat": now,
            "exp": now + 900,
            "jti": "0190a000-0000-7000-8000-000000000003",
        }

    @property
    def good(self) -> str:
        """Nothing changed."""
        return self.token()

    def token(self, header: Any = None, payload: Any = None, sign: Callable[[bytes], bytes] | None = None) -> str:
        """Our own signature, unless ``sign`` is given, over ``header`` and ``payload``."""
        return signed(
            self.header if header is None else header,
            self.payload if payload is None else payload,
            sign or self.key.signature,
        )

    def with_header(self, sign: Callable[[bytes], bytes] | None = None, **changes: Any) -> str:
        """Some members of the header changed, added, or left out (MISSING)."""
        return self.token(header=_changed(self.header, changes), sign=sign)

    def with_payload(self, **changes: Any) -> str:
        """Some claims changed, added, or left out (MISSING)."""
        return self.token(payload=_changed(self.payload, changes))


def _changed(original: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for name, value in changes.items():
        original = with_change(original, name, value)
    return original
