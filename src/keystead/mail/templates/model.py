"""Templates and the values that they can use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from keystead.errors import BadUserInput
from keystead.mail.model import MailKind

LARGEST_SOURCE: Final = 64 * 1024
"""Bytes of UTF-8."""
LARGEST_OUTPUT: Final = 256 * 1024
"""Characters of each part of a mail."""

FALLBACK_LANGUAGE: Final = "en"
"""Has a template of every kind of mail."""

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3}", re.ASCII)


class Template(msgspec.Struct, frozen=True):
    """A brand's own template for one kind of mail in one language."""

    kind: MailKind
    language: str
    """A lower-case language tag: ``de``, ``de-at``."""
    source: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Wording:
    """The template that a mail is rendered with."""

    language: str
    source: str = field(repr=False)
    is_own: bool
    """The brand's own; False for a shipped one."""


@dataclass(frozen=True, slots=True)
class Values:
    """The variables of templates. All are strings and data only: never evaluated as a template.

    Optional ones are empty strings when unknown, for ``{% if device %}``.
    """

    brand: str
    """The brand's name."""
    address: str
    """The recipient's address, as its owner wrote it."""
    when: str
    """Time of the event, for example ``2026-01-01 12:00 UTC``."""
    language: str
    """The language tag of the template."""
    link: str = field(default="", repr=False)
    """The link; empty in mails without one."""
    minutes: str = ""
    """Minutes until the link expires, rounded down; empty without a link, and from an hour up."""
    hours: str = ""
    """Hours until the link expires, rounded down; empty without a link, and below one."""
    ip_prefix: str = ""
    """Network of the request; empty when unknown."""
    device: str = ""
    """Browser and system of the request, such as ``Firefox, Linux``; empty when unknown."""
    new_address: str = ""
    """The masked new address, in ``address_changed``; may be empty."""


def parse_kind(raw: str) -> MailKind:
    """The kind of mail that ``raw`` names.

    :raises BadUserInput: for field ``kind``.
    """
    try:
        return MailKind(raw)
    except ValueError:
        raise BadUserInput(f"'kind' must be one of {', '.join(MailKind)}.", field="kind") from None


def parse_language(raw: str) -> str:
    """``raw`` as a lower-case language tag.

    :raises BadUserInput: for field ``language``.
    """
    tag = raw.lower()
    if _LANGUAGE.fullmatch(tag) is None:
        raise BadUserInput("'language' must be a language tag such as en or de-AT.", field="language")
    return tag


def lookup_order(languages: tuple[str, ...]) -> tuple[str, ...]:
    """The tags to look up, best first: each tag, then truncated from its end (RFC 4647 §3.4); English last."""
    return tuple(dict.fromkeys(tag for language in (*languages, FALLBACK_LANGUAGE) for tag in _shorter(language)))


def _shorter(tag: str) -> Iterator[str]:
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]
