"""The rules of requests, retries and answers, without I/O.

Both clients run the same coroutines: ``AsyncClient`` awaits them, in ``Client`` they never suspend.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from keystead_client.errors import KeysteadError, NetworkError, RateLimited, ServerError, Unavailable, error_from

_WITH_EFFECT = re.compile(r"\b(?:mutation|subscription|login)\b", re.ASCII)
_FIRST_DELAY = 0.1
"""Seconds; the longest delay before the first retry. It doubles with each."""

_longest_delay = ContextVar("keystead_longest_delay", default=5.0)
"""Seconds. If the server asks for more, the error is raised instead."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One GraphQL request. An idempotent one may be sent again though the first may have been executed."""

    document: str
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    operation_name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_idempotent: bool = False

    @classmethod
    def of(cls, document: str, variables: Mapping[str, Any] | None = None, name: str | None = None) -> Operation:
        """A document of the caller's, idempotent if it holds only queries."""
        return cls(document, dict(variables or {}), name, {}, is_query(document))

    def build(self, client: httpx.Client | httpx.AsyncClient, url: str) -> httpx.Request:
        """The HTTP request.

        :raises TypeError: a variable is not JSON.
        """
        body: dict[str, Any] = {"query": self.document, "variables": dict(self.variables)}
        if self.operation_name is not None:
            body["operationName"] = self.operation_name
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self.headers}
        return client.build_request("POST", url, content=json.dumps(body).encode(), headers=headers)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


Ask = Callable[[Operation], Awaitable[dict[str, Any]]]
"""Executes an operation: returns its ``data``, or raises ``KeysteadError``."""


def with_headers(ask: Ask, headers: Mapping[str, str]) -> Ask:
    """Execute operations with these headers."""
    return lambda operation: ask(replace(operation, headers=headers))


async def execute(
    operation: Operation,
    post: Callable[[Operation], Awaitable[Reply]],
    sleep: Callable[[float], Awaitable[None]],
    retries: int,
) -> dict[str, Any]:
    """The ``data`` of the answer, after at most ``retries`` retries (exponential backoff with jitter) where safe.

    :raises KeysteadError: the first error of the answer, which holds the partial data, or a failure on the way.
    """
    attempt = 0
    while True:
        try:
            return _data_of(await post(operation))
        except KeysteadError as error:
            delay = _retry_delay(operation, error, attempt)
            if delay is None or attempt >= retries:
                raise
        attempt += 1
        await sleep(delay)


@contextmanager
def limit_retry_wait(seconds: float) -> Iterator[None]:
    """Inside, no client waits longer than this before a retry."""
    token = _longest_delay.set(seconds)
    try:
        yield
    finally:
        # A dropped coroutine is closed by the garbage collector, in another context.
        with suppress(ValueError):
            _longest_delay.reset(token)


def _data_of(reply: Reply) -> dict[str, Any]:
    """The ``data`` of an answer without errors; anything else is raised."""
    if 300 <= reply.status < 400:
        redirect = ServerError("the server answered with a redirect, which is never followed")
        redirect.status = reply.status
        raise redirect
    try:
        envelope = json.loads(reply.body)
    except (ValueError, RecursionError):
        envelope = None
    if not isinstance(envelope, dict):
        raise _foreign(reply)
    errors = envelope.get("errors")
    data = envelope.get("data")
    if isinstance(errors, list) and errors and all(isinstance(error, dict) for error in errors):
        raise _first_error(reply, errors, envelope)
    if errors or reply.status != 200 or not isinstance(data, dict):
        raise _foreign(reply)
    return data


def _first_error(reply: Reply, errors: list[dict[str, Any]], envelope: Mapping[str, Any]) -> KeysteadError:
    given, message = errors[0].get("extensions"), errors[0].get("message")
    extensions = {**_retry_after(reply), **(given if isinstance(given, dict) else {})}
    error = error_from(extensions, message if isinstance(message, str) else "the server gave no reason")
    data = envelope.get("data")
    error.errors = tuple(errors)
    error.data = data if isinstance(data, dict) and any(value is not None for value in data.values()) else None
    error.status, error.was_executed = reply.status, "data" in envelope
    return error


def _foreign(reply: Reply) -> KeysteadError:
    """Not a Keystead answer: perhaps of a proxy, which may or may not have forwarded the request."""
    cls = Unavailable if reply.status in (502, 503, 504) else ServerError
    error = cls(f"HTTP {reply.status}, and not an answer of a Keystead server", _retry_after(reply))
    error.status, error.was_executed = reply.status, True
    return error


def _retry_after(reply: Reply) -> dict[str, float]:
    """The ``Retry-After`` header in seconds; Keystead never sends its other form, a date."""
    text = {name.lower(): value for name, value in reply.headers.items()}.get("retry-after", "")
    return {"retryAfter": float(text)} if text.isascii() and text.isdigit() and len(text) < 10 else {}


def _retry_delay(operation: Operation, error: KeysteadError, attempt: int) -> float | None:
    """Seconds before the next attempt; None: no retry."""
    if not isinstance(error, NetworkError | Unavailable | RateLimited):
        return None
    may_have_run = error.was_sent if isinstance(error, NetworkError) else error.was_executed
    if may_have_run and not operation.is_idempotent:
        return None
    retry_after, longest = error.retry_after or 0.0, _longest_delay.get()
    if retry_after > longest:
        return None
    # Full jitter (not a secret): clients that failed together do not come back together.
    return retry_after + random.uniform(0, min(_FIRST_DELAY * 2**attempt, longest))  # noqa: S311


def is_query(document: str) -> bool:
    """Whether a document certainly holds only queries without effect; False in doubt.

    The standing contract's ``login`` is a query that opens a session.
    """
    return not _WITH_EFFECT.search(document)
