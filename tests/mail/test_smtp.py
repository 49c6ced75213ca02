"""Sending by SMTP, to a real server over a socket: encryption, logins, one mail after the other."""

from __future__ import annotations

import asyncio

import pytest

from keystead.mail.smtp import Limits, SmtpTransport
from keystead.mail.transport import DeliveryFailed, DeliveryRefused
from keystead.settings.outgoing_mail import parse_mail_server
from tests.certificates import Authority
from tests.mail.sending import ENDLESS, FROM, LOGIN, TO, failure, message, sent, transport_to
from tests.smtp_server import SmtpServer, SmtpServers, Tls


async def test_without_tls_and_login(smtp: SmtpServer) -> None:
    mail = await sent(smtp)
    assert (mail.sender, mail.recipients, mail.login, mail.is_encrypted) == (FROM, (TO,), None, False)
    assert smtp.commands == ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


@pytest.mark.parametrize("login", [None, LOGIN])
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_with_tls(servers: SmtpServers, trusted: Authority, tls: Tls, login: tuple[str, str] | None) -> None:
    server = servers(tls, login=login)
    mail = await sent(server)
    assert mail.is_encrypted
    assert mail.login == (login[0] if login else None)


async def test_starttls_is_used_where_it_is_offered_and_required_where_it_is_asked_for(
    servers: SmtpServers, trusted: Authority
) -> None:
    offering = servers("starttls")
    assert (await sent(offering)).is_encrypted
    assert (await sent(offering, option="?starttls=required")).is_encrypted
    assert not (await sent(offering, option="?starttls=off")).is_encrypted
    assert "STARTTLS" in await failure(servers("none"), option="?starttls=required")


async def test_who_strips_starttls_gets_no_password(servers: SmtpServers, trusted: Authority) -> None:
    server = servers("starttls", login=LOGIN, hidden=("STARTTLS",))
    assert "STARTTLS" in await failure(server, option="?starttls=required")
    assert server.commands == ["CONNECT", "EHLO"]


async def test_a_password_is_never_sent_unencrypted_to_another_machine(
    servers: SmtpServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers("none", login=LOGIN)
    monkeypatch.setattr("keystead.settings.outgoing_mail._is_local", lambda _: False)
    monkeypatch.setattr("keystead.settings.outgoing_mail._encryption", lambda *_, **__: "off")
    assert await failure(server) == "the password is not sent over an unencrypted connection"
    assert server.commands == ["CONNECT", "EHLO"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_an_authority_that_is_not_trusted_is_a_failure(servers: SmtpServers, tls: Tls) -> None:
    server = servers(tls, login=LOGIN)
    assert "certificate was refused" in await failure(server)
    assert "AUTH" not in server.commands
    assert "MAIL" not in server.commands


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_certificate_for_another_host_is_a_failure(servers: SmtpServers, trusted: Authority, tls: Tls) -> None:
    server = servers(tls, name="mail.example.com")
    assert "not valid for '127.0.0.1'" in await failure(server)
    assert "MAIL" not in server.commands


async def test_the_name_in_the_certificate_is_checked_too(servers: SmtpServers, trusted: Authority) -> None:
    server = servers("implicit", name="localhost")
    url = server.url.replace("127.0.0.1", "localhost")
    transport = SmtpTransport(parse_mail_server(url), "shop.example", ENDLESS)
    await transport.send(message(), FROM, TO)
    await transport.close()
    assert len(server.received) == 1


async def test_tls_to_a_server_that_has_none_is_a_failure(servers: SmtpServers, smtp: SmtpServer) -> None:
    server = parse_mail_server(smtp.url.replace("smtp:", "smtps:"))
    with pytest.raises(DeliveryFailed) as caught:
        await SmtpTransport(server, "shop.example", ENDLESS).send(message(), FROM, TO)
    assert caught.value.reason.startswith("TLS failed")


@pytest.mark.parametrize("mechanisms", [("PLAIN",), ("LOGIN",), ("PLAIN", "LOGIN")])
async def test_logging_in(servers: SmtpServers, trusted: Authority, mechanisms: tuple[str, ...]) -> None:
    server = servers("implicit", login=LOGIN, mechanisms=mechanisms)
    assert (await sent(server)).login == LOGIN[0]
    assert server.commands.count("AUTH") == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_wrong_password_is_tried_once_and_is_a_failure(
    servers: SmtpServers, trusted: Authority, mechanism: str
) -> None:
    server = servers("implicit", login=LOGIN, mechanisms=(mechanism,))
    url = server.url.replace("s3cret", "hunter2")
    transport = SmtpTransport(parse_mail_server(url), "shop.example", ENDLESS)
    with pytest.raises(DeliveryFailed, match=r"^the login was refused: 535 ") as caught:
        await transport.send(message(), FROM, TO)
    assert "hunter2" not in str(caught.value)
    assert server.commands.count("AUTH") == 1
    await server.no_connection_is_open()


async def test_a_server_without_a_login_that_we_know(servers: SmtpServers, trusted: Authority) -> None:
    server = servers("implicit", login=LOGIN, mechanisms=())
    assert await failure(server) == "the mail server offers neither AUTH PLAIN nor AUTH LOGIN"


async def test_a_connection_serves_one_mail_after_the_other(servers: SmtpServers, trusted: Authority) -> None:
    server = servers("starttls", login=LOGIN)
    transport = transport_to(server)
    await asyncio.gather(*(transport.send(message(str(n)), FROM, TO) for n in range(3)))
    await transport.close()
    await server.no_connection_is_open()
    assert len(server.received) == 3
    assert (server.connections, server.commands.count("AUTH"), server.commands[-1]) == (1, 1, "QUIT")
    await transport.close()
    assert server.connections == 1, "there was nothing to close"


async def test_a_silent_quit_is_not_waited_for(smtp: SmtpServer) -> None:
    transport = transport_to(smtp, limits=Limits(goodbye=0.05))
    await transport.send(message(), FROM, TO)
    smtp.withhold("QUIT")
    await transport.close()
    await smtp.no_connection_is_open()


async def test_a_refusal_does_not_end_the_conversation(smtp: SmtpServer) -> None:
    smtp.answer("RCPT", "550 5.1.1 No such mailbox", times=1)
    transport = transport_to(smtp)
    with pytest.raises(DeliveryRefused):
        await transport.send(message(), FROM, "unknown@example.com")
    await transport.send(message(), FROM, TO)
    assert ([mail.recipients for mail in smtp.received], smtp.connections) == ([(TO,)], 1)
    await transport.close()


async def test_a_connection_that_ended_between_two_mails_is_begun_again(smtp: SmtpServer) -> None:
    transport = transport_to(smtp)
    await transport.send(message(), FROM, TO)
    smtp.hang_up()
    await smtp.no_connection_is_open()
    await transport.send(message(), FROM, TO)
    smtp.drop("RSET", times=1)
    await transport.send(message(), FROM, TO)
    smtp.answer("RSET", "421 4.4.2 Idle for too long", times=1)
    await transport.send(message(), FROM, TO)
    assert (len(smtp.received), smtp.connections) == (4, 4)
    await transport.close()


async def test_looking_without_sending(servers: SmtpServers, trusted: Authority) -> None:
    server = servers("starttls", login=LOGIN)
    transport = transport_to(server)
    assert await transport.check() == "TLSv1.3"
    await transport.close()
    await server.no_connection_is_open()
    assert server.commands == ["CONNECT", "EHLO", "STARTTLS", "EHLO", "AUTH", "NOOP", "QUIT"]
    plain = servers("none")
    assert await transport_to(plain).check() is None
    plain.answer("NOOP", "451 4.3.0 Later")
    with pytest.raises(DeliveryFailed, match="451"):
        await transport_to(plain).check()


def test_under_uvloop_too(servers: SmtpServers, trusted: Authority) -> None:
    import uvloop

    server = servers("starttls", login=LOGIN)

    async def send_twice() -> None:
        transport = transport_to(server)
        await transport.send(message(), FROM, TO)
        server.drop("RSET", times=1)
        await transport.send(message(), FROM, TO)
        await transport.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_twice())
    assert [mail.is_encrypted for mail in server.received] == [True, True]
