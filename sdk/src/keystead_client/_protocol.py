"""The conversation with the server, without I/O.

A *flow* is a generator. It yields steps (send this, wait so long, refresh the tokens) and is given what came of each;
failures are thrown into it. What it returns is the result. ``client.py`` drives flows, and ``async_client.py`` does
so with ``await``: the rules about errors and repetition stand here once.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from keystead_client.errors import KeysteadError, NetworkError, RateLimited, ServerError, Unavailable, error_from

_TOKEN = re.compile(
    r'"""(?:\\"""|[^"]|"(?!""))*"""|"(?:\\.|[^"\\\n])*"|#[^\n\r]*|[_A-Za-z][_0-9A-Za-z]*|[{}]|"', re.ASCII | re.DOTALL
)
_FIRST_WAIT = 0.1
"""Seconds; the most that is waited before the first repetition. It doubles with each."""

_longest_wait = ContextVar("keystead_longest_wait", default=5.0)
"""Seconds. Where the server asks for more, the caller is told instead of kept waiting."""


@dataclass(frozen=True, slots=True)
class Question:
    """One GraphQL request. ``is_repeatable``: asking again does no harm where the first may have been served."""

    document: str
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    operation_name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_repeatable: bool = False

    @classmethod
    def of(cls, document: str, variables: Mapping[str, Any] | None = None, name: str | None = None) -> Question:
        """A document of the caller's; it is repeatable where it holds queries alone."""
        return cls(document, dict(variables or {}), name, {}, is_query(document))

    def with_headers(self, headers: Mapping[str, str]) -> Question:
        """The same, with more headers."""
        return replace(self, headers={**self.headers, **headers})

    def body(self) -> bytes:
        """What is posted. Raises ``TypeError`` for a variable that JSON does not have."""
        body: dict[str, Any] = {"query": self.document, "variables": dict(self.variables)}
        if self.operation_name is not None:
            body["operationName"] = self.operation_name
        return json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class Send:
    """Post this. The driver gives back a ``Reply``, or throws a ``NetworkError``."""

    question: Question


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait so many seconds. The driver gives back None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Refresh:
    """See that the access token is another than ``stale``, with one refresh for everybody who asks at the same time.

    ``refresh_token`` was beside it, and tells whose session is meant. The driver gives back the access token, or throws
    what the refresh failed with.
    """

    stale: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)

    @property
    def key(self) -> str | None:
        """What those have in common who may share a refresh: it is of one session."""
        return self.stale or self.refresh_token


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


Step = Send | Sleep | Refresh
T = TypeVar("T")
Flow = Generator[Step, Any, T]


def resume(flow: Flow[Any], outcome: Reply | str | KeysteadError | None) -> Step:
    """The next step, given what came of the last one; None begins. Raises ``StopIteration`` with the result."""
    return flow.throw(outcome) if isinstance(outcome, KeysteadError) else flow.send(outcome)


def ask(question: Question, retries: int) -> Flow[dict[str, Any]]:
    """The ``data`` of the answer. Repeats at most ``retries`` times, with growing random waits, where that is safe.

    Raises ``KeysteadError``; an answer with data and errors raises the first of its errors, which holds the data.
    """
    attempt = 0
    while True:
        try:
            return read((yield Send(question)))
        except KeysteadError as error:
            wait = _wait_before_repeating(question, error, attempt)
            if wait is None or attempt >= retries:
                raise
        attempt += 1
        yield Sleep(wait)


@contextmanager
def limit_retry_wait(seconds: float) -> Iterator[None]:
    """What is asked inside, by whichever client, waits no longer than this before a repetition."""
    token = _longest_wait.set(seconds)
    try:
        yield
    finally:
        # A coroutine that nobody finishes is closed by whoever collects it, in another context than it began in.
        with suppress(ValueError):
            _longest_wait.reset(token)


def read(reply: Reply) -> dict[str, Any]:
    """The ``data`` of an answer without errors; anything else is raised."""
    if 300 <= reply.status < 400:
        raise _with_status(ServerError("the server answered with a redirect, which is never followed"), reply)
    try:
        envelope = json.loads(reply.body)
    except (ValueError, RecursionError):
        envelope = None
    if not isinstance(envelope, dict):
        raise _foreign(reply)
    errors = envelope.get("errors")
    data = envelope.get("data")
    if isinstance(errors, list) and errors and all(isinstance(error, dict) for error in errors):
        raise _refusal(reply, errors, envelope)
    if errors or reply.status != 200 or not isinstance(data, dict):
        raise _foreign(reply)
    return data


def _refusal(reply: Reply, errors: list[dict[str, Any]], envelope: Mapping[str, Any]) -> KeysteadError:
    """The first error of the answer."""
    extensions = errors[0].get("extensions")
    extensions = dict(extensions) if isinstance(extensions, dict) else {}
    asked = _retry_after(reply)
    if asked is not None:
        extensions.setdefault("retryAfter", asked)
    message = errors[0].get("message")
    error = error_from(extensions, message if isinstance(message, str) else "the server gave no reason")
    data = envelope.get("data")
    error.errors = tuple(errors)
    error.data = data if isinstance(data, dict) and any(value is not None for value in data.values()) else None
    error.was_executed = "data" in envelope
    return _with_status(error, reply)


def _foreign(reply: Reply) -> KeysteadError:
    """An answer that is none of Keystead's: of a proxy, perhaps, that may or may not have passed the request on."""
    asked = _retry_after(reply)
    extensions = {} if asked is None else {"retryAfter": asked}
    busy = reply.status in (502, 503, 504)
    cls = Unavailable if busy else ServerError
    error = cls(f"HTTP {reply.status}, and not an answer of a Keystead server", extensions)
    error.was_executed = True
    return _with_status(error, reply)


def _with_status(error: KeysteadError, reply: Reply) -> KeysteadError:
    error.status = reply.status
    return error


def _retry_after(reply: Reply) -> float | None:
    """Seconds; the other form of the header, a date, is not Keystead's."""
    text = {name.lower(): value for name, value in reply.headers.items()}.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _wait_before_repeating(question: Question, error: KeysteadError, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; None: there must be none."""
    if not isinstance(error, NetworkError | Unavailable | RateLimited):
        return None
    may_have_run = error.was_sent if isinstance(error, NetworkError) else error.was_executed
    if may_have_run and not question.is_repeatable:
        return None
    asked, longest = error.retry_after or 0.0, _longest_wait.get()
    if asked > longest:
        return None
    # Full jitter (no secret): many clients that failed together do not come back together.
    return asked + random.uniform(0, min(_FIRST_WAIT * 2**attempt, longest))  # noqa: S311


def is_query(document: str) -> bool:
    """Whether a document surely holds queries that change nothing.

    In doubt it does not: it decides what may be repeated. The standing contract's ``login`` is a query that opens a
    session.
    """
    depth = 0
    for match in _TOKEN.finditer(document):
        token = match.group()
        if token == '"':
            return False
        depth += (token == "{") - (token == "}")
        if depth < 0 or token == "login" or (depth == 0 and token in ("mutation", "subscription")):
            return False
    return depth == 0
