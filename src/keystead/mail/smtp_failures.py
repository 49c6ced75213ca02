"""Translate SMTP errors: permanent or temporary, with a reason for operators that contains no addresses or secrets."""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import aiosmtplib

from keystead.mail.transport import DeliveryError, DeliveryFailed, DeliveryRefused, printable_line

LONGEST_REASON: Final = 200
LONGEST_REPLY: Final = 2_000
"""Characters of a reply that are read; servers may send 32 KB."""

_FOR_GOOD: Final = {
    "1",  # 5.1.x: the address: no such mailbox, no such domain
    "2",  # 5.2.x: the mailbox: disabled, full
    "6",  # 5.6.x: the content: cannot be converted, cannot be read
}
"""Subjects of RFC 3463 §3 that are permanent failures of a mail. The others can be repaired, here or at the server:
5.3.x the mail system, 5.4.x routes and quotas, 5.5.x the protocol, 5.7.x policy, logins, our reputation."""
_ABOUT_THE_SENDER: Final = ("1.7", "1.8")
"""RFC 3463 §3.2: the details of 5.1.x that concern the sender."""
_UNDEFINED: Final = "0"
"""5.0.x adds nothing to the reply code."""
_FOR_GOOD_UNEXPLAINED: Final = {
    aiosmtplib.SMTPRecipientRefused: (550, 551, 553),  # no such mailbox; not here; no such name
    aiosmtplib.SMTPDataError: (552,),  # too much for the mailbox
}
"""RFC 5321 §4.2.2, without an enhanced code. Not 554, which is used for anything, such as denied relaying."""
_ABOUT_US: Final = (530, 534, 535, 538)
"""RFC 4954 §6: about our login, in reply to any command."""
_EXPLANATION = re.compile(r"(?P<class>[245])\.(?P<subject>\d{1,3})\.(?P<detail>\d{1,3})(?!\S)", re.ASCII)
"""RFC 2034 §4: a reply starts with its enhanced code."""
_WORD = re.compile(r"[^\s<>\"'(),:;\[\]]+")
_TOKEN = re.compile(r"ks_[a-z]{2}_[0-9A-Za-z]+")
"""Of any length: a server may quote part of a mail."""
_STAGES: Final = {
    aiosmtplib.SMTPAuthenticationError: "the login was refused: ",
    aiosmtplib.SMTPSenderRefused: "the sender was refused: ",
    aiosmtplib.SMTPConnectResponseError: "the mail server accepts no mail: ",
}


class Redactor:
    """Removes what a server may quote from a reason: addresses, local parts of recipients, the login."""

    def __init__(self, sender: str, recipients: Iterable[str], user: str | None, password: str | None) -> None:
        pairs = [] if user is None or password is None else [user, password, f"\0{user}\0{password}"]
        encoded = [base64.b64encode(text.encode()).decode() for text in pairs]
        names = {recipient.rpartition("@")[0] for recipient in recipients}
        texts = _variants({sender, *recipients, *pairs[:2], *encoded})
        # A local part may be as short as "a": hidden only as a whole word.
        parts = [re.escape(text) for text in texts]
        parts += [rf"(?<!\w){re.escape(name)}(?!\w)" for name in _variants(names)]
        self._secrets = re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)

    def redact(self, text: str) -> str:
        """``text`` as one printable line, redacted. Only its first 2,000 characters are read."""
        line = self._secrets.sub("[hidden]", printable_line(text[:LONGEST_REPLY]))
        return _WORD.sub(_without_address, _TOKEN.sub("[hidden]", line))


@contextmanager
def translate_errors(redactor: Redactor) -> Iterator[None]:
    """Translate every error of the SMTP client into a delivery error.

    :raises DeliveryRefused: for a 5xx reply about the recipient or the mail itself.
    :raises DeliveryFailed: for everything else, which can be retried.
    """
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        failure = _reply_error(error, redactor)
    except (aiosmtplib.SMTPException, OSError) as error:  # TimeoutError and ssl.SSLError are OSErrors
        failure = DeliveryFailed(printable_line(_describe(error))[:LONGEST_REASON])
    except ValueError:
        # A host name, the login or the sender contains characters that SMTP cannot transmit.
        failure = DeliveryFailed("a mail setting contains characters that are invalid in SMTP")
    else:
        return
    # Without the cause, which quotes addresses.
    raise failure from None


def _reply_error(error: aiosmtplib.SMTPResponseException, redactor: Redactor) -> DeliveryError:
    if not 100 <= error.code < 600:
        return DeliveryFailed("the mail server does not speak SMTP")
    stage = next((words for kind, words in _STAGES.items() if isinstance(error, kind)), "")
    explanation = _EXPLANATION.match(error.message)
    # The codes themselves are not redacted.
    codes = f"{error.code} {explanation[0]}" if explanation else str(error.code)
    said = redactor.redact(error.message[explanation.end() if explanation else 0 :])
    reason = f"{stage}{codes} {said}"[:LONGEST_REASON].rstrip()
    return DeliveryRefused(reason) if _is_for_good(error, explanation) else DeliveryFailed(reason)


def _is_for_good(error: aiosmtplib.SMTPResponseException, explanation: re.Match[str] | None) -> bool:
    unexplained = next((codes for kind, codes in _FOR_GOOD_UNEXPLAINED.items() if isinstance(error, kind)), None)
    if unexplained is None or error.code < 500 or error.code in _ABOUT_US:
        return False
    if explanation is None or explanation.group("class", "subject") == ("5", _UNDEFINED):
        return error.code in unexplained
    is_about_the_sender = f"{explanation['subject']}.{explanation['detail']}" in _ABOUT_THE_SENDER
    return explanation["class"] == "5" and explanation["subject"] in _FOR_GOOD and not is_about_the_sender


def _describe(error: BaseException) -> str:
    """A description of the deepest known cause."""
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate was refused: {cause.verify_message}"
            case ssl.SSLError():
                return f"TLS failed: {cause.reason or 'no reason given'}"
            case socket.gaierror():
                return f"the mail server's name was not found: {cause.strerror}"
            case OSError() if cause.errno:
                return f"the mail server cannot be reached: {os.strerror(cause.errno)}"
        cause = cause.__cause__
    if isinstance(error, TimeoutError):
        return "the mail server took too long"
    if isinstance(error, ConnectionError):
        return "the mail server closed the connection"
    return "the mail server did not follow the protocol"


def _variants(texts: Iterable[str]) -> list[str]:
    """The texts as they are and percent-encoded, longest first because one may contain another."""
    lines = {printable_line(form) for text in texts for form in (text, quote(text, safe=""))}
    return sorted(lines - {""}, key=len, reverse=True)


def _without_address(word: re.Match[str]) -> str:
    bare = word[0].strip("@")
    return "[address]" if "@" in bare or "%40" in bare else word[0]
