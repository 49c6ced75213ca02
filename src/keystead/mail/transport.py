"""What delivery asks of whatever carries mails, and the ways in which it says no."""

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


class DeliveryUncertain(DeliveryFailed):
    """It may have been taken: the whole mail was handed over, and no answer came."""


class Transport(Protocol):
    """Carries mails, one after the other."""

    @property
    def may_have_taken(self) -> bool:
        """Whether the mail that was sent last may arrive: it is being handed over as a whole, or has been."""
        ...

    async def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Hands the message over to the server that is to deliver it.

        :param sender: the bare address of the envelope; bounces go there.
        :param recipient: the address as it is stored.
        :raises DeliveryRefused: when it was refused for good.
        :raises DeliveryUncertain: when it is not known whether it was taken.
        :raises DeliveryFailed: when it is to be tried again.
        """

    async def close(self) -> None:
        """Ends the conversation; the next mail begins another."""
