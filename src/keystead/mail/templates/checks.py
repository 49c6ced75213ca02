"""Checks of a brand's template before it is saved: renders it with sample values and inspects the HTML.

No sample is a secret: the token in the link is too short to be one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from keystead.crypto.secrets import SecretKind
from keystead.errors import BadUserInput
from keystead.mail.model import LINK_KINDS, LINK_PATHS, MailKind, RenderedMail
from keystead.mail.templates.compiling import fill
from keystead.mail.templates.grammar import PARTS
from keystead.mail.templates.model import Values

Tag: TypeAlias = tuple[str, tuple[tuple[str, str | None], ...]]
"""The name of a tag, and its attributes as a browser reads them."""

_LIFETIMES: Final = {SecretKind.verify: ("", "24"), SecretKind.magic: ("10", ""), SecretKind.reset: ("30", "")}
"""Minutes and hours that the link of a mail is valid."""
# Ends a text, an attribute with either quote or with none, a tag, a comment, a style; and nests Jinja.
_HOSTILE: Final = """x"y'z <b title=1>&amp;--></style> onload=1 {{ brand }}{% if %}"""
# Further query parameters after the token, of URI characters (RFC 3986 §2).
_MORE: Final = re.compile(r"&[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*", re.ASCII)


def require_sound(kind: MailKind, language: str, source: str) -> None:
    """Check a template by rendering it: all three parts are made with and without the optional values, text and HTML
    contain the link of a mail that has one, and no other value stands inside an HTML tag and could change its meaning.

    :raises BadUserInput: with the block, or ``source``, as its field.
    """
    full = sample_values(kind, language)
    made = fill(source, kind, full)
    for mail in (made, fill(source, kind, without_optional(full))):
        _require_parts(mail, full)
    if tags(fill(source, kind, hostile(full)).html) != tags(made.html):
        raise BadUserInput("Inside an HTML tag only the link can be used, in quotes.", field="html")


def sample_values(
    kind: MailKind, language: str, *, brand: str = "Example", link_base: str = "https://auth.example.com"
) -> Values:
    """Sample values for a mail of this kind, all optional ones set."""
    values = Values(
        brand=brand,
        address="ann@example.com",
        when="2026-01-01 12:00 UTC",
        language=language,
        ip_prefix="192.0.2.7",
        device="Firefox, Linux",
    )
    if kind in LINK_KINDS:
        minutes, hours = _LIFETIMES[LINK_KINDS[kind]]
        link = f"{link_base}{LINK_PATHS[LINK_KINDS[kind]]}?token={LINK_KINDS[kind].prefix}SAMPLE"
        values = replace(values, link=link, minutes=minutes, hours=hours)
    return replace(values, new_address="a…@example.org") if kind is MailKind.address_changed else values


def without_optional(values: Values) -> Values:
    """``values`` with every optional one empty."""
    return replace(values, ip_prefix="", device="", new_address="")


def hostile(values: Values) -> Values:
    """``values`` with injection attempts in every text but the link, which the server makes."""
    return replace(
        values,
        brand=_HOSTILE,
        address=_HOSTILE,
        when=_HOSTILE,
        ip_prefix=_HOSTILE,
        device=_HOSTILE,
        new_address=_HOSTILE if values.new_address else "",
    )


def tags(html: str) -> list[Tag]:
    """Every tag, comment and style sheet of a page, in order, without the text between them."""
    reader = _TagReader()
    reader.feed(html)
    reader.close()
    return reader.tags


def link_targets(html: str) -> list[str]:
    """The ``href`` of each link, in order."""
    return [value or "" for name, attributes in tags(html) if name == "a" for key, value in attributes if key == "href"]


def leads_to(href: str, link: str) -> bool:
    """Whether ``href`` is the link of a mail, optionally with more parameters, such as ``&redirect=``.

    A second ``token`` is not allowed: the page rejects a query with two.
    """
    more = href.removeprefix(link)
    if more == "" or not href.startswith(link):
        return href == link
    return _MORE.fullmatch(more) is not None and "token" not in dict(parse_qsl(more, keep_blank_values=True))


def _require_parts(mail: RenderedMail, values: Values) -> None:
    for part in PARTS:
        if not getattr(mail, part).strip():
            raise BadUserInput(f"The block '{part}' is empty.", field=part)
    if values.link and values.link not in mail.text:
        raise BadUserInput("The text must contain the link: {{ link }}.", field="text")
    if values.link and not any(leads_to(href, values.link) for href in link_targets(mail.html)):
        raise BadUserInput('The HTML must contain the link: <a href="{{ link }}">...</a>.', field="html")


class _TagReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[Tag] = []
        self._is_code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_code = tag in ("style", "script")
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        if self._is_code:
            self.tags.append(("!", (("code", data),)))

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False
        self.tags.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.tags.append(("!", (("comment", data),)))

    def handle_decl(self, decl: str) -> None:
        self.tags.append(("!", (("declaration", decl),)))

    def unknown_decl(self, data: str) -> None:
        self.tags.append(("!", (("declaration", data),)))
