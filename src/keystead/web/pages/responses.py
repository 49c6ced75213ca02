"""HTTP responses of the pages: strict security headers (security §10), and the error pages.

An error page never says more about a link than that it does not work.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from keystead.errors import OPERATOR_ERRORS, InternalError, KeysteadError, MalformedRequest, OriginRefused, Overload
from keystead.web.pages.csrf import origin_of
from keystead.web.pages.rendering import Wording, render

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
YEAR_SECONDS = 365 * 86_400

_log = structlog.get_logger("keystead.page")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; its text and location may contain a token."""

    status: int
    text: str = field(default="", repr=False)
    media_type: str = HTML
    location: str | None = field(default=None, repr=False)
    form_leads_to: str | None = None
    """Where the response to the form on this page will redirect."""
    base_url: str | None = None
    """The brand's, where it is known and has one."""
    headers: tuple[tuple[str, str], ...] = ()


class NoSuchPage(MalformedRequest):
    """404: there is no page at this path."""

    def __init__(self) -> None:
        super().__init__("There is no such page.", status=404)


def content_security_policy(form_leads_to: str | None = None) -> str:
    """No scripts, no frames, nothing from other origins (CSP 3).

    Chromium applies ``form-action`` to redirects, too, so the origin of a redirect has to be listed.
    """
    targets = "'self'" if form_leads_to is None else f"'self' {origin_of(form_leads_to)}"
    return f"default-src 'none'; style-src 'self'; form-action {targets}; base-uri 'none'; frame-ancestors 'none'"


async def send_answer(send: Send, answer: Answer, base_url: str, *, with_body: bool = True) -> None:
    """Send the response; for HEAD, ``with_body=False`` sends the headers of GET alone."""
    body = answer.text.encode("utf-8")
    headers = [
        ("content-type", answer.media_type),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        ("content-security-policy", content_security_policy(answer.form_leads_to)),
        ("cross-origin-opener-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex"),
        *answer.headers,
    ]
    if (answer.base_url or base_url).startswith("https:"):
        headers.append(("strict-transport-security", f"max-age={YEAR_SECONDS}"))
    if answer.location is not None:
        headers.append(("location", answer.location))
    encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body if with_body else b""})


def error_page(error: Exception, wording: Wording, request_id: str, allow: str) -> Answer:
    """The response to a failed request; ``allow`` lists the methods of the path. Server faults are logged."""
    if not isinstance(error, KeysteadError) or isinstance(error, InternalError):
        _log_fault(error, request_id)
        return _error_page("fault", 500, wording, reference_id=request_id)
    is_ours = isinstance(error, OPERATOR_ERRORS)
    if error.cause is not None or is_ours:
        log = _log.error if is_ours else _log.info
        log("page.refused", code=error.code, cause=error.cause or error.message, reference_id=request_id)
    match error:
        case Overload(status=status, retry_after=seconds):
            return _error_page("busy", status, wording, ("retry-after", str(seconds)))
        case OriginRefused():
            return _error_page("elsewhere", 403, wording)
        case NoSuchPage():
            return _error_page("nowhere", 404, wording)
        case MalformedRequest(status=405):
            return _error_page("unreadable", 405, wording, ("allow", allow))
        case MalformedRequest(status=status):
            return _error_page("unreadable", status, wording)
        case _:
            # Used, expired, never issued, of another kind, feature disabled, address taken: all the same.
            return _error_page("gone", 410, wording)


def _error_page(
    name: str, status: int, wording: Wording, *headers: tuple[str, str], reference_id: str | None = None
) -> Answer:
    title, lead = wording.say(f"{name}.title"), wording.say(f"{name}.lead")
    text = render("problem", wording, brand=None, title=title, lead=lead, reference=reference_id)
    return Answer(status, text, headers=headers)


def _log_fault(error: Exception, request_id: str) -> None:
    # Kind and traceback only: the message may contain what the form sent.
    cause = error.cause if isinstance(error, KeysteadError) else None
    trace = "".join(traceback.format_tb(error.__traceback__))
    _log.error("page.fault", reference_id=request_id, kind=type(error).__name__, cause=cause, trace=trace)
