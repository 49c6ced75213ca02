"""Sending by SMTP to a server that refuses, is silent, or hangs up: what is tried again, and what operators read."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

import pytest

from keystead.mail.smtp import LONGEST_DELIVERY, Limits, SmtpTransport
from keystead.mail.smtp_failures import Redactor
from keystead.mail.transport import DeliveryError, DeliveryFailed, DeliveryRefused, DeliveryUncertain
from keystead.settings.outgoing_mail import Encryption, MailServer, parse_mail_server
from tests.certificates import Authority
from tests.mail.sending import ENDLESS, FROM, LOGIN, TO, failure, message, refusal, transport_to
from tests.smtp_server import SmtpServer, SmtpServers

IMPATIENT = Limits(connect=0.05, command=0.05, whole=0.1, goodbye=0.05)


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        *((verb, "550 5.1.1 No such mailbox") for verb in ("RCPT", "DATA", ".")),
        *((verb, "552 5.2.2 Full") for verb in ("RCPT", "DATA", ".")), (".", "554 5.6.0 Cannot be read"),
        ("RCPT", "550 No such mailbox"), ("RCPT", "550 5.0.0 No such mailbox"),
        ("RCPT", "550 5.1.10 No mail for that domain"), ("RCPT", "551 Not here"), ("RCPT", "553 No such name"),
        ("DATA", "552 Too much"), (".", "552 Too much"),
    ],
)  # fmt: skip
async def test_what_is_refused_for_good(smtp: SmtpServer, verb: str, reply: str) -> None:
    smtp.answer(verb, reply)
    assert await refusal(smtp) == reply


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        # About us, repairable.
        ("RCPT", "554 5.7.1 Relay access denied"),
        ("RCPT", "550 5.7.1 Client host rejected: cannot find your reverse hostname"),
        ("RCPT", "550 5.4.5 Daily sending quota exceeded"),
        ("RCPT", "550 5.3.2 Not now"),
        ("RCPT", "550 5.5.1 Say hello first"),
        ("RCPT", "554 5.7.0 authentication required"),
        ("RCPT", "554 Relaying denied"),
        ("RCPT", "552 Quota"),
        ("RCPT", "550 5.1.8 Bad sender's domain"),
        ("RCPT", "550 4.1.1 Which of them is it?"),
        ("DATA", "550 No valid recipients"),
        (".", "554 5.7.1 Spam"),
        (".", "550 You send too much"),
        # Not yet.
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
    await smtp.no_connection_is_open()


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_a_server_that_hangs_up_is_to_be_tried_again(smtp: SmtpServer, verb: str) -> None:
    smtp.drop(verb)
    assert await failure(smtp) == "the mail server closed the connection"


async def test_a_server_that_hangs_up_over_a_whole_mail_may_have_it(smtp: SmtpServer) -> None:
    smtp.drop(".")
    with pytest.raises(DeliveryFailed):
        await transport_to(smtp).send(message(), FROM, TO)
    assert len(smtp.received) == 1


async def test_a_server_that_speaks_something_else(smtp: SmtpServer) -> None:
    smtp.answer("CONNECT", "HTTP/1.1 400 Bad Request")
    assert await failure(smtp) == "the mail server does not speak SMTP"


async def test_an_unreachable_server(smtp: SmtpServer) -> None:
    with SmtpServer() as gone:
        pass
    assert (await failure(gone)).startswith("the mail server cannot be reached")
    nowhere = SmtpTransport(parse_mail_server("smtp://nowhere.invalid"), "shop.example", ENDLESS)
    with pytest.raises(DeliveryFailed, match="name was not found"):
        await nowhere.send(message(), FROM, TO)


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_a_silent_server_is_waited_for_so_long_and_no_longer(smtp: SmtpServer, verb: str) -> None:
    smtp.withhold(verb)
    transport = transport_to(smtp, limits=replace(ENDLESS, acceptance=0.05) if verb == "." else IMPATIENT)
    with pytest.raises(DeliveryFailed, match=r"took too long|did not confirm") as caught:
        await transport.send(message(), FROM, TO)
    assert isinstance(caught.value, DeliveryUncertain) == transport.may_have_taken == (verb == ".")
    await smtp.no_connection_is_open()


async def test_the_final_reply_has_a_separate_timeout(smtp: SmtpServer) -> None:
    silence = smtp.withhold(".", times=1)
    transport = transport_to(smtp, limits=Limits(connect=1, command=1, whole=1, acceptance=30))
    sending = asyncio.create_task(transport.send(message(), FROM, TO))
    await smtp.mails(1)
    await asyncio.wait([sending], timeout=1.1)
    assert not sending.done()
    silence.release()
    await sending
    assert transport.may_have_taken
    smtp.answer("RCPT", "550 5.1.1 No such mailbox", times=1)
    smtp.answer(".", "451 4.3.0 Later", times=1)
    for _ in range(2):
        with pytest.raises(DeliveryError):
            await transport.send(message(), FROM, TO)
        assert not transport.may_have_taken
    await transport.close()
    assert len(smtp.received) == 1


def test_who_waits_for_a_whole_conversation_knows_how_long() -> None:
    assert Limits() == Limits(connect=10, command=20, whole=60, acceptance=240, goodbye=2)
    assert LONGEST_DELIVERY == Limits().whole + Limits().acceptance == 300


async def test_a_mail_as_a_whole_has_a_limit_too(smtp: SmtpServer) -> None:
    smtp.withhold("RCPT")
    transport = transport_to(smtp, limits=Limits(connect=30, command=30, whole=0.1))
    with pytest.raises(DeliveryFailed, match="took too long"):
        await transport.send(message(), FROM, TO)
    await smtp.no_connection_is_open()


async def test_who_stops_waiting_leaves_no_connection(smtp: SmtpServer) -> None:
    smtp.withhold("DATA")
    sending = asyncio.create_task(transport_to(smtp).send(message(), FROM, TO))
    await smtp.heard("DATA")
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await smtp.no_connection_is_open()


async def test_a_reason_tells_no_password_address_or_token(servers: SmtpServers, trusted: Authority) -> None:
    server = servers("implicit", login=LOGIN)
    server.answer("RCPT", f"550 5.1.1 <{TO}>\u2028: no, {TO.upper()} \x1b[31mis not bob@example.com {'x' * 300}")
    reason = await refusal(server)
    assert reason.startswith("550 5.1.1 <[hidden]> : no, [hidden] [31mis not [address] xxx")
    assert len(reason) == 200
    server.behave()
    server.answer("AUTH", f"535 5.7.8 {LOGIN[0]} does not have {LOGIN[1]}, AHMzY3JldA== nor {FROM}")
    reason = await failure_of_login(server)
    assert "s3cret" not in reason
    assert "@" not in reason.replace("p@", "")
    server.behave()
    server.answer(".", "554 5.6.0 Bad link: https://id.example.com/link/login?token=ks_ml_0123456789abcdefghij")
    assert (await refusal(server)).endswith("/link/login?token=[hidden]")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("550 5.1.1 Unknown user: ann", "550 5.1.1 Unknown user: [hidden]"),
        ("550 Ann at example.com is unknown", "550 [hidden] at example.com is unknown"),
        ("550 5.1.1 ann%40example.com unknown", "550 5.1.1 [hidden] unknown"),
        ("550 5.1.1 bob%40example.com unknown", "550 5.1.1 [address] unknown"),
        ("550 5.1.1 <ann+a=example.com> unknown", "550 5.1.1 <[hidden]+a=example.com> unknown"),
        ("550 5.1.1 Annoyed by ann_2, hannah and @", "550 5.1.1 Annoyed by ann_2, hannah and @"),
    ],
)
async def test_no_reason_names_the_recipient(smtp: SmtpServer, said: str, told: str) -> None:
    smtp.answer("RCPT", said)
    assert await refusal(smtp) == told


async def test_codes_stay_whatever_recipients_are_called(smtp: SmtpServer) -> None:
    smtp.answer("RCPT", "550 5.1.1 No 550 here")
    assert await refusal(smtp, recipient="550@example.com") == "550 5.1.1 No [hidden] here"
    smtp.behave()
    smtp.answer("RCPT", "550 5.1.1 No such login")
    assert await refusal(smtp, recipient="5.1.1@example.com") == "550 5.1.1 No such login"


def test_what_is_hidden_is_found_however_it_is_spaced_and_encoded() -> None:
    hidden = Redactor(FROM, ["a+b@example.com"], "me", "two  spaces\u00a0more")
    said = f"{FROM}: two \t spaces more, two%20%20spaces%C2%A0more; A%2Bb: A%2bB%40example.com"
    assert hidden.redact(said) == "[hidden]: [hidden], [hidden]; [hidden]: [hidden]"
    assert Redactor("", (), None, None).redact("nothing to hide") == "nothing to hide"


@pytest.mark.parametrize("piece", ["a", "@", "a@", "ks_aa_", "ks_", " ", "ann", "%40"])
def test_a_long_reply_costs_no_time(piece: str) -> None:
    hidden = Redactor(FROM, [TO], *LOGIN)
    began = time.process_time()
    hidden.redact(piece * (32_000 // len(piece)))
    assert time.process_time() - began < 2


async def test_what_settings_can_mend_is_to_be_tried_again(smtp: SmtpServer) -> None:
    url = f"smtp://127.0.0.1:{smtp.port}"
    for server, ourselves, sender in (
        (MailServer("mail..example.com", 25, Encryption.off), "shop.example", FROM),
        (MailServer(f"{'m' * 64}.example.com", 25, Encryption.off), "shop.example", FROM),
        (parse_mail_server(url), "shop example", FROM),
        (parse_mail_server(url), "shop.example", "no-reply@sh\x0bop.example"),
    ):
        transport = SmtpTransport(server, ourselves, ENDLESS)
        with pytest.raises(DeliveryFailed, match="mail setting"):
            await transport.send(message(), sender, TO)
        await transport.close()
    await smtp.no_connection_is_open()


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
