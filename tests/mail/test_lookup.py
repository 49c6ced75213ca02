"""The mail server's name is looked up aside: one lookup at a time, which holds up nobody else and no exit."""

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

from keystead.mail.sender import DeliveryFailed, Limits, SmtpTransport
from keystead.mail.smtp import Address, addresses_of
from keystead.settings.outgoing_mail import Encryption, MailServer, parse_mail_server
from tests.certificates import Authority
from tests.mail.sending import ENDLESS, FROM, TO, message
from tests.smtp_server import SmtpServer, SmtpServers

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]
SILENT, HERE = "192.0.2.1", "127.0.0.1"


@dataclass
class Resolver:
    """Stands in for the system's. It says nothing until it is let go."""

    answers: list[str] = field(default_factory=lambda: [HERE])
    asked: list[str] = field(default_factory=list)
    is_asked: threading.Event = field(default_factory=threading.Event)
    is_free: threading.Event = field(default_factory=threading.Event)

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        self.is_asked.set()
        assert self.is_free.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port)) for answer in self.answers]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    stand_in = Resolver()
    monkeypatch.setattr("keystead.mail.smtp.socket.getaddrinfo", stand_in)
    yield stand_in
    stand_in.is_free.set()
    # The next test would wait for a lookup that is under way, and be given its answer.
    for thread in threading.enumerate():
        if "mail-lookup" in thread.name:
            thread.join(20)


async def give_up_on(host: str) -> None:
    server = MailServer(host, 25, Encryption.off)
    with pytest.raises(DeliveryFailed, match="looking up the mail server's name took too long"):
        await SmtpTransport(server, "shop.example", Limits(connect=0.05)).send(message(), FROM, TO)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_lookup_that_hangs_is_one_however_many_wait_for_it_and_holds_up_nothing(
    loop: Callable[[], asyncio.AbstractEventLoop], resolver: Resolver
) -> None:
    async def go() -> None:
        for _ in range(3):
            await asyncio.gather(*(give_up_on("mail.example.com") for _ in range(4)))
        await give_up_on("other.example.com")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())
    assert resolver.asked == ["mail.example.com"]
    lookups = [thread for thread in threading.enumerate() if "mail-lookup" in thread.name]
    assert [thread.daemon for thread in lookups] == [True]


async def test_who_stops_waiting_leaves_the_answer_to_the_others(resolver: Resolver) -> None:
    impatient = asyncio.create_task(addresses_of("mail.example.com", 25))
    others = [asyncio.create_task(addresses_of(host, 25)) for host in ("mail.example.com", "other.example.com")]
    await asyncio.to_thread(resolver.is_asked.wait, 20)
    impatient.cancel()
    await asyncio.wait([impatient])
    resolver.is_free.set()
    assert await asyncio.gather(*others) == [[Address(socket.AF_INET, (HERE, 25))]] * 2
    assert resolver.asked == ["mail.example.com", "other.example.com"]
    await addresses_of("mail.example.com", 25)
    assert len(resolver.asked) == 3, "an answer is not kept: names move"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", Address(socket.AF_INET, ("192.0.2.7", 25))),
        ("::1", Address(socket.AF_INET6, ("::1", 25, 0, 0))),
    ],
)
async def test_an_address_is_not_looked_up(resolver: Resolver, host: str, address: Address) -> None:
    assert await addresses_of(host, 25) == [address]
    assert resolver.asked == []


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_each_address_is_tried_and_the_certificate_is_for_the_name(
    loop: Callable[[], asyncio.AbstractEventLoop],
    servers: SmtpServers,
    trusted: Authority,
    resolver: Resolver,
    monkeypatch: pytest.MonkeyPatch,
    tls: Any,
) -> None:
    server = servers(tls, name="mail.example.com")
    resolver.answers = ["127.0.0.2", HERE]
    resolver.is_free.set()

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


async def test_a_silent_address_is_left_for_the_next(smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, tried = asyncio.get_running_loop(), []
    connect = loop.sock_connect

    async def sock_connect(sock: socket.socket, place: tuple[str, int]) -> None:
        tried.append(place[0])
        if place[0] == SILENT:
            await asyncio.Event().wait()
        await connect(sock, place)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    silent, here = (Address(socket.AF_INET, (host, smtp.port)) for host in (SILENT, HERE))
    (await smtp.connect([silent, here], 0.05)).close()
    assert tried == [SILENT, HERE]
    with pytest.raises(TimeoutError):
        await smtp.connect([silent] * 9, 0.01)
    assert len(tried) == 2 + smtp.MOST_ADDRESSES
    await smtp.nobody_is_connected()


def test_no_exit_waits_for_a_lookup() -> None:
    script = """
import asyncio, socket, threading
socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
from keystead.cli import mail_checks
from keystead.mail.sender import Limits
from keystead.settings import Settings
mail_checks.PATIENCE = Limits(connect=0.05)
async def look():
    return [finding.detail async for finding in mail_checks.examine_sending(Settings(smtp_url="smtp://mail.example.com"))]
print(asyncio.run(look())[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "mail.example.com:587: looking up the mail server's name took too long\n"
