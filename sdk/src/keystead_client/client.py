"""The client for threads: drives the flows over httpx."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Self, TypedDict, TypeVar, Unpack

import httpx

from keystead_client import _operations
from keystead_client._endpoint import endpoint_from, require_token
from keystead_client._protocol import Flow, Operation, Refresh, Reply, Send, Sleep, Step, advance, execute
from keystead_client._session import Session
from keystead_client._single_flight import SingleFlight
from keystead_client._transport import Bounds, ThreadConnections, send
from keystead_client.entities import Entity
from keystead_client.errors import KeysteadError, RefreshTokenInvalid, Unauthenticated
from keystead_client.tokens import Kind, Tokens, TokenStore, store_of

T = TypeVar("T")
ME = ("id", "email", "username", "verified", "is_anonymous", "brand", "permissions")


class ClientOptions(TypedDict, total=False):
    """The options of both clients, beside the endpoint and the transport."""

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


class AnyClient:
    """The options, properties and flows of both clients."""

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
        self._session = Session(self._endpoint, store_of(tokens), retries, refresh_buffer, clock)
        self._flights: SingleFlight[Tokens] = SingleFlight()
        # Longer than a refresh with all its retries: followers give up only on a stuck leader.
        self._patience = (timeout + 5) * (retries + 1) * 2

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
        return self._session.tokens

    def _log_in_with(
        self, email: str, password: str, brand: str | None, session: Kind | None, forwarded_for: str | None
    ) -> Flow[Tokens]:
        headers = self._endpoint.headers(forwarded_for=forwarded_for)
        return _operations.log_in(
            email, password, brand=brand or self._brand, kind=session, headers=headers, retries=self._retries
        )

    def _refresh_with(self, refresh_token: str | None, forwarded_for: str | None) -> Flow[Tokens]:
        refresh_token = require_token("refresh_token", refresh_token, RefreshTokenInvalid)
        headers = self._endpoint.headers(forwarded_for=forwarded_for, is_exchange=True)
        return _operations.refresh(refresh_token, headers=headers, retries=self._retries)

    def _me_with(
        self, auth_token: str | None, select: Sequence[str], forwarded_for: str | None
    ) -> Flow[dict[str, Any]]:
        headers = self._headers_with(auth_token, forwarded_for)
        return _operations.me(select, brand=self._brand, headers=headers, retries=self._retries)

    def _execute_with(
        self, auth_token: str | None, operation: Operation, forwarded_for: str | None
    ) -> Flow[dict[str, Any]]:
        headers = self._headers_with(auth_token, forwarded_for)
        return execute(operation.with_headers(headers), self._retries)

    def _log_out_with(self, auth_token: str | None, refresh_token: str | None, forwarded_for: str | None) -> Flow[None]:
        if refresh_token:
            refresh_token = require_token("refresh_token", refresh_token, RefreshTokenInvalid)
            headers = self._endpoint.headers(forwarded_for=forwarded_for, is_exchange=True)
        else:
            headers = self._headers_with(auth_token, forwarded_for)
        return _operations.log_out(refresh_token, headers=headers, retries=self._retries)

    def _headers_with(self, auth_token: str | None, forwarded_for: str | None) -> dict[str, str]:
        # Beside the API key the answer would be about what both may do, so the key stays away, unless it alone names
        # the brand: the server refuses a token and a key of two brands.
        is_bound = bool(self._brand or self._endpoint.brand_token)
        auth_token = require_token("auth_token", auth_token, Unauthenticated)
        return self._endpoint.headers(auth_token, forwarded_for=forwarded_for, with_key=not is_bound)


class Client(AnyClient):
    """A client of one Keystead server with at most one session. Thread-safe.

    :param endpoint: the server's root or its ``/graphql``; default: ``KEYSTEAD_ENDPOINT``.
    :param api_key: the program acts by itself, without a login; default: ``KEYSTEAD_API_KEY``.
    :param brand_token: names the brand of an app; default: ``KEYSTEAD_BRAND_TOKEN``.
    :param brand: where users log in, a name or an id; ``me_with`` refuses users of other brands. Default without a
        brand token: ``KEYSTEAD_BRAND``.
    :param tokens: a store such as ``FileTokens(path)``, or ``Tokens`` to start with; default: none, in memory.
    :param timeout: seconds, half of them for the connection; 10 by default. It bounds each wait of a request, and the
        whole request with ``AsyncClient``.
    :param max_answer: bytes of an answer, 4 MiB by default; the server sends 1 MiB at most.
    :param refresh_buffer: seconds before its expiry at which an access token is refreshed, 60 by default.
    :param retries: how often a request that is safe to retry is retried, 2 by default.
    :param forwarded_for: the address of the end user.
    :param allow_http: the endpoint may be plain http though it is another computer.
    :param transport: an httpx transport instead of TCP, for tests or for a proxy.
    :param clock: the time in seconds since 1970, for tests.
    :raises ValueError: an invalid option, or no endpoint.
    :raises TypeError: ``tokens`` is neither a store nor ``Tokens``.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(endpoint, **options)
        self._http = ThreadConnections(transport, self._bounds)

    def login(self, email: str, password: str, *, brand: str | None = None, session: Kind = "pair") -> Tokens:
        """Log in and keep the tokens. ``session="standing"`` is for a device that stays logged in."""
        return self._run(self._session.log_in(email, password, brand or self._brand, session))

    def create_me(self) -> Tokens:
        """Become a new anonymous user with a standing session. Needs a brand token."""
        return self._run(self._session.create_me())

    def get_access_token(self, expires_in: int | None = None) -> str:
        """A new access token of the standing session, to pass on; ``expires_in`` is seconds, 900 by default.

        :raises RequestError: for a pair session; its access token is ``tokens.auth_token``.
        """
        return self._run(self._session.access_token(expires_in))

    def refresh(self) -> Tokens:
        """Refresh the tokens now. Raises ``NotAuthenticated``."""
        return self._refresh(self._session.due())

    def logout(self) -> None:
        """End the session, here and on the server."""
        self._run(self._session.log_out())

    def logout_everywhere(self, *, force: bool = False) -> None:
        """End all sessions of the user. ``force``: also of one who could not log in again (``NoLoginMethod``)."""
        self._run(self._session.log_out_everywhere(force))

    def me(self, select: Sequence[str] = ME) -> dict[str, Any]:
        """The user. Raises ``NotAuthenticated``."""
        return _operations.user_of(self.execute(_operations.me_document(select)))

    def execute(
        self, document: str, variables: Mapping[str, Any] | None = None, operation_name: str | None = None
    ) -> dict[str, Any]:
        """The ``data`` of any GraphQL document. Raises the first error of the answer; it holds the partial data."""
        return self._run(self._session.execute(Operation.of(document, variables, operation_name)))

    def entity(self, name: str) -> Entity:
        """The records of one entity, for example ``customer``."""
        return Entity(name, self.execute)

    def login_with(
        self,
        email: str,
        password: str,
        *,
        brand: str | None = None,
        session: Kind | None = None,
        forwarded_for: str | None = None,
    ) -> Tokens:
        """Log in, and keep no tokens. ``session`` None: a pair session if the brand has them, else a standing one."""
        return self._run(self._log_in_with(email, password, brand, session, forwarded_for))

    def refresh_with(self, refresh_token: str | None, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens of a session of either kind; a standing one keeps its refresh token.

        :raises NotAuthenticated: the session is over, or there is no token.
        """
        return self._run(self._refresh_with(refresh_token, forwarded_for))

    def me_with(
        self, auth_token: str | None, select: Sequence[str] = ME, *, forwarded_for: str | None = None
    ) -> dict[str, Any]:
        """The user of an access token.

        :raises NotAuthenticated: the token is invalid, of another brand than the client's, or missing.
        """
        return self._run(self._me_with(auth_token, select, forwarded_for))

    def execute_with(
        self,
        auth_token: str | None,
        document: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        *,
        forwarded_for: str | None = None,
    ) -> dict[str, Any]:
        """As :meth:`execute`, with the rights of an access token; without one it raises ``NotAuthenticated``."""
        operation = Operation.of(document, variables, operation_name)
        return self._run(self._execute_with(auth_token, operation, forwarded_for))

    def logout_with(
        self, auth_token: str | None = None, *, refresh_token: str | None = None, forwarded_for: str | None = None
    ) -> None:
        """End the session of an access token, or with ``refresh_token`` that of a refresh token (RFC 7009).

        A refresh token needs nothing beside it; one whose session is over, or that is unknown, changes nothing.

        :raises NotAuthenticated: the session of the access token is over, or no token is given.
        """
        self._run(self._log_out_with(auth_token, refresh_token, forwarded_for))

    def close(self) -> None:
        """Close the connections."""
        self._http.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        # Closed when it is given up, not by the garbage collector: its cleanup must not run after a later login.
        with closing(flow):
            outcome: Reply | str | KeysteadError | None = None
            try:
                while True:
                    step = advance(flow, outcome)
                    try:
                        outcome = self._take(step)
                    except KeysteadError as error:
                        outcome = error
            except StopIteration as done:
                result: T = done.value
                return result

    def _take(self, step: Step) -> Reply | str | None:
        match step:
            case Send(operation):
                http = self._http.client
                return send(http, operation.build(http, self.url), self._bounds)
            case Sleep(seconds):
                time.sleep(seconds)
                return None
            case Refresh():
                return self._refresh(step).auth_token

    def _refresh(self, due: Refresh) -> Tokens:
        return self._flights.run(due.key, lambda: self._run(self._session.refresh(due)), self._patience)
