"""The errors that the client raises; most classes stand for one error code of the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

__all__ = [
    "BadUserInput", "BrandMismatch", "Conflict", "Forbidden", "GraphQLParseFailed", "GraphQLValidationFailed",
    "InvalidCredentials", "KeysteadError", "NetworkError", "NoLoginMethod", "NotAuthenticated", "NotFound",
    "RateLimited", "RefreshTokenExpired", "RefreshTokenInvalid", "RefreshTokenReused", "RequestError", "ServerBusy",
    "ServerError", "StorageFull", "Timeout", "TokenExpired", "TokenInvalid", "Unauthenticated", "Unauthorized",
    "Unavailable", "ValidationError", "error_from",
]  # fmt: skip

_LONGEST_WAIT = 1e9
_BY_CODE: dict[str, type[KeysteadError]] = {}


class KeysteadError(Exception):
    """A request that failed: rejected by Keystead, or on the way to it."""

    default_code: ClassVar[str | None] = None

    def __init_subclass__(cls, code: str | None = None) -> None:
        if code:
            cls.default_code = code
            _BY_CODE[code] = cls

    def __init__(self, message: str, extensions: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.extensions: Mapping[str, Any] = dict(extensions or {})
        self.code: str | None = _text(self.extensions.get("code")) or self.default_code
        self.status: int | None = None
        """The HTTP status; None without an answer."""
        self.errors: Sequence[Mapping[str, Any]] = ()
        """All errors of the answer; this exception is the first."""
        self.data: Mapping[str, Any] | None = None
        """The partial data beside the errors. None: nothing was executed, or every field failed."""
        self.was_executed = False
        """Whether the operation may have been executed: the answer had a ``data`` member."""

    @property
    def reference_id(self) -> str | None:
        """The id of the request in the server's log, to report to its operator."""
        return _text(self.extensions.get("referenceId"))

    @property
    def field(self) -> str | None:
        """The rejected field or argument, if the server names one."""
        return _text(self.extensions.get("field"))

    @property
    def retry_after(self) -> float | None:
        """Seconds after which a retry may succeed, if the server says so."""
        seconds = self.extensions.get("retryAfter")
        # JSON can hold Infinity, NaN and -1.
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < _LONGEST_WAIT:
            return None
        return float(seconds)


class NetworkError(KeysteadError):
    """The server was not reached, or its answer did not arrive."""

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        """Whether the request may have reached the server. False: it certainly was not executed."""


class Timeout(NetworkError):
    """The server could not be reached in time, or did not answer in time."""


class ServerError(KeysteadError, code="INTERNAL_SERVER_ERROR"):
    """The server failed, or the answer is not Keystead's."""


class Unavailable(ServerError, code="SERVICE_UNAVAILABLE"):
    """The server is temporarily unavailable."""


class ServerBusy(Unavailable, code="SERVER_BUSY"):
    """The server is overloaded."""


class StorageFull(Unavailable, code="STORAGE_FULL"):
    """The server's disk is full."""


class RateLimited(KeysteadError, code="RATE_LIMITED"):
    """Too many requests of this kind; see ``retry_after``."""


class RequestError(KeysteadError):
    """The request is wrong; a retry will fail the same way."""


class BadUserInput(RequestError, code="BAD_USER_INPUT"):
    """An argument is missing or malformed; ``field`` names it."""


class ValidationError(RequestError, code="VALIDATION_ERROR"):
    """A value breaks a rule of its field; ``field`` names it."""


class NotFound(RequestError, code="NOT_FOUND"):
    """It does not exist, or the caller may not see it."""


class Conflict(RequestError, code="CONFLICT"):
    """A value that must be unique is taken; ``field`` names it."""


class BrandMismatch(RequestError, code="BRAND_MISMATCH"):
    """The requested brand is not the brand of the credentials."""


class GraphQLParseFailed(RequestError, code="GRAPHQL_PARSE_FAILED"):
    """The document is not valid GraphQL."""


class GraphQLValidationFailed(RequestError, code="GRAPHQL_VALIDATION_FAILED"):
    """The document does not match the brand's schema, or exceeds a limit."""


class Forbidden(KeysteadError, code="FORBIDDEN"):
    """The caller may not do this."""

    @property
    def permission(self) -> str | None:
        """The missing permission."""
        return _text(self.extensions.get("permission"))

    @property
    def feature(self) -> str | None:
        """The feature that is disabled in the brand."""
        return _text(self.extensions.get("feature"))


class InvalidCredentials(KeysteadError, code="INVALID_CREDENTIALS"):
    """Wrong e-mail address or password; the server does not say which."""


class NoLoginMethod(KeysteadError, code="NO_LOGIN_METHOD"):
    """The user could not log in again after this; ``force`` does it anyway."""


class NotAuthenticated(KeysteadError):
    """There is no session, or it is over."""


class Unauthenticated(NotAuthenticated, code="UNAUTHENTICATED"):
    """The access token is missing, expired or revoked."""


class Unauthorized(NotAuthenticated, code="UNAUTHORIZED"):
    """The API key or the brand token is bad or revoked."""


class TokenInvalid(NotAuthenticated, code="TOKEN_INVALID"):
    """A one-time token that is unknown, used or expired; or an access token that a ``Verifier`` rejects."""


class TokenExpired(NotAuthenticated):
    """A token has expired."""


class RefreshTokenExpired(TokenExpired, code="REFRESH_TOKEN_EXPIRED"):
    """The refresh token has expired: log in again."""


class RefreshTokenInvalid(NotAuthenticated, code="REFRESH_TOKEN_INVALID"):
    """The refresh token is unknown or its session has ended: log in again."""


class RefreshTokenReused(NotAuthenticated, code="REFRESH_TOKEN_REUSED"):
    """A replaced refresh token was presented; the server has ended the session."""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def error_from(extensions: Mapping[str, Any], message: str) -> KeysteadError:
    """The error for an answer's ``extensions``; an unknown code becomes a plain ``KeysteadError``."""
    code = _text(extensions.get("code"))
    return _BY_CODE.get(code or "", KeysteadError)(message, extensions)
