"""What the error says where the server is not reached: enough to mend it, and no token."""

from __future__ import annotations

import socket
import traceback
from pathlib import Path
from typing import Any

import httpx
import pytest

from keystead_client import Client, NetworkError
from keystead_client._transport import LONGEST
from keystead_client.errors import Timeout
from tests.certificates import make_authority
from tests.sdk.hostile import answering
from tests.sdk.test_way import KINDS, ask

TOKEN = "very-secret-token"


def message(kind: str, url: str) -> str:
    with pytest.raises(NetworkError) as caught:
        ask(kind, url, timeout=5)
    return caught.value.message


def failing(failure: Exception) -> NetworkError:
    """What a request with the token raises on a way that fails so."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise failure

    transport = httpx.MockTransport(fail)
    with (
        Client("https://id.example.com", transport=transport, retries=0) as client,
        pytest.raises(NetworkError) as caught,
    ):
        client.execute_with(TOKEN, "{ up }")
    return caught.value


@KINDS
def test_a_port_where_nobody_listens(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert message(kind, f"http://127.0.0.1:{port}") == "the server cannot be reached: Connection refused"


@KINDS
def test_a_name_that_is_not_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*given: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    said = "the server cannot be reached: the name cannot be resolved: Name or service not known"
    assert message(kind, "https://no-such-host.invalid") == said


@KINDS
def test_a_certificate_that_is_not_trusted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = make_authority(tmp_path)
    with answering(list, tls=authority.server_context("127.0.0.1")) as url:
        assert "the certificate is not trusted: unable to get local issuer" in message(kind, url)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    with answering(list, tls=authority.server_context("id.example.com")) as url:
        assert "certificate is not valid for '127.0.0.1'" in message(kind, url)


@KINDS
def test_no_tls_where_it_was_expected(kind: str) -> None:
    with answering(lambda: [b"HTTP/1.1 400 Bad Request\r\n\r\n"]) as url:
        assert message(kind, url.replace("http:", "https:")).startswith("the server cannot be reached: TLS failed: ")


@KINDS
def test_what_does_not_speak_http(kind: str) -> None:
    with answering(lambda: [b"220 mail.example.com ESMTP\r\n\r\n"]) as url:
        assert message(kind, url) == "the connection to the server failed: what answers does not speak HTTP"


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), "closed too early"),
        (httpx.RemoteProtocolError(f"illegal header line: {TOKEN}"), "does not speak HTTP"),
        (httpx.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN}'"), "failed: LocalProtocolError"),
        (httpx.ReadError(f"while sending {TOKEN}"), "failed: ReadError"),
        (httpx.ConnectError(""), "cannot be reached: ConnectError"),
        (httpx.ProxyError("407 Proxy Authentication Required"), "407 Proxy Authentication Required"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_no_token_is_told(failure: Exception, said: str) -> None:
    error = failing(failure)
    assert said in error.message
    assert TOKEN not in "".join(traceback.format_exception(error))
    # A cause would hold the request, and with it the token.
    assert error.__cause__ is None


def test_the_reason_is_one_short_line() -> None:
    error = failing(httpx.ConnectError("no\r\n\x1b[31m" + "x" * 10_000))
    assert error.message.isprintable()
    assert len(error.message) < LONGEST + 50


def test_what_the_program_was_about_is_no_reason() -> None:
    try:
        raise FileNotFoundError(2, "No such file")
    except FileNotFoundError:
        assert failing(httpx.ReadError("no")).message == "the connection to the server failed: ReadError"


def test_no_connection_in_time_is_not_no_answer_in_time() -> None:
    late = failing(httpx.ConnectTimeout("no"))
    assert isinstance(late, Timeout)
    assert late.message == "there was no connection to the server in time"
    assert failing(httpx.ReadTimeout("no")).message == "the server did not answer in time"
