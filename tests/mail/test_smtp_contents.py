"""Sending by SMTP: what arrives is what was sent."""

from __future__ import annotations

import pytest

from keystead.mail.message import build_message, one_line
from keystead.mail.model import RenderedMail
from keystead.settings.outgoing_mail import MailFrom
from tests.mail.sending import FROM, make_letter, refusal, sent, transport_to
from tests.smtp_server import SmtpServer, SmtpServers


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
    assert "not a valid mail address" in await refusal(smtp, recipient=recipient)
    assert smtp.commands == []


@pytest.mark.parametrize("recipient", ["ann@example.com", "jörg@münchen.example"])
async def test_a_mail_arrives_as_it_was_built(smtp: SmtpServer, recipient: str) -> None:
    subject = "Grüße von 東京 & Söhne =?utf-8?q?=0D=0ABcc=3A_eve?= " + "ü" * 60
    text = ".\n..\n.dots\nFrom the first\nlong" * 3 + "word" * 3_000 + "\n\u2028 \tend \n.\n"
    html = "<p>.\n.</p>" + "<b>ü</b>" * 2_000 + "\n"
    mail = make_letter(recipient)
    built = build_message(mail, RenderedMail(subject, text, html), MailFrom("Büro 東京", FROM))
    transport = transport_to(smtp)
    await transport.send(built, FROM, recipient)
    await transport.close()
    (taken,) = smtp.received
    assert taken.content == built.as_bytes()
    assert taken.message["Subject"] == one_line(subject)
    assert (taken.text.replace("\r\n", "\n"), taken.html.replace("\r\n", "\n")) == (text, html)
    assert taken.message["Message-ID"] == f"<{mail.id}@shop.example>"
    assert taken.message["From"].addresses[0].display_name == "Büro 東京"
