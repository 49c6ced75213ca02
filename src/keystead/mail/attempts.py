"""What becomes of a mail after an attempt to deliver it: when it is tried again, and when it is given up. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from keystead.crypto.secrets import PATTERNS
from keystead.mail.model import LinkState, Mail, MailState

PAUSES = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
)
"""How long a mail waits after its first failure, its second, and so on; then as long as after the last of these."""
MOST_ATTEMPTS = 29
"""Then a mail is dead: 24 h and 21 min after the first attempt."""
STALE_AFTER = timedelta(days=7)
"""A mail that nobody looked at for so long is not sent any more: there was no mail server all the while."""
LONGEST_ERROR = 200

_TOKENS = re.compile("|".join(pattern.pattern for pattern in PATTERNS.values()))
_ADDRESS = re.compile(r"[^\s<>]+@[^\s<>]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    state: MailState
    """``delivered``, ``dead``, or ``waiting`` for the next attempt."""
    reason: str | None = None


DELIVERED = Outcome(MailState.delivered)


def pause(attempts: int) -> timedelta:
    """How long a mail waits after so many failed attempts, one at least."""
    return PAUSES[min(attempts, len(PAUSES)) - 1]


def refused(reason: str) -> Outcome:
    """The mail server said no, for good."""
    return Outcome(MailState.dead, told(reason))


def failed(mail: Mail, reason: str) -> Outcome:
    """It did not work this time; the attempt is counted in ``mail`` already."""
    return Outcome(MailState.waiting if mail.attempts < MOST_ATTEMPTS else MailState.dead, told(reason))


def hopeless(mail: Mail, link: LinkState | None, now: datetime) -> Outcome | None:
    """The mail's end without another attempt; None for a mail that is to be sent."""
    reason = _why_not(mail, link, now)
    if reason is None:
        return None
    return Outcome(MailState.dead, told(f"{reason} Before that: {mail.last_error}") if mail.last_error else reason)


def told(reason: str) -> str:
    """What an operator may read of a failure: one printable line of at most 200 characters, no secret, no address."""
    line = " ".join("".join(c if c.isprintable() else " " for c in reason).split())
    return _ADDRESS.sub("[address]", _TOKENS.sub("[hidden]", line))[:LONGEST_ERROR] or "The mail server gave no reason."


def _why_not(mail: Mail, link: LinkState | None, now: datetime) -> str | None:
    if link is LinkState.ran_out:
        return "The link ran out before the mail could be sent."
    if link is LinkState.used_or_replaced:
        return "The link was used or replaced before the mail could be sent."
    if now - mail.next_attempt_at > STALE_AFTER:
        return "Nobody delivered it in time."
    if mail.attempts > MOST_ATTEMPTS:
        # Each attempt ended with the process, before it could say what became of it.
        return "Tried too often."
    return None
