"""What went wrong in a conversation by SMTP: for good or for now, and in words that an operator may read."""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import aiosmtplib

from keystead.mail.transport import DeliveryError, DeliveryFailed, DeliveryRefused

LONGEST_REASON: Final = 200

_ABOUT_US: Final = (530, 534, 535, 538)
"""RFC 4954 §6: these are about our login, whatever command they answer."""
_ADDRESS = re.compile(r"[^\s<>\"'(),:;\[\]]+@[^\s<>\"'(),:;\[\]]+")
_TOKEN = re.compile(r"ks_[a-z]{2}_[0-9A-Za-z]+")
"""Of any length: a server may quote a piece of a mail."""
_STAGES: Final = {
    aiosmtplib.SMTPAuthenticationError: "the login was refused: ",
    aiosmtplib.SMTPSenderRefused: "the sender was refused: ",
    aiosmtplib.SMTPConnectResponseError: "the mail server takes no mail: ",
}


class Hidden:
    """What no reason shows, should a server repeat it."""

    def __init__(self, addresses: Iterable[str], user: str | None, password: str | None) -> None:
        pairs = [] if user is None or password is None else [user, password, f"\0{user}\0{password}"]
        encoded = [base64.b64encode(text.encode()).decode() for text in pairs]
        self._words = sorted({*addresses, *pairs[:2], *encoded}, key=len, reverse=True)

    def remove_from(self, text: str) -> str:
        """``text`` as one printable line of at most 200 characters without any of it."""
        line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
        for word in self._words:
            line = re.sub(re.escape(word), "[hidden]", line, flags=re.IGNORECASE)
        return _TOKEN.sub("[hidden]", _ADDRESS.sub("[address]", line))[:LONGEST_REASON]


@contextmanager
def judged(hidden: Hidden) -> Iterator[None]:
    """Turns whatever goes wrong in a conversation into the verdict on the mail.

    :raises DeliveryRefused: for a 5xx to the recipient or to the mail itself.
    :raises DeliveryFailed: for everything else: another time, it may work.
    """
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        verdict = _refusal(error, hidden)
    except (aiosmtplib.SMTPException, OSError) as error:  # TimeoutError and ssl.SSLError are OSErrors
        verdict = DeliveryFailed(hidden.remove_from(_trouble(error)))
    except ValueError:
        # From aiosmtplib: it would not fit into a command, and never will.
        verdict = DeliveryRefused("one of its addresses cannot be said in SMTP")
    else:
        return
    # Without its cause, which quotes addresses.
    raise verdict from None


def _refusal(error: aiosmtplib.SMTPResponseException, hidden: Hidden) -> DeliveryError:
    if not 100 <= error.code < 600:
        return DeliveryFailed("the mail server does not speak SMTP")
    stage = next((words for kind, words in _STAGES.items() if isinstance(error, kind)), "")
    reason = hidden.remove_from(f"{stage}{error.code} {error.message}")
    is_about_the_mail = isinstance(error, (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError))
    if is_about_the_mail and error.code >= 500 and error.code not in _ABOUT_US:
        return DeliveryRefused(reason)
    return DeliveryFailed(reason)


def _trouble(error: BaseException) -> str:
    """In our words, from the deepest cause that says something."""
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate was refused: {cause.verify_message}"
            case ssl.SSLError():
                return f"TLS failed: {cause.reason or 'no reason given'}"
            case socket.gaierror():
                return f"the mail server's name was not found: {cause.strerror}"
            case OSError() if cause.strerror:
                return f"the mail server cannot be reached: {cause.strerror}"
        cause = cause.__cause__
    if isinstance(error, TimeoutError):
        return "the mail server took too long"
    if isinstance(error, ConnectionError):
        return "the mail server ended the conversation"
    return "the mail server did not do as it should"
