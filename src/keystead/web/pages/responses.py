"""The HTTP answers of the pages, each under the same strict headers. Security §10."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from keystead.web.pages.redirects import origin_of

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
YEAR_SECONDS = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page answers with; its text and where it leads may hold a token."""

    status: int
    text: str = field(default="", repr=False)
    media_type: str = HTML
    location: str | None = field(default=None, repr=False)
    form_leads_to: str | None = None
    """An address to which the answer to the form on this page will redirect."""
    base_url: str | None = None
    """The brand's, where it is known and has one."""
    headers: tuple[tuple[str, str], ...] = ()


def content_security_policy(form_leads_to: str | None = None) -> str:
    """No script, no frame, nothing from elsewhere (CSP 3).

    Chromium holds ``form-action`` against redirects, too: where one follows, its origin has to be named.
    """
    targets = "'self'" if form_leads_to is None else f"'self' {origin_of(form_leads_to)}"
    return f"default-src 'none'; style-src 'self'; form-action {targets}; base-uri 'none'; frame-ancestors 'none'"


async def send_answer(send: Send, answer: Answer, base_url: str, *, with_body: bool = True) -> None:
    """Sends the answer; ``with_body=False`` answers HEAD with the headers that GET would have."""
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
