"""What the two clients have in common: their options, and what a request of theirs looks like."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypedDict

import httpx

from keystead_client.endpoint import Endpoint, endpoint_from
from keystead_client.errors import NotAuthenticated, Unauthenticated
from keystead_client.flow import Send
from keystead_client.sending import Bounds
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
    max_answer: int
    refresh_buffer: float
    retries: int
    forwarded_for: str | None
    allow_http: bool
    clock: Callable[[], float]


def given(name: str, token: object, missing: type[NotAuthenticated]) -> str:
    """The token, if it is one. Raises ``missing`` without one, ``TypeError`` for what is no text."""
    if not isinstance(token, str | None):
        raise TypeError(f"{name}: the text of a token, not {type(token).__name__}")
    if not token:
        raise missing(f"{name}: there is none, so nobody is logged in")
    return token


def _store(tokens: TokenStore | Tokens | None) -> TokenStore:
    if tokens is None or isinstance(tokens, Tokens):
        return MemoryTokens(tokens)
    is_store = callable(getattr(tokens, "load", None)) and callable(getattr(tokens, "save", None))
    if not is_store or isinstance(tokens, type):
        raise TypeError(f"tokens: a store such as FileTokens(path), or Tokens, not {type(tokens).__name__}")
    return tokens


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
        max_answer: int = 4 * 1024 * 1024,
        refresh_buffer: float = 60,
        retries: int = 2,
        forwarded_for: str | None = None,
        allow_http: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint: Endpoint = endpoint_from(endpoint, api_key, brand_token, forwarded_for, allow_http=allow_http)
        if brand is None and brand_token is None:
            brand = os.environ.get("KEYSTEAD_BRAND")
        self._brand = brand or None
        self._bounds = Bounds(timeout, max_answer)
        if not (retries >= 0 and refresh_buffer >= 0):
            raise ValueError("retries and refresh_buffer are not negative")
        self._session = Session(self._endpoint, _store(tokens), retries, refresh_buffer, clock)
        self._flights: SingleFlight[Tokens] = SingleFlight()
        # Longer than a refresh with all its repetitions can take; only a stuck leader is given up.
        self._patience = (timeout + 5) * (retries + 1) * 2

    @property
    def brand(self) -> str | None:
        """The brand whose users are meant, a name or an id; None: not said."""
        return self._brand

    @property
    def is_of_one_brand(self) -> bool:
        """Whether users of other brands are told apart: by the brand, or by a credential that belongs to one."""
        return bool(self._brand or self._endpoint.brand_token or self._endpoint.api_key)

    @property
    def url(self) -> str:
        """Where requests are posted."""
        return self._endpoint.url

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of the session, None without one."""
        return self._session.tokens

    def _headers_of(self, auth_token: str | None, forwarded_for: str | None) -> dict[str, str]:
        """Of a request about somebody else's token. Raises ``NotAuthenticated`` without one: it would be nobody's.

        With the key beside it the answer would be about what both may do, so it stays away, unless nothing else says
        whose users are meant: the server refuses a token and a key of two brands.
        """
        is_bound = bool(self._brand or self._endpoint.brand_token)
        auth_token = given("auth_token", auth_token, Unauthenticated)
        return self._endpoint.headers(auth_token, forwarded_for=forwarded_for, with_key=not is_bound)

    def _request(self, http: httpx.Client | httpx.AsyncClient, step: Send) -> httpx.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **step.question.headers}
        return http.build_request("POST", self.url, content=step.question.body(), headers=headers)
