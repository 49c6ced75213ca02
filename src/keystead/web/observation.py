"""What an operator sees of each request: one log line and a few counters. Never a document or a variable."""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec
import structlog

from keystead.context import (
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Context,
    RequestDetails,
    Server,
    UserPrincipal,
)
from keystead.web import metrics

_log = structlog.get_logger("keystead.request")
_STDERR = 2
_METHODS = frozenset(("POST", "GET", "HEAD"))
_encode = msgspec.json.Encoder().encode


class RequestLine(msgspec.Struct, kw_only=True):
    """The log line of one request. All of it is ours or checked by us: no secret can be in it."""

    event: str = "request"
    request_id: str
    method: str
    status: int
    ms: float
    brand: str | None
    caller: str | None
    address: str
    level: str = "info"
    timestamp: str


class Observer:
    """Writes the log lines and turns the counters."""

    def __init__(self, server: Server) -> None:
        self._count = metrics.Requests()
        self._clock = server.clock
        self._is_told = server.settings.log_level in ("debug", "info")
        self._is_json = server.settings.log_format == "json"

    def answered(self, method: str, status: int, seconds: float, details: RequestDetails, ctx: Context | None) -> None:
        """A request has its answer."""
        self._count.add(status, seconds)
        if not self._is_told:
            return
        line = RequestLine(
            request_id=details.id,
            method=method if method in _METHODS else "other",
            status=status,
            ms=round(seconds * 1000, 2),
            brand=ctx.brand.name if ctx and ctx.brand else None,
            caller=_caller(ctx),
            address=details.address,
            timestamp=self._clock.now().isoformat(),
        )
        if self._is_json:
            # The same line by way of structlog would cost a fifth of the whole request. A log that cannot be written
            # to refuses nobody.
            with suppress(OSError):
                os.write(_STDERR, _encode(line) + b"\n")
        else:
            told = msgspec.structs.asdict(line)
            _log.info(told.pop("event"), **{name: told[name] for name in told if name not in ("level", "timestamp")})


def _caller(ctx: Context | None) -> str | None:
    match ctx.principal if ctx else None:
        case UserPrincipal(user_id=user_id, key_id=None):
            return f"user:{user_id}"
        case UserPrincipal(user_id=user_id, key_id=key_id):
            return f"user:{user_id} key:{key_id}"
        case ApiKeyPrincipal(key_id=key_id):
            return f"key:{key_id}"
        case BrandTokenPrincipal(token_id=token_id):
            return f"brand-token:{token_id}"
        case _:
            return None
