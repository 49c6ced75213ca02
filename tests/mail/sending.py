"""Send one mail to one server."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from keystead.mail.model import Mail, MailKind, MailState
from keystead.mail.smtp import Limits, SmtpTransport
from keystead.mail.transport import DeliveryFailed, DeliveryRefused
from keystead.settings.outgoing_mail import parse_mail_server
from tests.smtp_server import ReceivedMail, SmtpServer

FROM, TO = "no-reply@shop.example", "ann@example.com"
LOGIN = ("keystead@shop.example", "s3cret: p@ss/wörd")
ENDLESS = Limits(connect=30, command=30, whole=30)
"""Nothing that is waited for takes so long."""
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
MAIL_ID = "019b7a2e-6c00-7000-8000-000000000001"


def make_letter(recipient: str = TO, mail_id: str = MAIL_ID) -> Mail:
    """A leased mail."""
    return Mail(
        id=mail_id,
        brand_id="brand",
        kind=MailKind.verify_email,
        user_id="ann",
        recipient=recipient,
        languages=(),
        link_base="https://id.rainbow.example",
        shown={},
        expires_at=None,
        created_at=AT,
        state=MailState.sending,
        attempts=1,
        next_attempt_at=AT,
        delivered_at=None,
        last_error=None,
    )


def transport_to(server: SmtpServer, *, option: str = "", limits: Limits = ENDLESS) -> SmtpTransport:
    return SmtpTransport(parse_mail_server(server.url + option), "shop.example", limits)


def message(text: str = "Hello") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["Subject"] = FROM, "Hello"
    made.set_content(text, cte="7bit")
    return made


async def sent(server: SmtpServer, *, option: str = "", recipient: str = TO) -> ReceivedMail:
    """What arrives of one mail."""
    transport = transport_to(server, option=option)
    await transport.send(message(), FROM, recipient)
    await transport.close()
    await server.no_connection_is_open()
    return server.received[-1]


async def failure(server: SmtpServer, *, option: str = "", limits: Limits = ENDLESS, recipient: str = TO) -> str:
    """Why a mail is to be tried again. A refusal for good would be another error."""
    transport = transport_to(server, option=option, limits=limits)
    with pytest.raises(DeliveryFailed) as caught:
        await transport.send(message(), FROM, recipient)
    await transport.close()
    assert server.received == []
    return caught.value.reason


async def refusal(server: SmtpServer, *, recipient: str = TO) -> str:
    """Why a mail is never to be tried again."""
    transport = transport_to(server)
    with pytest.raises(DeliveryRefused) as caught:
        await transport.send(message(), FROM, recipient)
    await transport.close()
    return caught.value.reason
