"""What a template is, and which texts it may show."""

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
"""The language that there is wording in for every kind of mail."""

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3}", re.ASCII)


class Template(msgspec.Struct, frozen=True):
    """The wording that a brand put in the place of ours, for one kind of mail in one language."""

    kind: MailKind
    language: str
    """A language tag in small letters: ``de``, ``de-at``."""
    source: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Wording:
    """What a mail is worded by."""

    language: str
    source: str = field(repr=False)
    is_own: bool
    """The brand's own; False for the wording that comes with Keystead."""


@dataclass(frozen=True, slots=True)
class Values:
    """What a template may show, one variable each. All are texts, and data only: nothing in them is run.

    Those that may be empty are texts of no length then, so that ``{% if device %}`` works.
    """

    brand: str
    """The brand's name."""
    address: str
    """The address that the mail goes to, as its owner wrote it."""
    when: str
    """When what the mail speaks of happened, for example ``2026-01-01 12:00 UTC``."""
    language: str
    """The language tag of the wording."""
    link: str = field(default="", repr=False)
    """The link: in mails that have one, and empty in the others."""
    minutes: str = ""
    """How many minutes the link is good for, rounded down; empty where there is no link, and from an hour up."""
    hours: str = ""
    """How many hours the link is good for, rounded down; empty where there is no link, and below one."""
    ip_prefix: str = ""
    """The network that the request came from; empty where it is not known."""
    device: str = ""
    """What the request came from, such as ``Firefox, Linux``; empty where it is none of the well-known browsers."""
    new_address: str = ""
    """A hint at the new address, in ``address_changed``; may be empty."""


def parse_kind(raw: str) -> MailKind:
    """The kind of mail that ``raw`` names.

    :raises BadUserInput: names the field ``kind``.
    """
    try:
        return MailKind(raw)
    except ValueError:
        raise BadUserInput(f"'kind' must be one of {', '.join(MailKind)}.", field="kind") from None


def parse_language(raw: str) -> str:
    """The language tag that ``raw`` is, in small letters.

    :raises BadUserInput: names the field ``language``.
    """
    tag = raw.lower()
    if _LANGUAGE.fullmatch(tag) is None:
        raise BadUserInput("'language' must be a language tag such as en or de-AT.", field="language")
    return tag


def lookup_order(languages: tuple[str, ...]) -> tuple[str, ...]:
    """The tags to look for, the best first: each as it is, then cut from its end (RFC 4647 §3.4); English last."""
    return tuple(dict.fromkeys(tag for language in (*languages, FALLBACK_LANGUAGE) for tag in _shorter(language)))


def _shorter(tag: str) -> Iterator[str]:
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]
