"""PEP 3333: the middleware between a web server and an application."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from keystead_client import Client
from keystead_client.wsgi import KeysteadMiddleware, auth

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
PLAIN = [("Content-Type", "text/plain")]
AWAY = "303 See Other"
CLIENT = Client("https://auth.example.com", brand="shop")


class WebServer:
    """Serves one request as a web server: headers are sent with the first part that is not empty."""

    def __init__(self, app: WSGIApplication, **environ: Any) -> None:
        self.environ: WSGIEnvironment = {
            "HTTP_HOST": "app.example.com",
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            **environ,
        }
        setup_testing_defaults(self.environ)
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.sent: list[bytes] = []
        self.body = app(self.environ, self._start_response)

    def send_all(self) -> str:
        """The body; closes the application's iterable."""
        try:
            for part in self.body:
                self._write(part)
        finally:
            getattr(self.body, "close", lambda: None)()
        return b"".join(self.sent).decode()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        if self.sent and exc_info and exc_info[1]:
            raise exc_info[1]
        assert exc_info or not self.status, "begun twice"
        self.status, self.headers = status, headers
        return self._write

    def _write(self, part: bytes) -> None:
        assert self.status
        if part:
            self.sent.append(part)


class Parts:
    """An iterable that counts how often it is closed."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts
        self.closings = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        self.closings += 1


def protected(app: WSGIApplication) -> KeysteadMiddleware:
    """The application behind the middleware, which never calls its server: no request has a token."""
    return KeysteadMiddleware(app, client=CLIENT)


def serve(app: WSGIApplication, **environ: Any) -> WebServer:
    """Start to serve one request, for a public path."""
    return WebServer(protected(app), **{"PATH_INFO": "/auth/x", **environ})


def started(body: Callable[[], Iterable[bytes]], status: str = "200 OK") -> WSGIApplication:
    """An application that starts the response, and then makes its body."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, PLAIN)
        return body()

    return app


def test_the_middleware_is_valid_on_both_sides() -> None:
    middleware = protected(validator(started(lambda: (part for part in (b"one ", b"two")))))
    assert WebServer(validator(middleware), PATH_INFO="/auth/x").send_all() == "one two"
    away = WebServer(validator(middleware), PATH_INFO="/orders")
    assert (away.send_all(), away.status) == ("", AWAY)


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    ("root", "prefix"), [("/shop", "/shop"), ("//else.example", ""), ("/\\else.example", ""), ("/x\r\ny", "")]
)
def test_a_mount_prefix_is_part_of_the_login_url_unless_it_is_unsafe(root: str, prefix: str) -> None:
    server = WebServer(protected(started(list)), SCRIPT_NAME=root, PATH_INFO="/orders")
    assert server.status == AWAY
    assert dict(server.headers)["location"].startswith(f"{prefix}/auth/login?redirect={prefix}/")


def test_parts_are_passed_on_as_they_are_made() -> None:
    made: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for part in ("one", "two"):
            if not made:
                start_response("200 OK", PLAIN)
            made.append(part)
            yield part.encode()

    server = serve(app)
    parts = iter(server.body)
    assert (server.status, made) == ("", [])
    assert (next(parts), server.status, made) == (b"one", "200 OK", ["one"])
    assert (next(parts), made) == (b"two", ["one", "two"])
    assert next(parts, None) is None


@pytest.mark.parametrize("is_read", [True, False])
def test_the_iterable_is_closed_once(is_read: bool) -> None:
    parts = Parts(b"one", b"two")
    server = serve(started(lambda: parts))
    if is_read:
        server.send_all()
    for _ in range(2):
        server.body.close()  # type: ignore[attr-defined]
    assert parts.closings == 1


def test_write_sends_too() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)(b"one ")
        return [b"two"]

    assert serve(app).send_all() == "one two"


def test_lists_and_files_are_passed_on_as_they_are() -> None:
    listed = [b"a list has a length"]
    assert serve(started(lambda: listed)).body is listed
    with open(__file__, "rb") as file:
        wrapped = FileWrapper(file)
        assert serve(started(lambda: wrapped), **{"wsgi.file_wrapper": FileWrapper}).body is wrapped
        assert serve(started(lambda: wrapped)).body is not wrapped


@pytest.mark.parametrize("with_error", [True, False])
def test_a_second_start_needs_an_error(with_error: bool) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Internal Server Error", PLAIN, *([sys.exc_info()] if with_error else []))
        return [b"sorry"]

    if with_error:
        server = serve(app)
        assert (server.send_all(), server.status) == ("sorry", "500 Internal Server Error")
    else:
        with pytest.raises(AssertionError, match="second time"):
            serve(app)


@pytest.mark.parametrize("frameworks_answer", [None, "500 Internal Server Error"])
def test_a_redirect_replaces_a_response_that_was_not_sent(frameworks_answer: str | None) -> None:
    parts = Parts(b"an error page")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        try:
            auth.require_auth()
        except auth.RedirectToLogin:
            if frameworks_answer is None:
                raise
            start_response(frameworks_answer, PLAIN, sys.exc_info())(b"written")
        return parts

    server = serve(app)
    assert (server.send_all(), server.status) == ("", AWAY)
    assert parts.closings == (frameworks_answer is not None)


@pytest.mark.parametrize("kind", ["started", "unstarted", "error page"])
def test_a_generator_that_requires_a_user_first_redirects(kind: str) -> None:
    ended: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if kind == "started":
            start_response("200 OK", PLAIN)
        try:
            auth.require_auth()
        except auth.RedirectToLogin:
            if kind != "error page":
                raise
            start_response("500 Internal Server Error", PLAIN)
        try:
            yield b"an error page"
        finally:
            ended.append("closed")

    server = serve(app)
    assert (server.send_all(), server.status) == ("", AWAY)
    assert ("location", "/auth/login?redirect=/auth/x") in server.headers
    assert ended == ["closed"] * (kind == "error page")


@pytest.mark.parametrize("has_asked", [True, False])
def test_after_the_first_part_a_redirect_is_an_error(has_asked: bool) -> None:
    def parts() -> Iterable[bytes]:
        if has_asked:
            auth.get_user()
        yield b"one"
        auth.require_auth()

    with pytest.raises(auth.RedirectToLogin if has_asked else RuntimeError):
        serve(started(parts)).send_all()


@pytest.mark.parametrize("ask", [auth.get_user, auth.get_auth_token])
def test_the_user_is_asked_for_before_the_first_part_is_sent_or_never(ask: Callable[[], object]) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        if environ["PATH_INFO"] == "/auth/write":
            write(b"written")
        if environ["PATH_INFO"] == "/auth/first":
            ask()
        yield b""
        ask()

    first = serve(app, PATH_INFO="/auth/first")
    assert (first.send_all(), ("vary", "Cookie") in first.headers) == ("", True)
    for path in ("/auth/late", "/auth/write"):
        late = serve(app, PATH_INFO=path)
        with pytest.raises(RuntimeError, match="the response has begun"):
            late.send_all()
        assert late.headers == PLAIN


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_response_without_a_part_starts_too(method: str) -> None:
    server = serve(started(lambda: iter(()), "204 No Content"), REQUEST_METHOD=method)
    assert server.status == ""
    assert (server.send_all(), server.status) == ("", "204 No Content")


def test_other_errors_pass_through() -> None:
    def parts() -> Iterable[bytes]:
        raise auth.NotAuthenticated("of another server")
        yield b""

    with pytest.raises(auth.NotAuthenticated, match="of another server"):
        serve(started(parts)).send_all()


def test_auth_is_about_the_request_whose_part_is_made() -> None:
    def parts() -> Iterable[bytes]:
        while True:
            yield (auth.get_auth_token() or "none").encode()

    middleware = protected(started(parts))
    one, two = (
        WebServer(middleware, PATH_INFO="/auth/x", HTTP_COOKIE=f"keystead_auth_token={token}").body
        for token in ("one", "two")
    )
    for _ in range(2):
        assert (next(iter(one)), next(iter(two))) == (b"one", b"two")
        with pytest.raises(RuntimeError, match="no request is being served"):
            auth.get_auth_token()
