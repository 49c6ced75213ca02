"""One mail to one server, and what becomes of it."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from keystead.mail.sender import DeliveryFailed, DeliveryRefused, Limits, SmtpTransport
from keystead.outgoing_mail import parse_mail_server
from tests.smtp_server import ReceivedMail, SmtpServer

FROM, TO = "no-reply@shop.example", "ann@example.com"
LOGIN = ("keystead@shop.example", "s3cret: p@ss/wörd")
ENDLESS = Limits(connect=30, command=30, whole=30)
"""Nothing that is waited for takes so long."""


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
    await server.nobody_is_connected()
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
