"""Sending by SMTP to a server that refuses, is silent, or hangs up: what is tried again, and what operators read."""

from __future__ import annotations

import asyncio
import logging

import pytest

from keystead.mail.sender import DeliveryFailed, DeliveryRefused, Limits, SmtpTransport
from keystead.outgoing_mail import parse_mail_server
from tests.certificates import Authority
from tests.mail.sending import ENDLESS, FROM, LOGIN, TO, failure, message, refusal, transport_to
from tests.smtp_server import SmtpServer, SmtpServers

AT_ONCE = Limits(connect=0.05, command=0.05, whole=0.1, goodbye=0.05)


@pytest.mark.parametrize("verb", ["RCPT", "DATA", "."])
@pytest.mark.parametrize("reply", ["550 5.1.1 No such mailbox", "552 5.2.2 Full", "554 5.7.1 Spam"])
async def test_what_is_refused_for_good(smtp: SmtpServer, verb: str, reply: str) -> None:
    smtp.answer(verb, reply)
    assert await refusal(smtp) == reply


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        ("CONNECT", "554 5.3.2 No SMTP service here"),
        ("CONNECT", "421 4.3.2 Come back later"),
        ("EHLO", "502 5.5.2 What?"),
        ("MAIL", "550 5.7.1 Who are you?"),
        ("MAIL", "451 4.3.0 Later"),
        ("RCPT", "450 4.2.1 Greylisted"),
        ("RCPT", "530 5.7.0 Log in first"),
        ("RCPT", "421 4.3.2 Going down"),
        ("DATA", "451 4.3.0 Later"),
        (".", "452 4.3.1 Disk full"),
    ],
)
async def test_what_is_to_be_tried_again(smtp: SmtpServer, verb: str, reply: str) -> None:
    smtp.answer(verb, reply)
    assert (await failure(smtp)).endswith(reply)
    await smtp.nobody_is_connected()


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_a_server_that_hangs_up_is_to_be_tried_again(smtp: SmtpServer, verb: str) -> None:
    smtp.drop(verb)
    assert await failure(smtp) == "the mail server ended the conversation"


async def test_a_server_that_hangs_up_over_a_whole_mail_may_have_it(smtp: SmtpServer) -> None:
    smtp.drop(".")
    with pytest.raises(DeliveryFailed):
        await transport_to(smtp).send(message(), FROM, TO)
    assert len(smtp.received) == 1


async def test_a_server_that_speaks_something_else(smtp: SmtpServer) -> None:
    smtp.answer("CONNECT", "HTTP/1.1 400 Bad Request")
    assert await failure(smtp) == "the mail server does not speak SMTP"


async def test_nobody_there(smtp: SmtpServer) -> None:
    with SmtpServer() as gone:
        pass
    assert (await failure(gone)).startswith("the mail server cannot be reached")
    nowhere = SmtpTransport(parse_mail_server("smtp://nowhere.invalid"), "shop.example", ENDLESS)
    with pytest.raises(DeliveryFailed, match="name was not found"):
        await nowhere.send(message(), FROM, TO)


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_a_silent_server_is_waited_for_so_long_and_no_longer(smtp: SmtpServer, verb: str) -> None:
    smtp.withhold(verb)
    transport = transport_to(smtp, limits=AT_ONCE)
    with pytest.raises(DeliveryFailed, match="took too long"):
        await transport.send(message(), FROM, TO)
    await smtp.nobody_is_connected()


async def test_a_mail_as_a_whole_has_a_limit_too(smtp: SmtpServer) -> None:
    smtp.withhold("RCPT")
    transport = transport_to(smtp, limits=Limits(connect=30, command=30, whole=0.1))
    with pytest.raises(DeliveryFailed, match="took too long"):
        await transport.send(message(), FROM, TO)
    await smtp.nobody_is_connected()


async def test_who_stops_waiting_leaves_no_connection(smtp: SmtpServer) -> None:
    smtp.withhold("DATA")
    sending = asyncio.create_task(transport_to(smtp).send(message(), FROM, TO))
    await smtp.heard("DATA")
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await smtp.nobody_is_connected()


async def test_a_reason_tells_no_password_address_or_token(servers: SmtpServers, trusted: Authority) -> None:
    server = servers("implicit", login=LOGIN)
    server.answer("RCPT", f"550 5.1.1 <{TO}>\u2028: no, {TO.upper()} \x1b[31mis not bob@example.com {'x' * 300}")
    reason = await refusal(server)
    assert reason.startswith("550 5.1.1 <[hidden]> : no, [hidden] [31mis not [address] xxx")
    assert len(reason) == 200
    server.answer("AUTH", f"535 5.7.8 {LOGIN[0]} does not have {LOGIN[1]}, AHMzY3JldA== nor {FROM}")
    reason = await failure_of_login(server)
    assert "s3cret" not in reason
    assert "@" not in reason.replace("p@", "")
    server.behave()
    server.answer(".", "554 5.7.1 Bad link: https://id.example.com/link/login?token=ks_ml_0123456789abcdefghij")
    assert (await refusal(server)).endswith("/link/login?token=[hidden]")


async def failure_of_login(server: SmtpServer) -> str:
    with pytest.raises(DeliveryFailed) as caught:
        await transport_to(server).send(message(), FROM, TO)
    return caught.value.reason


async def test_nothing_that_is_said_is_logged(
    servers: SmtpServers, trusted: Authority, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server = servers("starttls", login=LOGIN)
    transport = transport_to(server)
    await transport.send(message("the body of a mail"), FROM, TO)
    server.answer("RCPT", "550 5.1.1 No such mailbox")
    with pytest.raises(DeliveryRefused):
        await transport.send(message("the body of a mail"), FROM, TO)
    await transport.close()
    said = caplog.text + "".join(capfd.readouterr())
    for secret in ("the body", "s3cret", TO, FROM, LOGIN[0], "AUTH PLAIN"):
        assert secret not in said
