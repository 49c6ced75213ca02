"""What becomes of a mail after an attempt to deliver it: when it is tried again, and when it is given up. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from keystead.crypto.secrets import PATTERNS
from keystead.mail.model import LinkState, Mail, MailState
from keystead.mail.transport import printable_line

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
PAUSE_IN_DOUBT = timedelta(hours=1)
"""How long a mail waits that may have arrived. It is tried once more, and no more."""
STALE_AFTER = timedelta(days=7)
"""A mail that nobody looked at for so long is not sent any more: there was no mail server all the while."""
LONGEST_ERROR = 200
IN_DOUBT = "It may have arrived:"

_TOKENS = re.compile("|".join(pattern.pattern for pattern in PATTERNS.values()))
_WORD = re.compile(r"[^\s<>]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    state: MailState
    """``delivered``, ``dead``, or ``waiting`` for the next attempt."""
    reason: str | None = None
    pause: timedelta = timedelta(0)
    """How long it is to wait."""
    is_doubtful: bool = False
    """The mail may have arrived, at this attempt or an earlier one."""


DELIVERED = Outcome(MailState.delivered)


def pause(attempts: int) -> timedelta:
    """How long a mail waits after so many failed attempts, one at least."""
    return PAUSES[min(attempts, len(PAUSES)) - 1]


def refused(mail: Mail, reason: str) -> Outcome:
    """The mail server said no, for good."""
    return _dead(mail, reason)


def failed(mail: Mail, reason: str) -> Outcome:
    """It did not work this time; the attempt is counted in ``mail`` already."""
    if mail.is_doubtful or mail.attempts >= MOST_ATTEMPTS:
        return _dead(mail, reason)
    return Outcome(MailState.waiting, told(reason), pause(mail.attempts))


def uncertain(mail: Mail, reason: str) -> Outcome:
    """The whole mail was handed over and nobody said whether it was taken."""
    said = told(f"{IN_DOUBT} {reason}")
    is_over = mail.is_doubtful or mail.attempts >= MOST_ATTEMPTS
    if is_over:
        return Outcome(MailState.dead, said, is_doubtful=True)
    return Outcome(MailState.waiting, said, PAUSE_IN_DOUBT, is_doubtful=True)


def _dead(mail: Mail, reason: str) -> Outcome:
    said = f"{IN_DOUBT} an earlier attempt ended without an answer. {reason}" if mail.is_doubtful else reason
    return Outcome(MailState.dead, told(said), is_doubtful=mail.is_doubtful)


def hopeless(mail: Mail, link: LinkState | None, now: datetime) -> Outcome | None:
    """The mail's end without another attempt; None for a mail that is to be sent."""
    reason = _why_not(mail, link, now)
    if reason is None:
        return None
    said = told(f"{reason} Before that: {mail.last_error}") if mail.last_error else reason
    return Outcome(MailState.dead, said, is_doubtful=mail.is_doubtful)


def told(reason: str) -> str:
    """What an operator may read of a failure: one printable line of at most 200 characters, no secret, no address."""
    line = _WORD.sub(_without_address, _TOKENS.sub("[hidden]", printable_line(reason)))
    return line[:LONGEST_ERROR] or "The mail server gave no reason."


def _without_address(word: re.Match[str]) -> str:
    return "[address]" if "@" in word[0].strip("@") else word[0]


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
