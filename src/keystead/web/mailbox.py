"""The demo's mailbox: what the outbox holds, for whoever sits at this machine, so that links can be clicked.

These pages show links that log people in. They are there in the demo alone, and only for a browser on the same machine
(``loopback``); everybody else gets what an unknown path gets.

In the place of an id stands ``newest`` for the newest mail, with ``?to=ADDRESS`` for the newest to that address: a
command in a terminal has no other way to know which mail it caused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from keystead.authentication.mail_resolver import resolve_all
from keystead.brands import service as brands
from keystead.context import Context, Server
from keystead.errors import NotFound
from keystead.mail import outbox
from keystead.mail.links import describe_link_state, find_link_state
from keystead.mail.model import Mail, RenderedMail
from keystead.mail.rendering import render
from keystead.pagination import Page, PageRequest
from keystead.users.one_time_tokens import service as one_time_tokens
from keystead.web.loopback import is_from_this_machine
from keystead.web.server import system_context

MOST_SHOWN: Final = 50
NEWEST: Final = "newest"

_FOLDER: Final = Path(__file__).parent / "static" / "mailbox"
_PAGE_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "frame-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
# Brands write templates of their own, so that a mail is as strange as any page: it runs nothing, fetches nothing, and
# shares no origin with us. Its links open in a window to which these rules do not pass on: there is a form behind them.
_MAIL_POLICY: Final = "; ".join(
    (
        "sandbox allow-popups allow-popups-to-escape-sandbox",
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _PAGE_POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_HEAD: Final = re.compile(r"<head\b[^<>]*>", re.IGNORECASE)
_IN_A_WINDOW_OF_ITS_OWN: Final = '<base target="_blank">'
_LINK: Final = re.compile(r"https?://[^\s<>\"]+")


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _with_links(text: str) -> Markup:
    """The text, escaped, with its addresses to click on."""
    link = Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>')
    texts, links = _LINK.split(text), [link.format(address) for address in _LINK.findall(text)]
    return Markup("").join(part for pair in zip(texts, [*links, Markup("")], strict=True) for part in pair)


_pages = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
_pages.filters |= {"moment": _moment, "with_links": _with_links}


class _Page:
    """One page: an ASGI application that asks first who wants to see it."""

    def __init__(
        self, find_server: Callable[[], Server | None], show: Callable[[Context, Request], Awaitable[Response]]
    ) -> None:
        self._find_server = find_server
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        server = self._find_server()
        if server is None or not is_from_this_machine(scope):
            raise HTTPException(404)
        if scope["method"] != "GET":
            raise HTTPException(405, headers={"allow": "GET"})
        try:
            response = await self._show(system_context(server, f"mailbox-{os.urandom(8).hex()}"), Request(scope))
        except NotFound:
            raise HTTPException(404) from None
        await response(scope, receive, send)


def mailbox_routes(find_server: Callable[[], Server | None]) -> list[BaseRoute]:
    """The front page and the mailbox. ``find_server`` gives the open server, None as long as there is none."""
    pages = {
        "/": _front,
        "/mailbox": _list_page,
        "/mailbox/mailbox.css": _style,
        "/mailbox/{id}": _mail_page,
        "/mailbox/{id}/html": _html,
        "/mailbox/{id}/text": _text,
    }
    return [Route(path, _Page(find_server, show)) for path, show in pages.items()]


async def _front(_ctx: Context, _: Request) -> Response:
    return _page("front.html", {})


async def _list_page(ctx: Context, _: Request) -> Response:
    page = await _newest(ctx)
    names: dict[str, str] = {}
    for mail in page.items:
        if mail.brand_id not in names:
            names[mail.brand_id] = await _brand_name(ctx, mail)
    entries = [
        {"mail": mail, "subject": (await _rendered(ctx, mail)).subject, "brand": names[mail.brand_id]}
        for mail in page.items
    ]
    return _page("list.html", {"entries": entries, "has_more": page.has_more_pages})


async def _mail_page(ctx: Context, request: Request) -> Response:
    mail = await _get_mail(ctx, request)
    link = await find_link_state(ctx.db.reads, mail, ctx.server.master_key, ctx.now(), one_time_tokens.is_good)
    shown = {
        "mail": mail,
        "rendered": await _rendered(ctx, mail),
        "brand": await _brand_name(ctx, mail),
        "link": None if link is None else describe_link_state(link, mail),
    }
    return _page("mail.html", shown)


async def _html(ctx: Context, request: Request) -> Response:
    html = (await _rendered(ctx, await _get_mail(ctx, request))).html
    found = _HEAD.search(html)
    start = found.end() if found else 0
    headers = _HEADERS | {"content-security-policy": _MAIL_POLICY}
    return HTMLResponse(html[:start] + _IN_A_WINDOW_OF_ITS_OWN + html[start:], headers=headers)


async def _text(ctx: Context, request: Request) -> Response:
    rendered = await _rendered(ctx, await _get_mail(ctx, request))
    return PlainTextResponse(rendered.text, headers=_HEADERS)


async def _style(_ctx: Context, _: Request) -> Response:
    return FileResponse(_FOLDER / "mailbox.css", media_type="text/css", headers=_HEADERS)


async def _get_mail(ctx: Context, request: Request) -> Mail:
    """:raises NotFound: when there is no such mail, or none yet."""
    mail_id = request.path_params["id"]
    if mail_id != NEWEST:
        return await outbox.get_mail(ctx, mail_id)
    recipient = request.query_params.get("to")
    page = await _newest(ctx)
    for mail in page.items:
        if recipient in (None, mail.recipient):
            return mail
    raise NotFound("There is no such mail.")


async def _newest(ctx: Context) -> Page[Mail]:
    """With the mails that were asked for a moment ago: the tour does not wait for the mail worker."""
    await resolve_all(ctx.server)
    return await outbox.list_mails(ctx, PageRequest(1, MOST_SHOWN))


async def _rendered(ctx: Context, mail: Mail) -> RenderedMail:
    return await render(ctx.db.reads, mail, ctx.server.master_key)


async def _brand_name(ctx: Context, mail: Mail) -> str:
    return (await brands.get_brand(ctx, mail.brand_id)).name


def _page(name: str, shown: Mapping[str, Any]) -> Response:
    return HTMLResponse(_pages.get_template(name).render(shown), headers=_HEADERS)
