"""Connecting to the mail server: name lookup with a timeout, and each of its addresses in turn."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from keystead.mail.smtp import MOST_ADDRESSES, Limits, SmtpTransport
from keystead.mail.transport import DeliveryFailed
from keystead.settings.outgoing_mail import Encryption, MailServer, parse_mail_server
from tests.certificates import Authority
from tests.mail.sending import ENDLESS, FROM, TO, message
from tests.smtp_server import SmtpServer, SmtpServers

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]
SILENT, HERE = "192.0.2.1", "127.0.0.1"


@dataclass
class Resolver:
    """Replaces ``getaddrinfo``; hangs until it is released."""

    answers: list[str] = field(default_factory=lambda: [HERE])
    is_released: threading.Event = field(default_factory=threading.Event)

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        assert self.is_released.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port)) for answer in self.answers]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    stand_in = Resolver()
    monkeypatch.setattr("keystead.mail.smtp.socket.getaddrinfo", stand_in)
    yield stand_in
    stand_in.is_released.set()


def lookups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "mail-lookup" in thread.name]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_hanging_lookup_times_out_on_a_daemon_thread(
    loop: Callable[[], asyncio.AbstractEventLoop], resolver: Resolver
) -> None:
    async def send() -> None:
        server = MailServer("mail.example.com", 25, Encryption.off)
        with pytest.raises(DeliveryFailed, match="looking up the mail server's name took too long"):
            await SmtpTransport(server, "shop.example", Limits(connect=0.05)).send(message(), FROM, TO)

    before = set(lookups())
    with asyncio.Runner(loop_factory=loop) as runner:
        for _ in range(3):
            runner.run(send())
    (thread,) = set(lookups()) - before
    assert thread.daemon
    resolver.is_released.set()
    thread.join(20)
    assert not thread.is_alive()


def test_a_hanging_lookup_does_not_delay_the_exit() -> None:
    script = """
import asyncio, socket, threading
socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
from keystead.cli import checks
from keystead.mail.smtp import Limits
from keystead.settings import Settings
checks.MAIL_SERVER_LIMITS = Limits(connect=0.05)
async def look():
    return [finding.detail async for finding in checks.check_sending(Settings(smtp_url="smtp://mail.example.com"))]
print(asyncio.run(look())[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "mail.example.com:587: looking up the mail server's name took too long\n"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_each_address_is_tried_and_the_certificate_must_match_the_name(
    loop: Callable[[], asyncio.AbstractEventLoop],
    servers: SmtpServers,
    trusted: Authority,
    resolver: Resolver,
    tls: Any,
) -> None:
    server = servers(tls, name="mail.example.com")
    resolver.answers = ["127.0.0.2", HERE]
    resolver.is_released.set()

    async def send(host: str) -> None:
        url = server.url.replace(HERE, host) + ("" if tls == "implicit" else "?starttls=required")
        transport = SmtpTransport(parse_mail_server(url), "shop.example", ENDLESS)
        await transport.send(message(), FROM, TO)
        await transport.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(send("mail.example.com"))
        with pytest.raises(DeliveryFailed, match=r"certificate was refused: .*other.example.com"):
            runner.run(send("other.example.com"))
    assert [mail.is_encrypted for mail in server.received] == [True]


async def test_an_address_that_does_not_answer_is_skipped(
    smtp: SmtpServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, tried = asyncio.get_running_loop(), []
    connect = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address[0])
        if address[0] == SILENT:
            await asyncio.Event().wait()
        await connect(sock, address)

    async def send() -> None:
        server = parse_mail_server(smtp.url.replace(HERE, "mail.example.com"))
        transport = SmtpTransport(server, "shop.example", Limits(connect=0.5))
        await transport.send(message(), FROM, TO)
        await transport.close()

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    resolver.is_released.set()
    resolver.answers = [SILENT, HERE]
    await send()
    assert tried == [SILENT, HERE]
    resolver.answers = [SILENT] * 9
    with pytest.raises(DeliveryFailed, match="took too long"):
        await send()
    assert len(tried) == 2 + MOST_ADDRESSES
    await smtp.no_connection_is_open()
