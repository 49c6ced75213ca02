"""Retry policy of mails: backoff after a failed attempt, and when to give up. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from keystead.crypto.secrets import PATTERNS
from keystead.mail.model import LinkState, Mail, MailState
from keystead.mail.transport import printable_line

BACKOFF = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
)
"""Delay after the first failure, the second, and so on; the last one repeats."""
MOST_ATTEMPTS = 29
"""Then a mail is dead: 24 h 21 min after the first attempt."""
AMBIGUOUS_DELAY = timedelta(hours=1)
"""Delay after an ambiguous failure, which is retried only once: the mail may have arrived."""
STALE_AFTER = timedelta(days=7)
"""A mail that was due for so long is not sent any more: no mail server was configured or running."""
LONGEST_ERROR = 200
MAY_HAVE_ARRIVED = "It may have arrived:"

_TOKENS = re.compile("|".join(pattern.pattern for pattern in PATTERNS.values()))
_WORD = re.compile(r"[^\s<>]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt."""

    state: MailState
    """``delivered``, ``dead``, or ``waiting`` for the next attempt."""
    reason: str | None = None
    delay: timedelta = timedelta(0)
    """Until the next attempt."""
    is_doubtful: bool = False
    """The mail may have arrived, at this attempt or an earlier one."""


DELIVERED = Outcome(MailState.delivered)


def backoff(attempts: int) -> timedelta:
    """The delay after so many failed attempts, at least one."""
    return BACKOFF[min(attempts, len(BACKOFF)) - 1]


def after_refusal(mail: Mail, reason: str) -> Outcome:
    """The outcome of a permanent failure."""
    return _dead(mail, reason)


def after_failure(mail: Mail, reason: str) -> Outcome:
    """The outcome of a temporary failure; ``mail.attempts`` includes this attempt."""
    if mail.is_doubtful or mail.attempts >= MOST_ATTEMPTS:
        return _dead(mail, reason)
    return Outcome(MailState.waiting, redact(reason), backoff(mail.attempts))


def after_ambiguity(mail: Mail, reason: str) -> Outcome:
    """The outcome of an ambiguous failure: the whole mail was transferred, its acceptance not confirmed."""
    said = redact(f"{MAY_HAVE_ARRIVED} {reason}")
    if mail.is_doubtful or mail.attempts >= MOST_ATTEMPTS:
        return Outcome(MailState.dead, said, is_doubtful=True)
    return Outcome(MailState.waiting, said, AMBIGUOUS_DELAY, is_doubtful=True)


def give_up(mail: Mail, link: LinkState | None, now: datetime) -> Outcome | None:
    """The outcome of a mail that is not worth another attempt; None when it should be sent."""
    reason = _why_not(mail, link, now)
    if reason is None:
        return None
    said = redact(f"{reason} Before that: {mail.last_error}") if mail.last_error else reason
    return Outcome(MailState.dead, said, is_doubtful=mail.is_doubtful)


def redact(reason: str) -> str:
    """A failure for operators: one printable line of at most 200 characters, without secrets and addresses."""
    line = _WORD.sub(_without_address, _TOKENS.sub("[hidden]", printable_line(reason)))
    return line[:LONGEST_ERROR] or "The mail server gave no reason."


def _dead(mail: Mail, reason: str) -> Outcome:
    said = f"{MAY_HAVE_ARRIVED} an earlier attempt was not confirmed. {reason}" if mail.is_doubtful else reason
    return Outcome(MailState.dead, redact(said), is_doubtful=mail.is_doubtful)


def _without_address(word: re.Match[str]) -> str:
    return "[address]" if "@" in word[0].strip("@") else word[0]


def _why_not(mail: Mail, link: LinkState | None, now: datetime) -> str | None:
    if link is LinkState.ran_out:
        return "The link expired before the mail could be sent."
    if link is LinkState.used_or_replaced:
        return "The link was used or replaced before the mail could be sent."
    if now - mail.next_attempt_at > STALE_AFTER:
        return "It was due for more than 7 days."
    if mail.attempts > MOST_ATTEMPTS:
        # Each attempt ended with the process, before its outcome was recorded.
        return "Too many attempts were interrupted."
    return None
