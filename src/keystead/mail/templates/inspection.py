"""Looking at the HTML that a template makes: which tags it has, and where its links lead."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

Tag: TypeAlias = tuple[str, tuple[tuple[str, str | None], ...]]
"""The name of a tag, and its attributes as a browser reads them."""

# More parameters behind the one that is the token, of the characters that an address is made of (RFC 3986 §2).
_MORE: Final = re.compile(r"&[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*", re.ASCII)


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


def tags(html: str) -> list[Tag]:
    """Every tag, comment and style sheet of a page, in order; the text between them is passed over."""
    reader = _TagReader()
    reader.feed(html)
    reader.close()
    return reader.tags


def link_targets(html: str) -> list[str]:
    """Where the links of a page lead, in order."""
    return [value or "" for name, attributes in tags(html) if name == "a" for key, value in attributes if key == "href"]


def leads_to(href: str, link: str) -> bool:
    """Whether ``href`` is the link of a mail, or the link with more parameters behind it, such as ``&redirect=``.

    A second token is none of them: of two, the page would take neither.
    """
    more = href.removeprefix(link)
    if more == "" or not href.startswith(link):
        return href == link
    return _MORE.fullmatch(more) is not None and "token" not in dict(parse_qsl(more, keep_blank_values=True))
