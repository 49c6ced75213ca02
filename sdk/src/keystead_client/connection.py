"""What the two clients have in common: their options, and how a request goes over httpx."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypedDict

import httpx

from keystead_client.endpoint import Endpoint, endpoint_from
from keystead_client.errors import NetworkError, Timeout
from keystead_client.flow import Reply, Send
from keystead_client.session import Session
from keystead_client.single_flight import SingleFlight
from keystead_client.tokens import MemoryTokens, Tokens, TokenStore

ME = ("id", "email", "username", "verified", "is_anonymous", "brand", "permissions")


class Options(TypedDict, total=False):
    """What both clients take beside the endpoint and the transport."""

    api_key: str | None
    brand_token: str | None
    brand: str | None
    tokens: TokenStore | Tokens | None
    timeout: float
    refresh_buffer: float
    retries: int
    forwarded_for: str | None
    allow_http: bool
    clock: Callable[[], float]


class Configured:
    """What both clients are made of."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        api_key: str | None = None,
        brand_token: str | None = None,
        brand: str | None = None,
        tokens: TokenStore | Tokens | None = None,
        timeout: float = 10.0,
        refresh_buffer: float = 60,
        retries: int = 2,
        forwarded_for: str | None = None,
        allow_http: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint: Endpoint = endpoint_from(endpoint, api_key, brand_token, forwarded_for, allow_http=allow_http)
        self._brand = brand
        self._timeout = timeout
        store = MemoryTokens(tokens) if tokens is None or isinstance(tokens, Tokens) else tokens
        self._session = Session(self._endpoint, store, retries, refresh_buffer, clock)
        self._flights: SingleFlight[Tokens] = SingleFlight()
        # Longer than a refresh with all its repetitions can take; only a stuck leader is given up.
        self._patience = (timeout + 5) * (retries + 1) * 2

    @property
    def url(self) -> str:
        """Where requests are posted."""
        return self._endpoint.url

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of the session, None without one."""
        return self._session.tokens

    def _request(self, send: Send) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **send.question.headers}
        return {"url": self.url, "content": send.question.body(), "headers": headers}

    def _options(self) -> dict[str, Any]:
        # A redirect is never followed: it would carry tokens to wherever it points.
        # No cookie is kept: one client may speak for many users.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        return {"timeout": self._timeout, "follow_redirects": False, "cookies": no_cookies}


def reply_of(response: httpx.Response) -> Reply:
    """The answer as flows take it."""
    return Reply(response.status_code, dict(response.headers), response.content)


def network_error(error: httpx.RequestError) -> NetworkError:
    """What httpx met; its text may name the server, never a token."""
    was_sent = not isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol
    )
    if isinstance(error, httpx.TimeoutException):
        return Timeout("the server did not answer in time", was_sent=was_sent)
    return NetworkError(f"the server cannot be reached: {type(error).__name__}", was_sent=was_sent)
