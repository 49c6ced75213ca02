"""What an operator sees of each request: one log line and a few counters. Never a document or a variable."""

from __future__ import annotations

import structlog

from keystead.context import (
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Context,
    RequestDetails,
    UserPrincipal,
)
from keystead.web import metrics

_log = structlog.get_logger("keystead.request")


class Observer:
    """Writes the log lines and turns the counters."""

    def __init__(self) -> None:
        self._count = metrics.Requests()

    def answered(self, method: str, status: int, seconds: float, details: RequestDetails, ctx: Context | None) -> None:
        """A request has its answer."""
        self._count.add(status, seconds)
        _log.info(
            "request",
            request_id=details.id,
            method=method if method in ("POST", "GET", "HEAD") else "other",
            status=status,
            ms=round(seconds * 1000, 2),
            brand=ctx.brand.name if ctx and ctx.brand else None,
            caller=_caller(ctx),
            address=details.address,
        )


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
