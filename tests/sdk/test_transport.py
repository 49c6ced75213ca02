"""Requests over real sockets: bounds on time and size, TLS, proxies, forks and event loops; and the error messages."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from keystead_client import AsyncClient, Client, NetworkError, Tokens
from keystead_client._transport import LONGEST_REASON, PoolTimeout
from keystead_client.errors import KeysteadError, ServerError, Timeout
from tests.certificates import make_authority
from tests.forking import needs_fork
from tests.sdk.hostile import HEAD, answering

URL = "https://id.example.com"
TOKEN = "very-secret-token"
UP = b'{"data": {"up": true}}'
ANSWER = HEAD + b"Content-Length: 22\r\n\r\n" + UP
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
TOTAL = 0.2
"""Seconds."""
KINDS = pytest.mark.parametrize("kind", ["task", "thread"])


def ask(kind: str, url: str, variables: dict[str, Any] | None = None, **options: Any) -> Any:
    """The answer to a query, from a client of that kind."""
    options = {"retries": 0, **options}
    document = "query ($a: String) { up(a: $a) }"

    async def in_task() -> Any:
        async with AsyncClient(url, **options) as client:
            return await client.execute(document, variables)

    if kind == "task":
        return asyncio.run(in_task())
    with Client(url, **options) as client:
        return client.execute(document, variables)


def error_of(kind: str, url: str, variables: dict[str, Any] | None = None, **options: Any) -> Any:
    with pytest.raises(KeysteadError) as caught:
        ask(kind, url, variables, **options)
    return caught.value


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


SLOW = {
    "nothing": [],
    "half a body": [HEAD + b"Content-Length: 100\r\n\r\n" + UP],
    "long body": [HEAD + b"Content-Length: 10000\r\n\r\n", *bytewise(b" " * 10_000)],
    "long head": bytewise(HEAD + b"X-Filler: " + b"a" * 10_000),
    "long chunk size": [CHUNKED, *bytewise(b"0" * 10_000)],
}


@pytest.mark.parametrize(
    ("kind", "name"), [*(("task", name) for name in SLOW), *(("thread", name) for name in [*SLOW][:3])]
)
def test_a_slow_server_is_given_up(kind: str, name: str) -> None:
    """Each byte comes in time; the whole answer would take minutes. Threads bound the body, tasks the whole request."""
    with answering(lambda: SLOW[name], TOTAL / 10) as url:
        error = error_of(kind, url, timeout=TOTAL)
    assert isinstance(error, Timeout)
    assert error.was_sent


@KINDS
def test_a_server_that_does_not_read_is_given_up(kind: str) -> None:
    with answering(list, reads=False) as url:
        assert isinstance(error_of(kind, url, {"a": "a" * 20_000_000}, timeout=TOTAL), Timeout)


@KINDS
@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"Content-Length: 5000\r\n\r\n" + b" " * 5000],
        [CHUNKED, *[b"400\r\n" + b" " * 1024 + b"\r\n"] * 5],
        [HEAD + b"\r\n" + b" " * 5000],
    ],
    ids=["announced", "chunked", "until the end"],
)
def test_an_answer_that_is_too_large_is_not_read_to_its_end(parts: list[bytes], kind: str) -> None:
    with answering(lambda: parts) as url:
        error = error_of(kind, url, max_answer=4096)
    assert type(error) is ServerError
    assert "larger than 4096 bytes" in error.message
    assert (error.status, error.was_executed) == (200, True)


@KINDS
def test_compression_is_not_requested_and_not_decoded(kind: str) -> None:
    """A thousand bytes would become a million."""
    bomb, got = gzip.compress(b" " * 1_000_000), list[bytes]()
    head = HEAD + b"Content-Encoding: identity, gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with answering(lambda: [head + bomb], got=got) as url:
        error = error_of(kind, url)
    assert type(error) is ServerError
    assert "compressed" in error.message
    assert b"accept-encoding: identity\r\n" in got[0].lower()


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Notes that it was closed."""

    closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b" " * 100

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b" " * 100

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


@KINDS
@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}])
def test_a_refused_answer_is_closed(kind: str, headers: dict[str, str]) -> None:
    body = Body()
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, stream=body))
    assert isinstance(error_of(kind, URL, transport=transport, max_answer=50), ServerError)
    assert body.closed


def test_an_interrupted_logout_is_over_immediately() -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    with Client(URL, transport=httpx.MockTransport(interrupt), tokens=Tokens("a", "b")) as client:
        with pytest.raises(KeyboardInterrupt) as caught:
            client.logout()
        # Not when the exception is collected: a login may have come by then.
        assert client.tokens is None
        assert caught.type is KeyboardInterrupt


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": float("inf")}, {"timeout": -1}, {"max_answer": 0}])
def test_invalid_bounds(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Client(URL, **options)


# ------------------------------------------------------------------------------------------------ the way to the server


@KINDS
def test_proxies_and_passwords_of_the_environment_are_not_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password hidden\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    got: list[bytes] = []
    with answering(list, got=got) as proxy, answering(lambda: [ANSWER], got=got) as url:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        assert ask(kind, url) == {"up": True}
    (request,) = got
    assert request.startswith(b"POST /graphql HTTP/1.1\r\n")
    assert b"authorization" not in request.lower()


@KINDS
def test_certificates_are_verified_and_a_private_authority_can_be_trusted(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(tmp_path)
    tls = authority.server_context("127.0.0.1")
    with answering(lambda: [ANSWER], tls=tls) as url:
        error = error_of(kind, url)
        assert error.was_sent is False
        assert "the certificate is not trusted: unable to get local issuer" in error.message
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    with answering(lambda: [ANSWER], tls=tls) as url:
        assert ask(kind, url) == {"up": True}
    with answering(lambda: [ANSWER], tls=authority.server_context("id.example.com")) as url:
        assert "certificate is not valid for '127.0.0.1'" in error_of(kind, url).message


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:unclosed:ResourceWarning")
def test_a_forked_process_opens_its_own_connections() -> None:
    """Two processes that read from one connection would receive each other's answers."""
    with answering(lambda: [ANSWER]) as url, Client(url, retries=0, timeout=5) as client:
        assert client.execute("{ up }") == {"up": True}
        child = os.fork()
        if child == 0:
            # On the first connection the server stays silent from here on. The alarm ends a child that hangs.
            signal.alarm(10)
            os._exit(0 if client.execute("{ up }") == {"up": True} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Answering(BaseHTTPRequestHandler):
    """Answers each request over a connection that it keeps open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(UP)))
        self.end_headers()
        self.wfile.write(UP)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_each_event_loop_has_its_own_connections() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        client = AsyncClient(f"http://127.0.0.1:{server.server_port}", api_key="ks_sk_x", retries=0)
        for _ in range(3):
            assert asyncio.run(client.execute("{ up }")) == {"up": True}
        assert len(client._http._clients) == 1, "those of closed loops are forgotten"
        threads = [threading.Thread(target=lambda: got.append(asyncio.run(client.execute("{ up }")))) for _ in range(3)]
        got: list[object] = []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [{"up": True}] * 3

        async def ask_and_close() -> None:
            async with client:
                await client.execute("{ up }")

        asyncio.run(ask_and_close())
        assert not any(not loop.is_closed() for loop in client._http._clients)
        server.shutdown()


# ------------------------------------------------------------------------------------------------- failures and retries

NOT_SENT = [httpx.ConnectError("no"), httpx.ConnectTimeout("no"), httpx.PoolTimeout("no")]
PERHAPS_SENT = [httpx.ReadError("no"), httpx.ReadTimeout("no"), httpx.RemoteProtocolError("no"), httpx.WriteError("no")]


class Failing(httpx.MockTransport):
    """Fails so many times, then answers."""

    def __init__(self, failure: Exception, times: int = 1) -> None:
        self.left, self.failure = times, failure
        super().__init__(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        if self.left >= 0:
            raise self.failure
        return httpx.Response(200, content=UP)


@KINDS
def test_a_query_is_retried(kind: str) -> None:
    """The rules of retries are those of ``test_protocol``."""
    assert ask(kind, URL, transport=Failing(httpx.ReadError("no")), retries=2) == {"up": True}


@pytest.mark.parametrize("failure", [*NOT_SENT, *PERHAPS_SENT], ids=repr)
def test_a_failure_says_whether_the_request_may_have_been_sent(failure: Exception) -> None:
    error = failing(failure)
    assert error.was_sent is (failure in PERHAPS_SENT)
    # An exhausted pool says nothing about the server.
    assert isinstance(error, PoolTimeout) is isinstance(failure, httpx.PoolTimeout)


async def test_a_cancelled_caller_takes_no_tokens_along() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.set()
        await may_answer.wait()
        pair = {"auth_token": "auth-2", "refresh_token": "refresh-2"}
        return httpx.Response(200, json={"data": {"refreshToken": {"data": pair}}})

    async with AsyncClient(URL, transport=httpx.MockTransport(answer), tokens=Tokens("auth-1", "refresh-1")) as client:
        caller = asyncio.create_task(client.refresh())
        await asked.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        may_answer.set()
    assert client.tokens == Tokens("auth-2", "refresh-2", "pair", "refresh-1")


# --------------------------------------------------------------------------------------------------------- the messages


def failing(failure: Exception) -> NetworkError:
    """The error of a request with the token that fails so."""
    with Client(URL, transport=Failing(failure, 9), retries=0) as client, pytest.raises(NetworkError) as caught:
        client.execute_with(TOKEN, "{ up }")
    return caught.value


@KINDS
def test_a_port_without_a_server(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = error_of(kind, f"http://127.0.0.1:{port}")
    assert (error.message, error.was_sent) == ("the server cannot be reached: Connection refused", False)


@KINDS
def test_a_name_that_is_not_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(*given: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    said = "the server cannot be reached: the name cannot be resolved: Name or service not known"
    assert error_of(kind, "https://no-such-host.invalid").message == said


@KINDS
@pytest.mark.parametrize(
    ("scheme", "speaks", "said"),
    [
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server cannot be reached: TLS failed: "),
        ("http", b"220 mail.example.com ESMTP\r\n\r\n", "the connection to the server failed: what answers does not"),
    ],
)
def test_a_server_that_speaks_another_protocol(kind: str, scheme: str, speaks: bytes, said: str) -> None:
    with answering(lambda: [speaks]) as url:
        assert error_of(kind, url.replace("http", scheme), timeout=5).message.startswith(said)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), "closed too early"),
        (httpx.RemoteProtocolError(f"illegal header line: {TOKEN}"), "does not speak HTTP"),
        (httpx.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN}'"), "failed: LocalProtocolError"),
        (httpx.ReadError(f"while sending {TOKEN}"), "failed: ReadError"),
        (httpx.ConnectError(""), "cannot be reached: ConnectError"),
        (httpx.ProxyError("407 Proxy Authentication Required"), "407 Proxy Authentication Required"),
        (httpx.ConnectTimeout("no"), "there was no connection to the server in time"),
        (httpx.ReadTimeout("no"), "the server did not answer in time"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_message_says_the_reason_and_no_token(failure: Exception, said: str) -> None:
    error = failing(failure)
    assert said in error.message
    assert TOKEN not in "".join(traceback.format_exception(error))
    # A cause would hold the request, and with it the token.
    assert error.__cause__ is None
    assert isinstance(error, Timeout) is isinstance(failure, httpx.TimeoutException)


def test_a_reason_is_one_short_line_and_not_an_exception_of_the_program() -> None:
    error = failing(httpx.ConnectError("no\r\n\x1b[31m" + "x" * 10_000))
    assert error.message.isprintable()
    assert len(error.message) < LONGEST_REASON + 50
    try:
        raise FileNotFoundError(2, "No such file")
    except FileNotFoundError:
        assert failing(httpx.ReadError("no")).message == "the connection to the server failed: ReadError"
