"""GraphQL errors and responses: the public form of exceptions, locations, statuses and headers."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from keystead.errors import (
    OPERATOR_ERRORS,
    AccessTokenRefused,
    DocumentInvalid,
    InternalError,
    KeysteadError,
    MalformedRequest,
    Overload,
)

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode

MAX_RESPONSE_BYTES = 1024 * 1024
LONGEST_CAUSE = 1000
"""Logged characters of a cause, which may quote a client's input."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response: HTTP status, GraphQL envelope, additional headers, and the envelope as JSON."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a document; ``starts`` are offsets into its text."""

    message: str
    starts: tuple[int, ...] = ()


class DocumentRefused(DocumentInvalid):
    """A document with several problems; each becomes one error."""

    def __init__(self, problems: Sequence[Problem], text: str) -> None:
        super().__init__(problems[0].message)
        self.problems = tuple(problems)
        self.text = text


def locations(text: str, starts: Iterable[int]) -> list[dict[str, int]]:
    """Return the lines and columns, counted from 1, of offsets into a document."""
    wanted = tuple(starts)
    found: dict[int, dict[str, int]] = {}
    line, line_start, read = 1, 0, 0
    # In order, so that the text is scanned once. No start lies between the halves of a CRLF.
    for start in sorted(set(wanted)):
        line += text.count("\n", read, start) + text.count("\r", read, start) - text.count("\r\n", read, start)
        line_start = max(line_start, text.rfind("\n", read, start) + 1, text.rfind("\r", read, start) + 1)
        found[start] = {"line": line, "column": start - line_start + 1}
        read = start
    return [found[start] for start in wanted]


def error_entry(
    error: KeysteadError,
    reference_id: str,
    *,
    path: list[str | int] | None = None,
    where: list[dict[str, int]] | None = None,
    message: str | None = None,
) -> dict[str, Any]:
    """Return one member of ``errors``: public message, code and reference id; never the cause."""
    written: dict[str, Any] = {"message": message or error.message}
    if where:
        written["locations"] = where
    if path is not None:
        written["path"] = path
    written["extensions"] = {**error.extensions, "code": error.code, "referenceId": reference_id}
    return written


def public_error(error: BaseException, reference_id: str, *, is_secret: bool = False, **seen: Any) -> KeysteadError:
    """Return the error to show for ``error``: itself, or an ``InternalError`` after logging the real one.

    :param is_secret: the operation carries credentials: the traceback is logged without the error's message.
    """
    if isinstance(error, KeysteadError):
        is_ours = isinstance(error, OPERATOR_ERRORS)
        if error.cause is not None or is_ours:
            cause = (error.cause or error.message)[:LONGEST_CAUSE]
            (_log.error if is_ours else _log.info)(
                "graphql.refused", code=error.code, cause=cause, reference_id=reference_id, **seen
            )
        return error
    # Formatted here, as some traceback renderers add local variables, and with them passwords.
    trace = traceback.format_tb(error.__traceback__) if is_secret else traceback.format_exception(error)
    _log.error(
        "graphql.internal_error", reference_id=reference_id, kind=type(error).__name__, trace="".join(trace), **seen
    )
    return InternalError()


def error_response(error: BaseException, reference_id: str) -> Response:
    """Return the response to a request that is rejected as a whole, before execution.

    An exception that is not a ``KeysteadError`` is logged and answered as an internal error, status 500.
    """
    shown = public_error(error, reference_id)
    status = 500 if isinstance(shown, InternalError) else shown.status
    if isinstance(shown, DocumentRefused):
        errors = [
            error_entry(shown, reference_id, message=one.message, where=locations(shown.text, one.starts))
            for one in shown.problems
        ]
    else:
        errors = [error_entry(shown, reference_id)]
    # A response without `data` says that nothing was executed; with status 200 the media type requires `data`.
    body: dict[str, Any] = {"errors": errors} if status != 200 else {"data": None, "errors": errors}
    return Response(status, body, headers_of([shown]), _encode(body))


def headers_of(errors: Iterable[KeysteadError]) -> dict[str, str]:
    """Return the HTTP headers of these errors."""
    headers: dict[str, str] = {}
    for error in errors:
        if isinstance(error, Overload):
            headers["Retry-After"] = str(max(error.retry_after, int(headers.get("Retry-After", 0))))
        elif isinstance(error, AccessTokenRefused):
            headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        elif isinstance(error, MalformedRequest) and error.status == 405:
            headers["Allow"] = "POST"
    return headers


def make_response(status: int, body: dict[str, Any], headers: Mapping[str, str], reference_id: str) -> Response:
    """Return the response after execution, or an error for one above 1 MiB."""
    content = _encode(body)
    if len(content) > MAX_RESPONSE_BYTES:
        return error_response(response_too_large(), reference_id)
    return Response(status, body, headers, content)


def check_size(value: Any, taken: int) -> int:
    """Return the size in bytes of a part of a response, beside ``taken`` bytes of other parts.

    :raises DocumentInvalid: when the sum is above the limit.
    """
    size = len(_encode(value))
    if taken + size > MAX_RESPONSE_BYTES:
        raise response_too_large()
    return size


def response_too_large() -> DocumentInvalid:
    """Return the error for a response above 1 MiB. A mutation in the document has been executed nevertheless."""
    return DocumentInvalid("The answer would be larger than 1 MiB: select less, or in pages.", limit="response")
