"""The demo's mailbox: the outbox as web pages, with links to click.

The links log in, so the pages exist only in the demo and only for a browser on the same machine
(:func:`is_from_this_machine`); any other client gets the 404 of an unknown path.

``newest`` in the place of an id is the newest mail, with ``?to=ADDRESS`` the newest to that address: a command in a
terminal does not know the id of the mail that it caused.
"""

from __future__ import annotations

import ipaddress
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

from keystead.authentication.link_request_worker import process_all
from keystead.brands import service as brands
from keystead.context import Context, Server
from keystead.errors import NotFound
from keystead.mail import outbox
from keystead.mail.links import describe_link_state, find_link_state
from keystead.mail.model import Mail, RenderedMail
from keystead.mail.rendering import render
from keystead.pagination import Page, PageRequest
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.web.bootstrap import system_context

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
# Brands write templates, so a mail is untrusted HTML: sandboxed in an opaque origin, without scripts and requests. Its
# links open in a window that the sandbox does not apply to: the hosted pages behind them have a form.
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
_BASE_TARGET: Final = '<base target="_blank">'
_LINK: Final = re.compile(r"https?://[^\s<>\"]+")

_LOOPBACK_NAME: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_HTTP_PORT: Final = 80
_PROXY_HEADERS: Final = frozenset({b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip"})
_PROXY_HEADER_PREFIX: Final = b"x-forwarded-"


def is_from_this_machine(scope: Mapping[str, Any]) -> bool:
    """Whether the peer is loopback, no proxy added a header, and ``Host`` is a loopback name with our port.

    The name matters as much as the address: with DNS rebinding, a page of another name resolves to this machine and is
    same-origin with these pages.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return (
        _is_loopback(scope.get("client"))
        and len(hosts) == 1
        and _is_our_name(hosts[0].decode("latin-1"), scope.get("server"))
        and not any(name in _PROXY_HEADERS or name.startswith(_PROXY_HEADER_PREFIX) for name, _ in scope["headers"])
    )


def _is_loopback(peer: tuple[str, int] | None) -> bool:
    try:
        address = ipaddress.ip_address(peer[0] if peer else "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_our_name(host: str, server: tuple[str, int | None] | None) -> bool:
    found = _LOOPBACK_NAME.fullmatch(host)
    return found is not None and server is not None and int(found[1] or _HTTP_PORT) == server[1]


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _with_links(text: str) -> Markup:
    """The text, HTML-escaped, with its URLs as links."""
    link = Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>')
    texts, links = _LINK.split(text), [link.format(address) for address in _LINK.findall(text)]
    return Markup("").join(part for pair in zip(texts, [*links, Markup("")], strict=True) for part in pair)


_pages = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
_pages.filters |= {"moment": _moment, "with_links": _with_links}


class _Page:
    """One page as an ASGI application, served to browsers on this machine only."""

    def __init__(
        self, find_server: Callable[[], Server | None], show: Callable[[Context, Request], Awaitable[Response]]
    ) -> None:
        self._find_server = find_server
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
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
    """The front page and the mailbox. ``find_server`` returns the open server, or None before it is open."""
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
    link = await find_link_state(ctx.db.reads, mail, ctx.server.master_key, ctx.now(), one_time_tokens.is_valid)
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
    return HTMLResponse(html[:start] + _BASE_TARGET + html[start:], headers=headers)


async def _text(ctx: Context, request: Request) -> Response:
    rendered = await _rendered(ctx, await _get_mail(ctx, request))
    return PlainTextResponse(rendered.text, headers=_HEADERS)


async def _style(_ctx: Context, _: Request) -> Response:
    return FileResponse(_FOLDER / "mailbox.css", media_type="text/css", headers=_HEADERS)


async def _get_mail(ctx: Context, request: Request) -> Mail:
    """:raises NotFound: if there is no such mail."""
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
    """The newest mails, after resolving pending requests: the tour does not wait for the mail worker."""
    await process_all(ctx.server)
    return await outbox.list_mails(ctx, PageRequest(1, MOST_SHOWN))


async def _rendered(ctx: Context, mail: Mail) -> RenderedMail:
    return await render(ctx.db.reads, mail, ctx.server.master_key)


async def _brand_name(ctx: Context, mail: Mail) -> str:
    return (await brands.get_brand(ctx, mail.brand_id)).name


def _page(name: str, shown: Mapping[str, Any]) -> Response:
    return HTMLResponse(_pages.get_template(name).render(shown), headers=_HEADERS)
