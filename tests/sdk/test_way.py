"""Which way requests take: straight to the endpoint, and to nobody else."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from keystead_client import AsyncClient, Client, NetworkError, punctual
from keystead_client.errors import Timeout
from tests.certificates import make_authority
from tests.sdk.hostile import HEAD, answering

ANSWER = HEAD + b'Content-Length: 22\r\n\r\n{"data": {"up": true}}'
KINDS = pytest.mark.parametrize("kind", ["task", "thread"])


def ask(kind: str, url: str, **options: Any) -> Any:
    options = {"retries": 0, **options}

    async def in_task() -> Any:
        async with AsyncClient(url, **options) as client:
            return await client.execute("{ up }")

    if kind == "task":
        return asyncio.run(in_task())
    with Client(url, **options) as client:
        return client.execute("{ up }")


@KINDS
def test_proxies_and_passwords_of_the_environment_are_not_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens go to the endpoint and nowhere else; a transport may name a proxy."""
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
def test_tls_is_checked_and_a_private_authority_can_be_trusted(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(tmp_path)
    tls = authority.server_context("127.0.0.1")
    with answering(lambda: [ANSWER], tls=tls) as url:
        with pytest.raises(NetworkError) as caught:
            ask(kind, url)
        assert caught.value.was_sent is False
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    with answering(lambda: [ANSWER], tls=tls) as url:
        assert ask(kind, url) == {"up": True}
    with (
        answering(lambda: [ANSWER], tls=authority.server_context("id.example.com")) as url,
        pytest.raises(NetworkError),
    ):
        ask(kind, url)


@KINDS
def test_the_timeout_is_for_the_whole_request_over_tls(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    bytewise = [HEAD[at : at + 1] for at in range(len(HEAD))]
    tls = authority.server_context("127.0.0.1")
    with answering(lambda: bytewise, 0.02, tls=tls) as url, pytest.raises(Timeout):
        ask(kind, url, timeout=0.6)


@KINDS
def test_the_first_address_that_answers_is_used(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = socket.getaddrinfo

    def of_both(host: Any, *given: Any, **options: Any) -> Any:
        if host not in ("localhost", b"localhost"):
            return looked_up(host, *given, **options)
        return [*looked_up("127.0.0.2", *given, **options), *looked_up("127.0.0.1", *given, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", of_both)
    with answering(lambda: [ANSWER]) as url:
        assert ask(kind, url.replace("127.0.0.1", "localhost")) == {"up": True}


@KINDS
def test_a_name_that_nobody_has(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*given: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(NetworkError) as caught:
        ask(kind, "https://no-such-host.invalid")
    assert caught.value.was_sent is False


def test_a_process_that_was_forked_opens_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that read from one would get each other's answers."""
    with answering(lambda: [ANSWER]) as url, Client(url, retries=0, timeout=5) as client:
        assert client.execute("{ up }") == {"up": True}
        # On that connection the server keeps quiet from here on.
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        assert client.execute("{ up }") == {"up": True}


def test_threads_look_at_the_clock_where_httpx_opens_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx has no public place for that: a version that keeps its backend elsewhere is to be noticed here."""
    opened: list[int] = []
    connect = punctual._Backend.connect_tcp

    def noted(self: punctual._Backend, host: str, port: int, *given: Any, **options: Any) -> punctual._Stream:
        opened.append(port)
        return connect(self, host, port, *given, **options)

    monkeypatch.setattr(punctual._Backend, "connect_tcp", noted)
    with answering(lambda: [ANSWER]) as url:
        assert ask("thread", url) == {"up": True}
        assert opened == [httpx.URL(url).port]
