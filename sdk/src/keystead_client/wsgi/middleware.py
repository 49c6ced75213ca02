"""``KeysteadMiddleware`` for WSGI (PEP 3333): as :mod:`keystead_client.middleware`, without event loop and threads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, ParamSpec, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from keystead_client._access_rules import IncomingRequest
from keystead_client._request import RequestEnded, RequestState, current_request
from keystead_client._single_flight import SingleFlight, run_sync
from keystead_client.client import Client
from keystead_client.cookies import RawHeaders
from keystead_client.errors import KeysteadError
from keystead_client.middleware import Protected
from keystead_client.verify import Verifier

T = TypeVar("T")
P = ParamSpec("P")
Headers = list[tuple[str, str]]

_STATE: Final = "keystead_client.request"
"""Key of the request's state in the environ, for the adapters of frameworks."""
_OURS: Final = "HTTP_X_KEYSTEAD_"
_RAW_PATHS: Final = ("REQUEST_URI", "RAW_URI")
"""Where web servers put the path as it was sent; ``PATH_INFO`` is decoded."""


class _Blocking:
    """Gives a blocking object the methods of its asynchronous counterpart, as coroutines that never suspend."""

    def __init__(self, blocking: Client | Verifier) -> None:
        self.blocking = blocking

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.blocking, name.removesuffix("_async"))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call


class KeysteadMiddleware(Protected[WSGIApplication, Client]):
    """WSGI middleware around an application; ``client`` is a :class:`keystead_client.Client`."""

    _client_type = Client
    _share = staticmethod(SingleFlight.run_in_thread)
    _adapt = _Blocking

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        for name in [name for name in environ if name.startswith(_OURS)]:
            del environ[name]
        state = environ[_STATE] = RequestState(self._rules, self._checks, read_environ(environ))
        return _Exchange(state, start_response).respond(self.app, environ)


class _Exchange:
    """Stands between the web server and the application for one request."""

    def __init__(self, state: RequestState, start_response: StartResponse) -> None:
        self.state = state
        self._start_response = start_response
        self._held: tuple[str, Headers] | None = None
        self._write: Callable[[bytes], object] = _drop

    def respond(self, app: WSGIApplication, environ: WSGIEnvironment) -> Iterable[bytes]:
        try:
            run_sync(self.state.require_access())
            parts = self.in_context(app, environ, self._start)
            body = _Body(self, parts)
            if self.state.is_suppressed:
                body.close()
                self.state.require_no_rejection()
        except (RequestEnded, KeysteadError) as error:
            return [self.answer_instead(error)]
        # Web servers treat some bodies specially: they count a list, and send a file with sendfile().
        file_wrapper = environ.get("wsgi.file_wrapper")
        is_file = isinstance(file_wrapper, type) and isinstance(parts, file_wrapper)
        if not (is_file or isinstance(parts, list | tuple)):
            return body
        self.send_held()
        return parts if self.state.has_begun else body

    def answer_instead(self, error: Exception) -> bytes:
        """Start the middleware's own response inside an ``except``, and return its body.

        The web server accepts a second start with ``exc_info`` until the first has been sent, and raises after that.
        """
        answer = self.state.answer_to(error)
        if answer is None:
            raise error
        self.state.take_over()
        self._held = None
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        self._start(status, _text_headers(answer.headers), sys.exc_info() if self.state.has_begun else None)
        self.send_held()
        return answer.body

    def send_held(self) -> None:
        """Pass the application's held start of the response on to the web server, once."""
        held, self._held = self._held, None
        if held is not None:
            self._begin(*held)

    def in_context(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function as part of this request."""
        token = current_request.set(self.state)
        try:
            return call(*args, **kwargs)
        finally:
            current_request.reset(token)

    def _start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        # Drops the 500 of a framework that does not know the middleware's exceptions.
        if self.state.suppress(int(status[:3])):
            self._held = None
            return _drop
        if self.state.has_begun:
            return self._begin(status, headers, exc_info)
        if self._held is not None and not exc_info:
            raise AssertionError("start_response was called a second time without exc_info")
        self.state.require_awaited(int(status[:3]))
        # Held until the first part: a generator runs only then, and may still ask for the user.
        self._held = status, list(headers)
        return self._write_unheld

    def _write_unheld(self, part: bytes) -> None:
        self.send_held()
        self._write(part)

    def _begin(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        joined = _text_headers(self.state.begin(raw, int(status[:3])))
        try:
            self._write = self._start_response(status, joined, *([exc_info] if exc_info else []))
            return self._write
        finally:
            exc_info = None  # PEP 3333: or the traceback would reference itself


class _Body(Iterator[bytes]):
    """The parts of a response, passed on as the application yields them."""

    def __init__(self, exchange: _Exchange, parts: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._parts = parts
        self._iterator: Iterator[bytes] | None = None
        self._close: Callable[[], object] | None = getattr(parts, "close", None)

    def __next__(self) -> bytes:
        exchange = self._exchange
        try:
            if self._iterator is None:
                self._iterator = exchange.in_context(iter, self._parts)
            part = exchange.in_context(next, self._iterator, None)
            exchange.state.require_no_rejection()
            exchange.send_held()
        except (RequestEnded, KeysteadError) as error:
            instead = exchange.answer_instead(error)
            self._iterator = iter(())
            self.close()
            return instead
        if part is None:
            raise StopIteration
        return part

    def close(self) -> None:
        """Close the application's iterable, once."""
        close, self._close = self._close, None
        if close is not None:
            self._exchange.in_context(close)
        self._exchange.state.log_unawaited()


def read_environ(environ: WSGIEnvironment) -> IncomingRequest:
    """Read a request from its environ, whose text is Latin-1 of the bytes sent."""
    cookies = environ.get("HTTP_COOKIE")
    raw_paths = [environ[name].partition("?")[0].encode("latin-1") for name in _RAW_PATHS if name in environ]
    headers = (name[len("HTTP_") :] for name in environ if name.startswith("HTTP_"))
    return IncomingRequest(
        scheme=environ.get("wsgi.url_scheme", "http"),
        host=environ.get("HTTP_HOST", ""),
        header_names=frozenset(name.lower().replace("_", "-").encode("latin-1") for name in headers),
        cookies=[cookies] if cookies else [],
        accept=environ.get("HTTP_ACCEPT", ""),
        path=_decoded(environ.get("PATH_INFO", "")) or "/",
        raw_path=b" ".join(raw_paths) or None,
        root=_decoded(environ.get("SCRIPT_NAME", "")).rstrip("/"),
        query=environ.get("QUERY_STRING", "").encode("latin-1"),
        address=environ.get("REMOTE_ADDR") or None,
        origin=environ.get("HTTP_ORIGIN"),
        referer=environ.get("HTTP_REFERER"),
        method=environ.get("REQUEST_METHOD", "GET"),
        is_websocket=environ.get("HTTP_UPGRADE", "").strip(" \t").lower() == "websocket",
        fetch_site=environ.get("HTTP_SEC_FETCH_SITE"),
    )


def response_to(error: Exception, environ: Mapping[str, Any]) -> tuple[int, Headers, bytes] | None:
    """Return status, headers and body for an exception meant for the middleware; None for any other."""
    state = environ.get(_STATE)
    answer = state.answer_to(error) if isinstance(state, RequestState) else None
    return None if answer is None else (answer.status, _text_headers(answer.headers), answer.body)


def _decoded(path: str) -> str:
    return path.encode("latin-1").decode("utf-8", "replace")


def _text_headers(headers: RawHeaders) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _drop(part: bytes) -> None:
    """Discard a part of a response that is not sent."""
