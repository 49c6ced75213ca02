"""What delivery asks of whatever carries mails, and the two ways in which it says no."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Protocol


class DeliveryError(Exception):
    """The mail was not taken. ``reason`` is one line for operators: no address, no password, nothing of the mail."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class DeliveryRefused(DeliveryError):
    """This mail will never be taken: do not try again."""


class DeliveryFailed(DeliveryError):
    """It may be taken later: the trouble is the server's, ours, or on the way."""


class Transport(Protocol):
    """Carries mails, one after the other."""

    async def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Hands the message over to the server that is to deliver it.

        :param sender: the bare address of the envelope; bounces go there.
        :param recipient: the address as it is stored.
        :raises DeliveryRefused: when it was refused for good.
        :raises DeliveryFailed: when it is to be tried again.
        """

    async def close(self) -> None:
        """Ends the conversation; the next mail begins another."""
