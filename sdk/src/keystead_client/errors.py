"""Every error the client raises: one tree; most of its classes stand for one of the server's codes.

KeysteadError
├── NetworkError                    the server was not reached, or its answer did not arrive
│   └── Timeout                     not in time
├── ServerError                     INTERNAL_SERVER_ERROR, or an answer that is none of Keystead's
│   └── Unavailable                 SERVICE_UNAVAILABLE
│       ├── ServerBusy              SERVER_BUSY
│       └── StorageFull             STORAGE_FULL
├── RateLimited                     RATE_LIMITED
├── RequestError                    the request cannot be served as it is
│   ├── BadUserInput                BAD_USER_INPUT
│   ├── ValidationError             VALIDATION_ERROR
│   ├── NotFound                    NOT_FOUND
│   ├── Conflict                    CONFLICT
│   ├── BrandMismatch               BRAND_MISMATCH
│   ├── GraphQLParseFailed          GRAPHQL_PARSE_FAILED
│   └── GraphQLValidationFailed     GRAPHQL_VALIDATION_FAILED
├── Forbidden                       FORBIDDEN
├── InvalidCredentials              INVALID_CREDENTIALS
├── NoLoginMethod                   NO_LOGIN_METHOD
└── NotAuthenticated                no session, or it is over
    ├── Unauthenticated             UNAUTHENTICATED
    ├── Unauthorized                UNAUTHORIZED: the API key or the brand token
    ├── TokenInvalid                TOKEN_INVALID: a one-time token; or an access token, says the Verifier
    ├── TokenExpired
    │   └── RefreshTokenExpired     REFRESH_TOKEN_EXPIRED
    ├── RefreshTokenInvalid         REFRESH_TOKEN_INVALID
    └── RefreshTokenReused          REFRESH_TOKEN_REUSED
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

__all__ = [
    "BadUserInput",
    "BrandMismatch",
    "Conflict",
    "Forbidden",
    "GraphQLParseFailed",
    "GraphQLValidationFailed",
    "InvalidCredentials",
    "KeysteadError",
    "NetworkError",
    "NoLoginMethod",
    "NotAuthenticated",
    "NotFound",
    "RateLimited",
    "RefreshTokenExpired",
    "RefreshTokenInvalid",
    "RefreshTokenReused",
    "RequestError",
    "ServerBusy",
    "ServerError",
    "StorageFull",
    "Timeout",
    "TokenExpired",
    "TokenInvalid",
    "Unauthenticated",
    "Unauthorized",
    "Unavailable",
    "ValidationError",
    "error_from",
]

_LONGEST_WAIT = 1e9
E = TypeVar("E", bound="KeysteadError")


class KeysteadError(Exception):
    """Something that Keystead, or the way to it, refused."""

    default_code: ClassVar[str | None] = None

    def __init__(self, message: str, extensions: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.extensions: Mapping[str, Any] = dict(extensions or {})
        self.code: str | None = _text(self.extensions.get("code")) or self.default_code
        self.status: int | None = None
        """The HTTP status of the answer, None where there was none."""
        self.errors: Sequence[Mapping[str, Any]] = ()
        """All errors of the answer; this one stands for the first."""
        self.data: Mapping[str, Any] | None = None
        """What the answer held beside its errors. None: nothing was executed, or every field failed."""
        self.was_executed = False
        """Whether the operation may have run: the answer had a ``data`` member."""

    @property
    def reference_id(self) -> str | None:
        """What to quote to the server's operator: the id of the request in the server's log."""
        return _text(self.extensions.get("referenceId"))

    @property
    def field(self) -> str | None:
        """The field or argument that was refused, where the server names one."""
        return _text(self.extensions.get("field"))

    @property
    def retry_after(self) -> float | None:
        """Seconds after which a repetition may succeed, where the server says so."""
        seconds = self.extensions.get("retryAfter")
        # Not every number that JSON can write is a time to wait: Infinity, NaN, -1.
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < _LONGEST_WAIT:
            return None
        return float(seconds)


class NetworkError(KeysteadError):
    """The server was not reached, or its answer did not arrive."""

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        """Whether the request may have reached the server. False: it surely did not run."""


class Timeout(NetworkError):
    """The server could not be reached, or did not answer, in time."""


class ServerError(KeysteadError):
    """The server failed, or what answered does not speak as Keystead does."""

    default_code = "INTERNAL_SERVER_ERROR"


class Unavailable(ServerError):
    """The server cannot serve at this moment."""

    default_code = "SERVICE_UNAVAILABLE"


class ServerBusy(Unavailable):
    """Too much is going on."""

    default_code = "SERVER_BUSY"


class StorageFull(Unavailable):
    """The server's disk is full."""

    default_code = "STORAGE_FULL"


class RateLimited(KeysteadError):
    """Too many requests of this kind; see ``retry_after``."""

    default_code = "RATE_LIMITED"


class RequestError(KeysteadError):
    """The request cannot be served as it is; a repetition will fail the same way."""


class BadUserInput(RequestError):
    """An argument is missing or malformed; ``field`` names it."""

    default_code = "BAD_USER_INPUT"


class ValidationError(RequestError):
    """A value breaks a rule of its field; ``field`` names it."""

    default_code = "VALIDATION_ERROR"


class NotFound(RequestError):
    """There is no such thing, or none that the caller may see."""

    default_code = "NOT_FOUND"


class Conflict(RequestError):
    """A value that must be unique is taken; ``field`` names it."""

    default_code = "CONFLICT"


class BrandMismatch(RequestError):
    """The brand that was asked for is not the brand of the credentials."""

    default_code = "BRAND_MISMATCH"


class GraphQLParseFailed(RequestError):
    """The document is no GraphQL."""

    default_code = "GRAPHQL_PARSE_FAILED"


class GraphQLValidationFailed(RequestError):
    """The document does not fit the brand's schema, or is over a limit."""

    default_code = "GRAPHQL_VALIDATION_FAILED"


class Forbidden(KeysteadError):
    """The caller may not do this."""

    default_code = "FORBIDDEN"

    @property
    def permission(self) -> str | None:
        """The permission that was missing."""
        return _text(self.extensions.get("permission"))

    @property
    def feature(self) -> str | None:
        """The feature of the brand that is off."""
        return _text(self.extensions.get("feature"))


class InvalidCredentials(KeysteadError):
    """Wrong e-mail address or password; the server does not say which."""

    default_code = "INVALID_CREDENTIALS"


class NoLoginMethod(KeysteadError):
    """The user could not log in again after this; ``force`` does it nevertheless."""

    default_code = "NO_LOGIN_METHOD"


class NotAuthenticated(KeysteadError):
    """There is no session, or it is over."""


class Unauthenticated(NotAuthenticated):
    """The access token is missing, expired or revoked."""

    default_code = "UNAUTHENTICATED"


class Unauthorized(NotAuthenticated):
    """The API key or the brand token is bad or revoked."""

    default_code = "UNAUTHORIZED"


class TokenInvalid(NotAuthenticated):
    """A one-time token that is unknown, used or too old; or no access token of the Verifier's issuer and brand."""

    default_code = "TOKEN_INVALID"


class TokenExpired(NotAuthenticated):
    """A token is past its life."""


class RefreshTokenExpired(TokenExpired):
    """The refresh token is past its life: log in again."""

    default_code = "REFRESH_TOKEN_EXPIRED"


class RefreshTokenInvalid(NotAuthenticated):
    """The refresh token is unknown or its session has ended: log in again."""

    default_code = "REFRESH_TOKEN_INVALID"


class RefreshTokenReused(NotAuthenticated):
    """A refresh token was presented that had been replaced; the server has ended the session."""

    default_code = "REFRESH_TOKEN_REUSED"


def copy_of(error: E) -> E:
    """Another exception that says the same: one that is raised for many, or again, would carry each one's traceback."""
    return copy.copy(error)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _tree(cls: type[KeysteadError]) -> list[type[KeysteadError]]:
    return [cls, *(one for below in cls.__subclasses__() for one in _tree(below))]


_BY_CODE: dict[str, type[KeysteadError]] = {cls.default_code: cls for cls in _tree(KeysteadError) if cls.default_code}


def error_from(extensions: Mapping[str, Any], message: str) -> KeysteadError:
    """The error of an answer's ``extensions``. A code that this version does not know becomes a plain KeysteadError."""
    code = _text(extensions.get("code"))
    return _BY_CODE.get(code or "", KeysteadError)(message, extensions)
