"""Sending by SMTP: what arrives is what was sent."""

from __future__ import annotations

import pytest

from tests.mail.sending import FROM, TO, message, refusal, sent, transport_to
from tests.smtp_server import SmtpServer, SmtpServers


async def test_dots_and_long_lines_arrive_as_they_are(smtp: SmtpServer) -> None:
    text = ".\n..\n.hidden\n" + "long " * 180 + "\n.\n"
    transport = transport_to(smtp)
    await transport.send(message(text), FROM, TO)
    await transport.close()
    assert smtp.received[0].content.partition(b"\r\n\r\n")[2] == text.replace("\n", "\r\n").encode()


async def test_a_domain_beyond_ascii_is_sent_in_its_ascii_form(smtp: SmtpServer) -> None:
    mail = await sent(smtp, recipient="ann@münchen.example")
    assert mail.recipients == ("ann@xn--mnchen-3ya.example",)
    assert "SMTPUTF8" not in mail.options


async def test_every_sign_that_a_login_may_have(smtp: SmtpServer) -> None:
    for recipient in ("!#$%&'*+-/=?^_`{|}~@example.com", f"{'a' * 64}@{'b.' * 90}example"):
        assert (await sent(smtp, recipient=recipient)).recipients == (recipient,)


async def test_a_name_beyond_ascii_needs_a_server_that_takes_it(servers: SmtpServers, smtp: SmtpServer) -> None:
    mail = await sent(smtp, recipient="jörg@münchen.example")
    assert mail.recipients == ("jörg@xn--mnchen-3ya.example",)
    assert "SMTPUTF8" in mail.options
    old = servers("none", takes_smtputf8=False)
    assert "SMTPUTF8" in await refusal(old, recipient="jörg@münchen.example")
    assert old.commands == ["CONNECT", "EHLO", "QUIT"]


@pytest.mark.parametrize(
    "recipient", ["a@b.example>\r\nDATA", "a b@c.example", "a@b@c.example", "<a@b.example>", "a", ""]
)
async def test_what_is_no_address_never_reaches_the_server(smtp: SmtpServer, recipient: str) -> None:
    assert "no address" in await refusal(smtp, recipient=recipient)
    assert smtp.commands == []
