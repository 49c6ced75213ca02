"""What both clients share: the options, and the requests of their session. Thread-safe.

The coroutines suspend only where the client's ``_post``, ``_sleep`` and ``_share`` do.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from keystead_client import _operations
from keystead_client._endpoint import endpoint_from
from keystead_client._protocol import Ask, Operation, Reply, execute, with_headers
from keystead_client._single_flight import Share, SingleFlight
from keystead_client._transport import Bounds
from keystead_client.errors import (
    NetworkError,
    RateLimited,
    RefreshTokenExpired,
    RefreshTokenInvalid,
    RefreshTokenReused,
    ServerError,
    Unauthenticated,
)
from keystead_client.tokens import Tokens, TokenState, TokenStore, is_same_session, no_session, store_of


class AnyClient(ABC):
    """The options and properties of both clients."""

    _share: ClassVar[Share]

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
        self._endpoint = endpoint_from(endpoint, api_key, brand_token, forwarded_for, allow_http=allow_http)
        if brand is None and brand_token is None:
            brand = os.environ.get("KEYSTEAD_BRAND")
        self._brand = brand or None
        self._bounds = Bounds(timeout, max_answer)
        if not (retries >= 0 and refresh_buffer >= 0):
            raise ValueError("retries and refresh_buffer must not be negative")
        self._retries = retries
        self._state = TokenState(store_of(tokens))
        self._buffer = refresh_buffer
        self._now = clock
        self._clock_skew = 0.0  # seconds by which the server's clock is ahead
        # Longer than a refresh with all its retries: followers give up only on a stuck leader.
        self._refreshes: SingleFlight[Tokens] = SingleFlight(patience=(timeout + 5) * (retries + 1) * 2)

    @property
    def brand(self) -> str | None:
        """The brand of the users, a name or an id; None if none was given."""
        return self._brand

    @property
    def is_of_one_brand(self) -> bool:
        """Whether users of other brands are refused: by ``brand``, or by a credential that belongs to a brand."""
        return bool(self._brand or self._endpoint.brand_token or self._endpoint.api_key)

    @property
    def url(self) -> str:
        """The URL to which requests are posted."""
        return self._endpoint.url

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of the session; None without one."""
        return self._state.load()

    @abstractmethod
    async def _post(self, operation: Operation) -> Reply: ...

    @abstractmethod
    async def _sleep(self, seconds: float) -> None: ...

    async def _ask(self, operation: Operation) -> dict[str, Any]:
        return await execute(operation, self._post, self._sleep, self._retries)

    async def _refresh(self, due: Tokens) -> Tokens:
        """New tokens in place of ``due``, whose access token is missing, due or rejected. Coalesced."""
        key = due.auth_token or due.refresh_token or ""
        return await self._share(self._refreshes, key, lambda: self._refresh_alone(due))

    def _exchanging(self, forwarded_for: str | None = None) -> Ask:
        return with_headers(self._ask, self._endpoint.headers(forwarded_for=forwarded_for, is_exchange=True))

    def _asking_as(self, auth_token: str | None, forwarded_for: str | None) -> Ask:
        # Beside the API key the answer would be about what both may do, so the key stays away, unless it alone names
        # the brand: the server refuses a token and a key of two brands.
        is_bound = bool(self._brand or self._endpoint.brand_token)
        headers = self._endpoint.headers(auth_token, forwarded_for=forwarded_for, with_key=not is_bound)
        return with_headers(self._ask, headers)

    async def _refresh_alone(self, due: Tokens) -> Tokens:
        """The same, unless another task or process has refreshed already.

        :raises Unauthenticated: the store holds another session by now.
        """
        old = self._state.current()
        if old is None or old.refresh_token is None:
            raise no_session()
        if not is_same_session(due, old):
            raise Unauthenticated("another session was started meanwhile")
        if old.auth_token is not None and old.auth_token != due.auth_token:
            return old
        try:
            new = await self._exchange(old, old.refresh_token)
        except (RefreshTokenExpired, RefreshTokenInvalid, RefreshTokenReused):
            self._state.lose(old)
            raise
        return self._replace(old, new)

    async def _execute(self, operation: Operation, tokens: Tokens | None) -> dict[str, Any]:
        """With the rights of ``tokens``; None: of the client."""
        token = await self._token(tokens)
        try:
            data = await with_headers(self._ask, self._endpoint.headers(token))(operation)
        except Unauthenticated as error:
            # Only a 401 says that the token was checked and rejected, and that nothing was executed.
            if tokens is None or token is None or error.status != 401 or error.was_executed:
                raise
            token = (await self._refresh(replace(tokens, auth_token=token))).auth_token
            data = await with_headers(self._ask, self._endpoint.headers(token))(operation)
        self._confirm(token)
        return data

    async def _token(self, tokens: Tokens | None) -> str | None:
        """An access token that is still valid; None: the client acts without a user."""
        if tokens is None:
            return None
        token = tokens.auth_token
        if self._is_fresh(tokens, self._buffer) or (tokens.refresh_token is None and token is not None):
            return token
        try:
            return (await self._refresh(tokens)).auth_token
        except (NetworkError, ServerError, RateLimited):
            # The refresh was early: the old token is used until it expires.
            if token is not None and self._is_fresh(tokens, 0):
                return token
            raise

    async def _exchange(self, old: Tokens, refresh_token: str) -> Tokens:
        if old.kind == "standing":
            return replace(old, auth_token=await _operations.get_access_token(self._exchanging(), refresh_token))
        try:
            new = await _operations.refresh_pair(self._exchanging(), refresh_token)
        except RefreshTokenInvalid:
            if old.previous_refresh_token is None:
                raise
            # The new one has never worked: a server whose database was restored may know only the previous one.
            new = await _operations.refresh_pair(self._exchanging(), old.previous_refresh_token)
        return replace(new, previous_refresh_token=refresh_token)

    def _start(self, tokens: Tokens) -> Tokens:
        self._compare_clocks(tokens)
        self._state.start(tokens)
        return tokens

    def _replace(self, old: Tokens, new: Tokens) -> Tokens:
        """Save refreshed tokens; a refresh that ends after a logout or a login changes nothing."""
        while current := self._state.load():
            if current.refresh_token in (old.refresh_token, new.refresh_token):
                if self._state.compare_and_swap(current, new, must_save=False):
                    self._compare_clocks(new)
                    return new
            elif is_same_session(new, current):
                # Another process with the same store has refreshed first, perhaps more than once.
                return current
            else:
                break
        raise Unauthenticated("another session was started meanwhile" if current else "the session was ended meanwhile")

    def _confirm(self, token: str | None) -> None:
        """New tokens have worked: forget the refresh token that they replaced."""
        # A store that fails must not take the answer from the caller.
        with suppress(Exception):
            tokens = self._state.load()
            if tokens is not None and tokens.previous_refresh_token is not None and tokens.auth_token == token:
                self._state.compare_and_swap(tokens, replace(tokens, previous_refresh_token=None))

    def _compare_clocks(self, tokens: Tokens) -> None:
        """Take the server's time from a new token: with a clock that is hours ahead every token would seem expired."""
        if tokens.issued_at is not None:
            self._clock_skew = tokens.issued_at - self._now()

    def _is_fresh(self, tokens: Tokens, buffer: float) -> bool:
        return tokens.is_fresh(self._now() + self._clock_skew, buffer)
