"""A client of the hosted pages: opens links, parses pages, submits forms, as a browser without scripts would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx

from keystead.authentication.link_request_worker import process_all
from keystead.context import Server
from keystead.mail import links, outbox
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.pagination import PageRequest
from tests.api import Api
from tests.make import make_context

BASE = "https://auth.example.com"
TWICE = {"password": "violet indigo blue", "repeated": "violet indigo blue"}
"""A new password, as the reset form takes it."""
POLICY = "default-src 'none'; style-src 'self'; form-action {}; base-uri 'none'; frame-ancestors 'none'"
STRICT = {
    "cache-control": "no-store", "cross-origin-opener-policy": "same-origin", "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000", "x-content-type-options": "nosniff", "x-robots-tag": "noindex",
}  # fmt: skip


async def newest_link(server: Server, kind: MailKind) -> str:
    """The link in the newest mail of this kind."""
    await process_all(server)
    page = await outbox.list_mails(make_context(server), PageRequest(1, 100))
    mail = next(mail for mail in page.items if mail.kind is kind)
    assert kind in LINK_KINDS
    return links.link_url(mail.link_base, links.link_secret(server.master_key, kind, mail.id))


@dataclass
class Form:
    """The form of a page."""

    method: str
    action: str
    hidden: dict[str, str] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.form: Form | None = None
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "form":
            self.form = Form(given["method"] or "", given["action"] or "")
        elif tag == "input" and self.form is not None and (name := given.get("name")):
            if given["type"] == "hidden":
                self.form.hidden[name] = given["value"] or ""
            else:
                self.form.typed.append(name)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


class Page:
    """An answer, read."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._reader = _Reader()
        self._reader.feed(response.text)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status_code

    @property
    def text(self) -> str:
        """What a reader sees, in one line."""
        return " ".join(" ".join(self._reader.text).split())

    @property
    def tags(self) -> list[tuple[str, dict[str, str | None]]]:
        """Every tag with its attributes."""
        return self._reader.tags

    @property
    def form(self) -> Form:
        """The one form."""
        assert self._reader.form is not None, self.text
        return self._reader.form

    @property
    def typed(self) -> dict[str, str] | None:
        """What has to be typed into the form."""
        return TWICE if self.form.typed else None


class Visitor:
    """Opens links in an application in this process."""

    def __init__(self, api: Api) -> None:
        self.http = api.http

    async def open(self, link: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Page:
        """The page at a link; a path stands for one of ours."""
        return Page(await self.http.request(method, httpx.URL(BASE).join(link), headers=headers))

    async def press(
        self, page: Page, typed: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Page:
        """What comes of pressing the button of ``page``, after typing into its fields."""
        assert page.form.method == "post"
        assert sorted(typed or {}) == sorted(page.form.typed)
        action = page.response.url.join(page.form.action)
        sent = {"origin": "null", "sec-fetch-site": "same-origin", **(headers or {})}
        return Page(await self.http.post(action, data={**page.form.hidden, **(typed or {})}, headers=sent))


def is_strict(answer: httpx.Response, targets: str = "'self'") -> bool:
    """Whether the response has every security header and no cookie."""
    assert answer.headers["content-security-policy"] == POLICY.format(targets)
    assert {name: answer.headers.get(name) for name in STRICT} == STRICT
    assert not {"set-cookie", "access-control-allow-origin", "vary"} & set(answer.headers)
    return True


def has_no_script(page: Page) -> bool:
    """Whether the page contains no active content and loads nothing from other origins."""
    assert not {"script", "iframe", "object", "embed", "img", "base"} & {tag for tag, _ in page.tags}
    assert [given["href"] for tag, given in page.tags if tag == "link"] == ["style.css"]
    assert not [name for _, given in page.tags for name in given if name.startswith("on") or name == "style"]
    return True
