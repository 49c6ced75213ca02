"""CORS: which origins may read responses, never with cookies. Contract §1."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from keystead.settings import Settings

_PREFLIGHT_SECONDS = b"600"


class Cors:
    """Response headers for the origins in ``KEYSTEAD_CORS_ORIGINS``."""

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(settings.cors_origins)
        self._any = "*" in self._origins
        self.is_on = bool(self._origins)
        names = ["content-type", "authorization", *settings.api_key_headers, *settings.brand_headers]
        self._allowed_headers = ", ".join(names).encode("ascii")

    def headers(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """The CORS headers of a response to this origin."""
        vary = [] if self._any else [(b"vary", b"Origin")]
        if origin is None or not (self._any or origin.lower() in self._origins):
            return vary
        allowed = b"*" if self._any else origin.encode("latin-1")
        return [
            *vary,
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", b"Retry-After"),
        ]

    async def preflight(
        self, scope: MutableMapping[str, Any], send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
    ) -> None:
        """Answer a preflight request (``OPTIONS``) with 204."""
        origin = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None)
        headers = [(b"allow", b"POST"), *self.headers(origin)]
        if any(name == b"access-control-allow-origin" for name, _ in headers):
            headers += [
                (b"access-control-allow-methods", b"POST"),
                (b"access-control-allow-headers", self._allowed_headers),
                (b"access-control-max-age", _PREFLIGHT_SECONDS),
            ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
