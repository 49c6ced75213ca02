"""All errors: one class tree, one code each.

    KeysteadError
    ├── BeforeExecution                 the request never reaches a resolver
    │   ├── AccessTokenRefused          UNAUTHENTICATED             401
    │   ├── KeyRefused                  UNAUTHORIZED                401
    │   ├── OriginRefused               FORBIDDEN                   403
    │   ├── MalformedRequest            BAD_USER_INPUT              400 (405, 413, 415)
    │   ├── DocumentUnreadable          GRAPHQL_PARSE_FAILED        400
    │   └── DocumentInvalid             GRAPHQL_VALIDATION_FAILED   400
    ├── Unauthenticated                 UNAUTHENTICATED             no credential where one is needed
    ├── Forbidden                       FORBIDDEN                   names the permission or feature that was missing
    ├── InvalidCredentials              INVALID_CREDENTIALS         one answer for every failed login
    ├── RefreshRefused
    │   ├── RefreshTokenInvalid         REFRESH_TOKEN_INVALID
    │   ├── RefreshTokenExpired         REFRESH_TOKEN_EXPIRED
    │   └── RefreshTokenReused          REFRESH_TOKEN_REUSED
    ├── TokenInvalid                    TOKEN_INVALID               a one-time token
    ├── NoLoginMethod                   NO_LOGIN_METHOD
    ├── BrandMismatch                   BRAND_MISMATCH
    ├── BadUserInput                    BAD_USER_INPUT              names the field
    ├── ValidationError                 VALIDATION_ERROR            names the field
    ├── NotFound                        NOT_FOUND
    ├── Conflict                        CONFLICT                    names the field
    ├── Overload
    │   ├── RateLimited                 RATE_LIMITED                429
    │   ├── ServerBusy                  SERVER_BUSY                 503
    │   ├── ServiceUnavailable          SERVICE_UNAVAILABLE         503
    │   └── StorageFull                 STORAGE_FULL                503
    └── InternalError                   INTERNAL_SERVER_ERROR
    StartupError                        one clear line on stderr and an exit code; never on the wire

``message`` is public. ``cause`` is for the log and never leaves the server.
"""

from __future__ import annotations

from typing import Any, ClassVar


class KeysteadError(Exception):
    """An error with a public message, a code, and a private cause."""

    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"
    status: int = 200
    default_message: ClassVar[str] = "The request could not be carried out."

    def __init__(self, message: str | None = None, *, cause: str | None = None, **extensions: Any) -> None:
        self.message = message or self.default_message
        self.cause = cause
        self.extensions = {name: value for name, value in extensions.items() if value is not None}
        super().__init__(self.message)


class BeforeExecution(KeysteadError):
    """The request is rejected as a whole, before execution."""

    status = 400


class AccessTokenRefused(BeforeExecution):
    """An access token is present but bad, expired or revoked (RFC 6750 §3.1)."""

    code = "UNAUTHENTICATED"
    status = 401
    default_message = "The access token is invalid, expired or revoked."


class KeyRefused(BeforeExecution):
    """An API key or brand token is present but bad or revoked, or belongs to another brand."""

    code = "UNAUTHORIZED"
    status = 401
    default_message = "Unauthorized: the API key or brand token is invalid, expired or revoked."


class OriginRefused(BeforeExecution):
    """A publishable key was used from an origin that it does not allow."""

    code = "FORBIDDEN"
    status = 403
    default_message = "This key may not be used from this origin."


class MalformedRequest(BeforeExecution):
    """The HTTP request is malformed; ``status`` says which part is wrong."""

    code = "BAD_USER_INPUT"
    default_message = "The request is malformed."

    def __init__(
        self, message: str | None = None, *, status: int = 400, cause: str | None = None, **extensions: Any
    ) -> None:
        super().__init__(message, cause=cause, **extensions)
        self.status = status


class DocumentUnreadable(BeforeExecution):
    """The GraphQL document does not parse."""

    code = "GRAPHQL_PARSE_FAILED"
    default_message = "The GraphQL document could not be parsed."


class DocumentInvalid(BeforeExecution):
    """The GraphQL document fails validation, or is over a limit (then ``extensions.limit`` names it)."""

    code = "GRAPHQL_VALIDATION_FAILED"
    default_message = "The GraphQL document is not valid."


class Unauthenticated(KeysteadError):
    """No credential was sent where one is needed."""

    code = "UNAUTHENTICATED"
    default_message = "Sign in first: this needs an access token or an API key."


class Forbidden(KeysteadError):
    """The caller lacks a permission or feature; ``extensions.permission`` or ``.feature`` names what was missing."""

    code = "FORBIDDEN"
    default_message = "You are not allowed to do this."

    def __init__(
        self,
        message: str | None = None,
        *,
        permission: str | None = None,
        feature: str | None = None,
        cause: str | None = None,
        **extensions: Any,
    ) -> None:
        if message is None and permission is not None:
            message = f"This needs the permission '{permission}'."
        if message is None and feature is not None:
            message = f"The feature '{feature}' is off for this brand."
        super().__init__(message, cause=cause, permission=permission, feature=feature, **extensions)


class InvalidCredentials(KeysteadError):
    """Every failed login: the same text for an unknown user, a wrong password, a disabled account."""

    code = "INVALID_CREDENTIALS"
    default_message = "The e-mail address or the password is wrong."


class RefreshRefused(KeysteadError):
    """A refresh token was not accepted. Existing SDKs look for the word "unauthenticated"."""


class RefreshTokenInvalid(RefreshRefused):
    """The refresh token is unknown, of another kind or brand, or its session has ended."""

    code = "REFRESH_TOKEN_INVALID"
    default_message = "unauthenticated: the refresh token is invalid."


class RefreshTokenExpired(RefreshRefused):
    """The refresh token has expired."""

    code = "REFRESH_TOKEN_EXPIRED"
    default_message = "unauthenticated: the refresh token has expired."


class RefreshTokenReused(RefreshRefused):
    """A rotated token came back too late: the session was ended (RFC 9700 §4.14.2)."""

    code = "REFRESH_TOKEN_REUSED"
    default_message = "unauthenticated: the refresh token was used before; the session has been ended."


class TokenInvalid(KeysteadError):
    """A one-time token is unknown, used, expired or meant for something else."""

    code = "TOKEN_INVALID"
    default_message = "The link or token is invalid, expired or was used already."


class NoLoginMethod(KeysteadError):
    """Ending all sessions would lock the user out; ``force: true`` does it all the same."""

    code = "NO_LOGIN_METHOD"
    default_message = "You could not log in again: add an e-mail address and a password first, or pass force: true."


class BrandMismatch(KeysteadError):
    """The brand argument names another brand than the credential."""

    code = "BRAND_MISMATCH"
    default_message = "The brand argument and the credential belong to different brands."


class BadUserInput(KeysteadError):
    """A value that cannot be accepted; ``extensions.field`` names it."""

    code = "BAD_USER_INPUT"
    default_message = "The input is not acceptable."

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        cause: str | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(message, cause=cause, field=field, **extensions)


class ValidationError(BadUserInput):
    """A record or definition breaks a rule; ``extensions.field`` names the field."""

    code = "VALIDATION_ERROR"
    default_message = "A rule is broken."


class NotFound(KeysteadError):
    """The object does not exist, or the caller may not know that it does."""

    code = "NOT_FOUND"
    default_message = "There is no such record."


class Conflict(BadUserInput):
    """A unique value is taken; ``extensions.field`` names the field."""

    code = "CONFLICT"
    default_message = "This value is taken."


class Overload(KeysteadError):
    """The server cannot handle the request now; ``retry_after`` is in whole seconds."""

    status = 503

    def __init__(
        self, message: str | None = None, *, retry_after: int = 1, cause: str | None = None, **extensions: Any
    ) -> None:
        super().__init__(message, cause=cause, **extensions)
        self.retry_after = retry_after


class RateLimited(Overload):
    """Too many requests; ``extensions.retryAfter`` says when to come back, in seconds."""

    code = "RATE_LIMITED"
    status = 429
    default_message = "Too many requests: try again later."

    def __init__(self, message: str | None = None, *, retry_after: int = 1, cause: str | None = None) -> None:
        super().__init__(message, retry_after=retry_after, cause=cause, retryAfter=retry_after)


class ServerBusy(Overload):
    """A queue for worker threads, those of passwords or of compilation, is full, or the wait in it was too long."""

    code = "SERVER_BUSY"
    default_message = "The server is busy: try again in a moment."


class ServiceUnavailable(Overload):
    """The database cannot be reached or did not answer in time."""

    code = "SERVICE_UNAVAILABLE"
    default_message = "The service is unavailable for the moment: try again."


class StorageFull(Overload):
    """The database's disk is full; nothing was written."""

    code = "STORAGE_FULL"
    default_message = "The server's storage is full: nothing was written."


class InternalError(KeysteadError):
    """A bug of ours; logged under the reference id."""

    default_message = "Something went wrong on our side. Quote the reference id when you report it."


OPERATOR_ERRORS = (InternalError, ServiceUnavailable, StorageFull)
"""Errors for the operator: logged as errors, one line per response, with its reference id."""


class StartupError(Exception):
    """The process cannot start: one clear line on stderr and an exit code (78 = EX_CONFIG of sysexits.h)."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class SettingsError(StartupError):
    """A setting has a bad value; the line names the setting."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=78)
