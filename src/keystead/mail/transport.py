"""Interface between the mail worker and what transports mails (SMTP, or a fake in tests), and its exceptions."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Protocol


class DeliveryError(Exception):
    """The mail was not accepted. ``reason`` is one line for operators, without addresses, passwords or mail content."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class DeliveryRefused(DeliveryError):
    """Permanent failure: not retried."""


class DeliveryFailed(DeliveryError):
    """Temporary failure: retried."""


class DeliveryUncertain(DeliveryFailed):
    """Ambiguous failure: the whole mail was transferred, but its acceptance was not confirmed."""


class Transport(Protocol):
    """Sends mails, one at a time."""

    @property
    def may_have_taken(self) -> bool:
        """Whether the last mail may arrive: its content is being transferred, or was accepted."""
        ...

    async def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Send one message to the mail server.

        :param sender: envelope sender, a bare address; bounces go there.
        :param recipient: the address as it is stored.
        :raises DeliveryRefused: when it was rejected permanently.
        :raises DeliveryUncertain: when it may have been accepted.
        :raises DeliveryFailed: when it can be retried.
        """

    async def close(self) -> None:
        """Close the connection; the next mail opens another one."""


def printable_line(text: str) -> str:
    """``text`` on one line: only printable characters, single spaces."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
