"""ASGI endpoint of the hosted pages behind ``/link/``, and the parser of their forms.

Checks run in this order, and each rejection ends the request: method, CSRF headers, content type, size, fields, CSRF
field, then the link itself. Only the last step consumes anything.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog

from keystead.context import Anonymous, Context, RequestDetails, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.errors import MalformedRequest, TokenInvalid
from keystead.mail.model import LINK_PATHS
from keystead.web.pages import actions
from keystead.web.pages.csrf import FormSeal, require_same_site
from keystead.web.pages.rendering import choose_wording, style_sheet
from keystead.web.pages.responses import CSS, Answer, NoSuchPage, Send, error_page, send_answer
from keystead.web.request_body import ClientGone, Receive, read_body
from keystead.web.request_headers import NOTHING, HeaderReader, HeaderValues

Scope = MutableMapping[str, Any]

PREFIX = "/link/"
STYLE_PATH = "/link/style.css"
KINDS: dict[str, SecretKind] = {path: kind for kind, path in LINK_PATHS.items()}
"""The one kind of token that each page accepts."""

LARGEST_FORM = 8 * 1024

_METHODS = frozenset(("GET", "HEAD", "POST"))
_MEDIA_TYPE = "application/x-www-form-urlencoded"
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_log = structlog.get_logger("keystead.page")


class LinkPages:
    """ASGI application of the paths below ``/link/``."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._headers = HeaderReader(server.settings)
        self._seals = FormSeal(server.master_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every exception becomes an error page."""
        started = time.perf_counter()
        details = self._headers.details(scope, NOTHING)
        try:
            values = self._headers.read(scope["headers"])
            details = self._headers.details(scope, values)
            answer = await self._answer(scope, receive, values, details)
        except ClientGone:
            return
        except Exception as error:
            answer = error_page(error, choose_wording(details.accept_language), details.id, _allowed(scope["path"]))
        await send_answer(send, answer, self._server.settings.base_url, with_body=scope["method"] != "HEAD")
        _log_request(scope, answer, details, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, values: HeaderValues, details: RequestDetails) -> Answer:
        path, method = scope["path"], scope["method"]
        if path != STYLE_PATH and path not in KINDS:
            raise NoSuchPage
        if method not in _allowed(path).split(", "):
            raise MalformedRequest("This method is not allowed here.", status=405)
        if path == STYLE_PATH:
            return Answer(200, style_sheet(), CSS)
        ctx = Context(self._server, details, Anonymous())
        if method == "POST":
            return await self._post(ctx, path, receive, scope, values)
        query = scope["query_string"]
        secret = secrets.parse(find_once(query, "token"), KINDS[path])
        visit = await actions.find_visit(ctx, path, KINDS[path], secret, find_once(query, "redirect"), self._seals)
        return actions.show(visit)

    async def _post(self, ctx: Context, path: str, receive: Receive, scope: Scope, values: HeaderValues) -> Answer:
        require_same_site(scope["headers"])
        require_form(values.content_type, values.content_encoding)
        kind = KINDS[path]
        known = actions.RESET_FIELDS if kind is SecretKind.reset else actions.FIELDS
        form = parse_form(await read_body(receive, values.content_length, LARGEST_FORM), known)
        secret = secrets.parse(form.get("token"), kind)
        if secret is None:
            raise TokenInvalid
        self._seals.require(secret, form.get("seal"))
        visit = await actions.find_visit(ctx, path, kind, secret, form.get("redirect"), self._seals)
        return await actions.carry_out(visit, form)


def _allowed(path: str) -> str:
    return "GET, HEAD" if path == STYLE_PATH else "GET, HEAD, POST"


def _log_request(scope: Scope, answer: Answer, details: RequestDetails, seconds: float) -> None:
    """Log one line per request. Unknown paths and methods are logged as "other", the query not at all."""
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


def require_form(content_type: str | None, content_encoding: str | None) -> None:
    """:raises MalformedRequest: 415, unless the body is a plain urlencoded form, in UTF-8."""
    media_type, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip(" \t").lower().replace('"', "")
    if media_type.strip(" \t").lower() != _MEDIA_TYPE or charset not in ("", "charset=utf-8"):
        raise MalformedRequest(f"The Content-Type must be {_MEDIA_TYPE}.", status=415)
    if (content_encoding or "identity").lower() != "identity":
        raise MalformedRequest("Compressed bodies are not supported.", status=415)


def parse_form(body: bytes, known: Collection[str]) -> dict[str, str]:
    """Parse the fields of an ``application/x-www-form-urlencoded`` body by name; all are optional.

    Stricter than URL Standard §5.1: every field is known and unique, every escape complete, every text UTF-8.

    :raises MalformedRequest: 400, for an unknown or repeated field, and for malformed text.
    """
    fields: dict[str, str] = {}
    for name, value in _pairs(body):
        if name not in known or name in fields:
            raise MalformedRequest("The form has an unknown or repeated field.")
        fields[name] = value
    return fields


def find_once(query: bytes, name: str) -> str | None:
    """The parameter of a query; None when it is missing, malformed, or repeated.

    Other parameters are ignored: click trackers add theirs to every link.
    """
    values = [value for found, _, value in (part.partition(b"=") for part in query.split(b"&")) if _is(found, name)]
    try:
        return _decoded(values[0]) if len(values) == 1 else None
    except MalformedRequest:
        return None


def _pairs(text: bytes) -> list[tuple[str, str]]:
    return [(_decoded(name), _decoded(value)) for name, _, value in (part.partition(b"=") for part in text.split(b"&"))]


def _is(text: bytes, name: str) -> bool:
    try:
        return _decoded(text) == name
    except MalformedRequest:
        return False


def _decoded(text: bytes) -> str:
    if not text.isascii() or _BROKEN_ESCAPE.search(text):
        raise MalformedRequest("The form is not urlencoded text.")
    try:
        decoded = unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("The form is not UTF-8.") from None
    if "\0" in decoded:
        raise MalformedRequest("The form contains a NUL.")
    return decoded
