"""What PEP 3333 asks of whoever stands between a web server and an application."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from keystead_client.wsgi import KeysteadMiddleware, auth

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
PLAIN = [("Content-Type", "text/plain")]
AWAY = "303 See Other"


class WebServer:
    """Serves one request as PEP 3333 tells a web server to: headers go with the first part that is not empty."""

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
        """The body; the application is told that this was all."""
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

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self.closings = 0

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        self.closings += 1


def protected(app: WSGIApplication) -> KeysteadMiddleware:
    """The application behind the middleware, which never has to ask its server: nobody brings a token."""
    return KeysteadMiddleware(app, "https://auth.example.com")


def serve(app: WSGIApplication, **environ: Any) -> WebServer:
    """Begins to answer one request, for a public path."""
    return WebServer(protected(app), **{"PATH_INFO": "/auth/x", **environ})


def test_the_middleware_keeps_to_the_protocol_on_both_sides() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        return (part for part in (b"one ", b"two"))

    middleware = protected(validator(app))
    assert WebServer(validator(middleware), PATH_INFO="/auth/x").send_all() == "one two"
    away = WebServer(validator(middleware), PATH_INFO="/orders")
    assert (away.send_all(), away.status) == ("", AWAY)


def test_a_mounted_application_knows_its_own_paths() -> None:
    server = WebServer(protected(lambda environ, start_response: []), SCRIPT_NAME="/shop", PATH_INFO="/orders")
    assert (server.send_all(), server.status) == ("", AWAY)
    assert ("location", "/shop/auth/login?redirect=/shop/orders") in server.headers


@pytest.mark.attack("A101")
@pytest.mark.parametrize("root", ["//else.example", "/\\else.example", "/x\r\ny"])
def test_a_mount_point_that_leads_elsewhere_is_left_out(root: str) -> None:
    server = WebServer(protected(lambda environ, start_response: []), SCRIPT_NAME=root, PATH_INFO="/orders")
    assert dict(server.headers)["location"].startswith("/auth/login?redirect=/")


def test_parts_are_passed_on_as_they_are_made() -> None:
    made: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for part in ("one", "two"):
            # A generator begins when it is first asked.
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
def test_the_application_is_told_once_that_this_was_all(is_read: bool) -> None:
    parts = Parts(iter((b"one", b"two")))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        return parts

    server = serve(app)
    if is_read:
        server.send_all()
    for _ in range(2):
        server.body.close()  # type: ignore[attr-defined]
    assert parts.closings == 1


def test_what_is_written_goes_out_too() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        return [b"two"]

    assert serve(app).send_all() == "one two"


def test_what_a_web_server_knows_how_to_send_is_left_to_it() -> None:
    def body_for(known: Iterable[bytes], **environ: Any) -> Iterable[bytes]:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)
            return known

        return serve(app, **environ).body

    listed = [b"a list has a length"]
    assert body_for(listed) is listed
    with open(__file__, "rb") as file:
        wrapped = FileWrapper(file)
        assert body_for(wrapped, **{"wsgi.file_wrapper": FileWrapper}) is wrapped
        assert body_for(wrapped) is not wrapped


def test_an_application_begins_anew_after_an_error() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Internal Server Error", PLAIN, sys.exc_info())
        return [b"sorry"]

    server = serve(app)
    assert (server.send_all(), server.status) == ("sorry", "500 Internal Server Error")


@pytest.mark.parametrize("frameworks_answer", [None, "500 Internal Server Error"])
def test_a_redirect_replaces_what_has_begun_and_has_not_been_sent(frameworks_answer: str | None) -> None:
    parts = Parts(iter((b"an error page",)))

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


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_generator_that_requires_somebody_first_redirects(has_begun: bool) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if has_begun:
            start_response("200 OK", PLAIN)
        yield auth.require_auth()["email"].encode()

    server = serve(app)
    assert (server.send_all(), server.status) == ("", AWAY)
    assert ("location", "/auth/login?redirect=/auth/x") in server.headers


def test_an_error_page_that_a_generator_begins_is_replaced() -> None:
    ended: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            auth.require_auth()
        except auth.RedirectToLogin:
            start_response("500 Internal Server Error", PLAIN)
        try:
            yield b"an error page"
        finally:
            ended.append("closed")

    server = serve(app)
    assert (server.send_all(), server.status, ended) == ("", AWAY, ["closed"])


@pytest.mark.parametrize("has_asked", [True, False])
def test_once_something_is_sent_the_redirect_is_an_error(has_asked: bool) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        if has_asked:
            auth.get_user()
        yield b"one"
        auth.require_auth()

    with pytest.raises(auth.RedirectToLogin if has_asked else RuntimeError):
        serve(app).send_all()


@pytest.mark.parametrize("ask", [auth.get_user, auth.logged_in, auth.get_auth_token, auth.get_refresh_token])
def test_who_is_there_is_asked_before_the_first_part_is_sent_or_never(ask: Callable[[], object]) -> None:
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
def test_a_response_without_a_part_begins_all_the_same(method: str) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("204 No Content", PLAIN)
        yield from ()

    server = serve(app, REQUEST_METHOD=method)
    assert server.status == ""
    assert (server.send_all(), server.status) == ("", "204 No Content")


def test_to_begin_twice_is_an_error() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        start_response("201 Created", PLAIN)
        return []

    with pytest.raises(AssertionError, match="second time"):
        serve(app)


def test_other_errors_pass_through() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        raise auth.NotAuthenticated("of another server")
        yield b""

    with pytest.raises(auth.NotAuthenticated, match="of another server"):
        serve(app).send_all()


def test_auth_speaks_of_the_request_whose_part_is_made() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        while True:
            yield (auth.get_auth_token() or "nobody").encode()

    middleware = protected(app)
    one, two = (WebServer(middleware, PATH_INFO="/auth/x", HTTP_COOKIE=cookie).body for cookie in COOKIES)
    for _ in range(2):
        assert (next(iter(one)), next(iter(two))) == (b"one", b"two")
        with pytest.raises(RuntimeError, match="no request is being served"):
            auth.get_auth_token()


def test_cookies_cannot_be_set_once_the_response_has_begun() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        yield b""
        for late in (auth.logout, auth.refresh_tokens, lambda: auth.login("ann@example.com", "x")):
            with pytest.raises(RuntimeError, match="has begun"):
                late()

    assert serve(app).send_all() == ""


COOKIES = ("keystead_auth_token=one", "keystead_auth_token=two")
