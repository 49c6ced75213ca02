"""The hosted pages behind ``/link/``, straight on ASGI.

Method, where the form comes from, content type, size, fields, seal; then the link; then what it is for. What a check
refuses never reaches the next one, and nothing before the last step consumes anything.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

import structlog

from keystead.context import Anonymous, Context, RequestDetails, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.errors import MalformedRequest, TokenInvalid
from keystead.mail.model import LINK_PATHS
from keystead.web.pages import visits
from keystead.web.pages.forms import LARGEST_FORM, find_once, parse_form, require_form
from keystead.web.pages.intent import FormSeal, require_same_site
from keystead.web.pages.problems import NoSuchPage, problem
from keystead.web.pages.rendering import style_sheet
from keystead.web.pages.responses import CSS, Answer, Send, send_answer
from keystead.web.pages.wording import choose_wording
from keystead.web.request_body import ClientGone, Receive, read_body
from keystead.web.request_headers import NOTHING, HeaderReader, HeaderValues

Scope = MutableMapping[str, Any]

PREFIX = "/link/"
STYLE_PATH = "/link/style.css"
KINDS: dict[str, SecretKind] = {path: kind for kind, path in LINK_PATHS.items()}
"""The kind of token that each page takes; it takes no other."""

_METHODS = frozenset(("GET", "HEAD", "POST"))
_log = structlog.get_logger("keystead.page")


class LinkPages:
    """The ASGI application behind ``/link/``."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._headers = HeaderReader(server.settings)
        self._seals = FormSeal(server.master_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, whatever happens."""
        started = time.perf_counter()
        details = self._headers.details(scope, NOTHING)
        try:
            values = self._headers.read(scope["headers"])
            details = self._headers.details(scope, values)
            answer = await self._answer(scope, receive, values, details)
        except ClientGone:
            return
        except Exception as error:
            answer = problem(error, choose_wording(details.accept_language), details.id, _allowed(scope["path"]))
        await send_answer(send, answer, self._server.settings.base_url, with_body=scope["method"] != "HEAD")
        _note(scope, answer, details, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, values: HeaderValues, details: RequestDetails) -> Answer:
        path, method = scope["path"], scope["method"]
        if path != STYLE_PATH and path not in KINDS:
            raise NoSuchPage
        if method not in _allowed(path).split(", "):
            raise MalformedRequest("This method is not served here.", status=405)
        if path == STYLE_PATH:
            return Answer(200, style_sheet(), CSS)
        ctx = Context(self._server, details, Anonymous())
        if method == "POST":
            return await self._post(ctx, path, receive, scope, values)
        query = scope["query_string"]
        raw, redirect = find_once(query, "token"), find_once(query, "redirect")
        return visits.show(await visits.find_visit(ctx, path, KINDS[path], raw, redirect, self._seals))

    async def _post(self, ctx: Context, path: str, receive: Receive, scope: Scope, values: HeaderValues) -> Answer:
        require_same_site(scope["headers"])
        require_form(values.content_type, values.content_encoding)
        kind = KINDS[path]
        known = visits.RESET_FIELDS if kind is SecretKind.reset else visits.FIELDS
        form = parse_form(await read_body(receive, values.content_length, LARGEST_FORM), known)
        secret = secrets.parse(form.get("token"), kind)
        if secret is None:
            raise TokenInvalid
        self._seals.require(secret, form.get("seal"))
        visit = await visits.find_visit(ctx, path, kind, secret.reveal(), form.get("redirect"), self._seals)
        return await visits.carry_out(visit, form)


def _allowed(path: str) -> str:
    return "GET, HEAD" if path == STYLE_PATH else "GET, HEAD, POST"


def _note(scope: Scope, answer: Answer, details: RequestDetails, seconds: float) -> None:
    """One line a request. Path and method are ours or told as "other", and nothing of the query is in it."""
    path, method = scope["path"], scope["method"]
    _log.info(
        "page",
        request_id=details.id,
        page=path if path in KINDS or path == STYLE_PATH else "other",
        method=method if method in _METHODS else "other",
        status=answer.status,
        ms=round(seconds * 1000, 2),
        address=details.address,
    )
