"""Mails as their readers have them: found in the outbox, their links opened and followed as a browser does it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import httpx

from keystead.authentication.link_request_worker import process_all
from keystead.context import Server
from keystead.mail import rendering, store
from keystead.mail.links import IsLinkGood, link_secret, link_url
from keystead.mail.model import LINK_KINDS, Mail, MailKind, MailState, RenderedMail
from keystead.mail.smtp import SmtpTransport
from keystead.mail.worker import MailWorker
from keystead.settings.outgoing_mail import parse_mail_server
from keystead.users.one_time_tokens.model import TokenPurpose
from keystead.users.one_time_tokens.store import is_valid
from tests.api import Api
from tests.smtp_server import ReceivedMail, SmtpServer

LINK_MAILS: dict[TokenPurpose, MailKind] = {
    TokenPurpose.verify: MailKind.verify_email,
    TokenPurpose.claim: MailKind.change_email,
    TokenPurpose.login: MailKind.magic_login,
    TokenPurpose.reset: MailKind.reset_password,
}
"""The mail that brings a token for each purpose."""

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
_ACTION = re.compile(r'<form method="post" action="([^"]*)"')


async def outbox(server: Server) -> list[Mail]:
    """Every mail of every brand, the oldest first. Mails of one instant come in any order.

    With those that were asked for until now: the mail worker has nothing left to decide.
    """
    await process_all(server)
    return (await store.list_mails(server.db.scans, None, list(MailState), 100_000, 0))[::-1]


async def mails_to(server: Server, address: str, *kinds: MailKind) -> list[Mail]:
    """The mails to this address, exactly so written; of any kind unless some are named."""
    return [mail for mail in await outbox(server) if mail.recipient == address and mail.kind in (kinds or MailKind)]


async def newest(server: Server, address: str, kind: MailKind) -> Mail:
    """The newest mail of this kind to the address."""
    found = await mails_to(server, address, kind)
    assert found, (address, kind, [(mail.kind, mail.recipient) for mail in await outbox(server)])
    return found[-1]


def token_in(server: Server, mail: Mail) -> str:
    """The token in the mail's link."""
    return link_secret(server.master_key, mail.kind, mail.id).reveal()


def link_in(server: Server, mail: Mail) -> str:
    """The mail's link."""
    return link_url(mail.link_base, link_secret(server.master_key, mail.kind, mail.id))


async def token_to(server: Server, address: str, kind: MailKind) -> str:
    """The token in the newest mail of this kind to the address."""
    return token_in(server, await newest(server, address, kind))


async def link_to(server: Server, address: str, kind: MailKind) -> str:
    """The link in the newest mail of this kind to the address."""
    return link_in(server, await newest(server, address, kind))


async def tokens_out(server: Server) -> list[str]:
    """Every token that was ever mailed."""
    return [token_in(server, mail) for mail in await outbox(server) if mail.kind in LINK_KINDS]


async def read(server: Server, mail: Mail) -> RenderedMail:
    """What the reader of the mail sees."""
    return await rendering.render(server.db.reads, mail, server.master_key)


async def open_link(api: Api, link: str, **request: Any) -> httpx.Response:
    """The page behind a link."""
    return await api.http.get(link, **request)


async def press(
    api: Api,
    link: str,
    page: httpx.Response,
    fields: Mapping[str, str] = MappingProxyType({}),
    headers: Mapping[str, str] = MappingProxyType({}),
) -> httpx.Response:
    """Sends the form on the page with its hidden fields and what was typed; ``fields`` replace hidden ones, too."""
    action = _ACTION.search(page.text)
    assert action, page.text
    hidden = {name: html.unescape(value) for name, value in _HIDDEN.findall(page.text)}
    target = httpx.URL(link).join(html.unescape(action[1]))
    return await api.http.post(target, data={**hidden, **fields}, headers=headers)


async def click(api: Api, link: str, fields: Mapping[str, str] = MappingProxyType({})) -> httpx.Response:
    """Opens the link and presses the button; the page's answer where it has none."""
    page = await open_link(api, link)
    return page if page.status_code != 200 else await press(api, link, page, fields)


def assert_gone(answer: httpx.Response, case: object = "") -> None:
    """The page that says that a link does not work, and not why."""
    assert answer.status_code == 410, (case, answer.status_code, answer.text)


def make_postman(
    server: Server, smtp: SmtpServer, holder: str = "node-1", is_link_good: IsLinkGood = is_valid
) -> MailWorker:
    """The worker of one process, which delivers to this mail server by one conversation."""
    return MailWorker(server, [SmtpTransport(parse_mail_server(smtp.url), "auth.example.com")], holder, is_link_good)


async def delivered(server: Server, smtp: SmtpServer, is_link_good: IsLinkGood = is_valid) -> list[ReceivedMail]:
    """Everything that a mail server has taken once all that is due has been delivered to it."""
    await process_all(server)
    await make_postman(server, smtp, is_link_good=is_link_good).deliver_all_due()
    return list(smtp.received)
