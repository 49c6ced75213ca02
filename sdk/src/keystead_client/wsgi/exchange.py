"""One request of a WSGI application, and what is answered to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final, ParamSpec, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from keystead_client._single_flight import run_sync
from keystead_client.answers import Answer
from keystead_client.browser import Browser, current_browser
from keystead_client.ended import ForeignRequest, RedirectToLogin, RequestEnded
from keystead_client.errors import KeysteadError
from keystead_client.protection import Protection, Visit

T = TypeVar("T")
P = ParamSpec("P")

IN_ENVIRON: Final = "keystead_client.exchange"
"""Where the exchange stands in the environ, for the adapters of frameworks."""


class Exchange:
    """Stands between the web server and the application, for one request."""

    def __init__(self, protection: Protection, visit: Visit, start_response: StartResponse) -> None:
        self._protection = protection
        self._visit = visit
        self._start_response = start_response
        self._browser: Browser = protection.browser(visit)
        self._held: tuple[str, list[tuple[str, str]]] | None = None
        self._write: Callable[[bytes], object] = _drop

    def respond(self, app: WSGIApplication, environ: WSGIEnvironment) -> Iterable[bytes]:
        """What the web server sends as the body."""
        try:
            if self._browser.is_foreign and self._browser.has_tokens:
                raise ForeignRequest
            if self._browser.is_protected and run_sync(self._browser.user()) is None:
                raise RedirectToLogin(self._browser.location_of_login(None))
            parts = self.serving(app, environ, self._start)
            body = Body(self, parts)
            if self._browser.is_withheld:
                body.close()
                self.require_no_refusal()
        except (RequestEnded, KeysteadError) as error:
            return [self.answer_instead(error)]
        # A web server does more with what it knows: it counts a list, and has the kernel send a file.
        if not (isinstance(parts, list | tuple) or _is_file(parts, environ)):
            return body
        self.send_held()
        return parts if self._browser.has_begun_to_answer else body

    def answer_to(self, error: Exception) -> Answer | None:
        """What answers an exception that is meant for the middleware; None for any other."""
        if isinstance(error, RequestEnded):
            return self._protection.away(self._visit, error)
        # Others are the application's own affair, for example its calls of the data client.
        if isinstance(error, KeysteadError) and error is self._browser.outage:
            return self._protection.away_for_now(self._visit, error)
        return None

    def answer_instead(self, error: Exception) -> bytes:
        """Inside an ``except``: begins our own answer, and returns its body. Raises ``error`` where that is too late.

        Whether it is, the web server tells: it takes a second beginning until the first has been sent.
        """
        answer = self.answer_to(error)
        if answer is None:
            raise error
        self._browser.answer_instead()
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
        self._held = None
        self._start(status, headers, sys.exc_info() if self._browser.has_begun_to_answer else None)
        self.send_held()
        return answer.body

    def send_held(self) -> None:
        """Hands what the application has begun to the web server; once."""
        held, self._held = self._held, None
        if held is not None:
            self._begin(*held)

    def tell_of_the_unawaited(self) -> None:
        """Logs what the application has called and not awaited."""
        self._browser.unawaited.tell()

    def require_no_refusal(self) -> None:
        """Raises what ``require_auth`` has raised, where the application has made an error page of it."""
        if self._browser.is_withheld and self._browser.refusal is not None:
            raise self._browser.refusal

    def serving(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call, in which the functions of ``auth`` speak of this request."""
        token = current_browser.set(self._browser)
        try:
            return call(*args, **kwargs)
        finally:
            current_browser.reset(token)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        # A framework answers 500 to an exception that it does not know, as are those that are meant for us.
        if self._browser.withhold(int(status[:3])):
            self._held = None
            return _drop
        if self._browser.has_begun_to_answer:
            return self._begin(status, headers, exc_info)
        if self._held is not None and not exc_info:
            raise AssertionError("start_response is called a second time, and without exc_info")
        self._browser.unawaited.must_be_none(int(status[:3]))
        # A generator runs up to its first part only after this, and may ask until then who is logged in.
        self._held = status, list(headers)
        return self._write_at_once

    def _write_at_once(self, part: bytes) -> None:
        self.send_held()
        self._write(part)

    def _begin(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        begun = self._browser.begin_to_answer(raw, int(status[:3]))
        joined = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in begun]
        try:
            self._write = self._start_response(status, joined, *([exc_info] if exc_info else []))
            return self._write
        finally:
            exc_info = None  # as PEP 3333 asks, lest the traceback hold itself


class Body(Iterator[bytes]):
    """The parts of a response, passed on one by one as the application makes them."""

    def __init__(self, exchange: Exchange, parts: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._parts: Iterable[bytes] = parts
        self._iterator: Iterator[bytes] | None = None
        self._close: Callable[[], object] | None = getattr(parts, "close", None)

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = self._exchange.serving(iter, self._parts)
            part = self._exchange.serving(next, self._iterator, None)
            self._exchange.require_no_refusal()
            self._exchange.send_held()
        except (RequestEnded, KeysteadError) as error:
            instead = self._exchange.answer_instead(error)
            self._iterator = iter(())
            self.close()
            return instead
        if part is None:
            raise StopIteration
        return part

    def close(self) -> None:
        """Tells the application that this is all; once, whoever calls."""
        close, self._close = self._close, None
        if close is not None:
            self._exchange.serving(close)
        self._exchange.tell_of_the_unawaited()


def _is_file(parts: object, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(parts, wrapper)


def _drop(part: bytes) -> None:
    """The ``write`` of an answer that is not sent."""
