"""The client for ``await``. Its coroutines are those of the client for threads, too, where they never suspend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypedDict, Unpack

import httpx

from keystead_client import _operations
from keystead_client._endpoint import require_token
from keystead_client._protocol import Operation, Reply, with_headers
from keystead_client._session import AnyClient
from keystead_client._single_flight import SingleFlight
from keystead_client._transport import LoopConnections, send_async
from keystead_client.entities import AsyncEntity
from keystead_client.errors import NotAuthenticated, RefreshTokenInvalid, RequestError, Unauthenticated
from keystead_client.tokens import LOST, Kind, Tokens, TokenStore, no_session

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


class AsyncClient(AnyClient):
    """As :class:`Client`, with ``await``: for the tasks of any number of event loops. The options are the same.

    The timeout bounds each request from its start to the last byte of the answer.
    """

    _share = staticmethod(SingleFlight.run_in_task)

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(endpoint, **options)
        self._http = LoopConnections(transport, self._bounds)

    async def login(self, email: str, password: str, *, brand: str | None = None, session: Kind = "pair") -> Tokens:
        """Log in and keep the tokens. ``session="standing"`` is for a device that stays logged in."""
        ask = with_headers(self._ask, self._endpoint.headers())
        return self._start(await _operations.log_in(ask, email, password, brand or self._brand, session))

    async def create_me(self) -> Tokens:
        """Become a new anonymous user with a standing session. Needs a brand token."""
        return self._start(await _operations.create_me(with_headers(self._ask, self._endpoint.headers())))

    async def get_access_token(self, expires_in: int | None = None) -> str:
        """A new access token of the standing session, to pass on; ``expires_in`` is seconds, 900 by default.

        :raises RequestError: for a pair session; its access token is ``tokens.auth_token``.
        """
        tokens = self._state.current()
        if tokens is None or tokens.refresh_token is None:
            raise no_session()
        if tokens.kind != "standing":
            raise RequestError('only a standing session issues access tokens: log in with session="standing"')
        try:
            return await _operations.get_access_token(self._exchanging(), tokens.refresh_token, expires_in)
        except RefreshTokenInvalid:
            self._state.lose(tokens)
            raise

    async def refresh(self) -> Tokens:
        """Refresh the tokens now. Raises ``NotAuthenticated``."""
        return await self._refresh(self._state.current() or LOST)

    async def logout(self) -> None:
        """End the session, here whatever the server answers, and on the server."""
        tokens = None
        try:
            tokens = self._state.current()
            if tokens is not None:
                await self._execute(Operation(_operations.LOG_OUT), tokens)
        except NotAuthenticated:
            pass  # it is over already
        finally:
            self._state.clear(tokens)

    async def logout_everywhere(self, *, force: bool = False) -> None:
        """End all sessions of the user. ``force``: also of one who could not log in again (``NoLoginMethod``)."""
        tokens = self._state.current()
        await self._execute(Operation(_operations.LOG_OUT_EVERYWHERE, {"force": force}), tokens)
        self._state.clear(tokens)

    async def me(self, select: Sequence[str] = ME) -> dict[str, Any]:
        """The user. Raises ``NotAuthenticated``."""
        operation = Operation(_operations.me_document(select), is_idempotent=True)
        return _operations.user_of(await self._execute(operation, self._state.current()))

    async def execute(
        self, document: str, variables: Mapping[str, Any] | None = None, operation_name: str | None = None
    ) -> dict[str, Any]:
        """The ``data`` of any GraphQL document. Raises the first error of the answer; it holds the partial data."""
        return await self._execute(Operation.of(document, variables, operation_name), self._state.current())

    def entity(self, name: str) -> AsyncEntity:
        """The records of one entity, for example ``customer``."""
        return AsyncEntity(name, self.execute)

    async def login_with(
        self,
        email: str,
        password: str,
        *,
        brand: str | None = None,
        session: Kind | None = None,
        forwarded_for: str | None = None,
    ) -> Tokens:
        """Log in, and keep no tokens. ``session`` None: a pair session if the brand has them, else a standing one."""
        ask = with_headers(self._ask, self._endpoint.headers(forwarded_for=forwarded_for))
        return await _operations.log_in(ask, email, password, brand or self._brand, session)

    async def refresh_with(self, refresh_token: str | None, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens of a session of either kind; a standing one keeps its refresh token.

        :raises NotAuthenticated: the session is over, or there is no token.
        """
        refresh_token = require_token("refresh_token", refresh_token, RefreshTokenInvalid)
        return await _operations.refresh(self._exchanging(forwarded_for), refresh_token)

    async def me_with(
        self, auth_token: str | None, select: Sequence[str] = ME, *, forwarded_for: str | None = None
    ) -> dict[str, Any]:
        """The user of an access token.

        :raises NotAuthenticated: the token is invalid, of another brand than the client's, or missing.
        """
        auth_token = require_token("auth_token", auth_token, Unauthenticated)
        ask, ask_alone = (self._asking_as(token, forwarded_for) for token in (auth_token, None))
        return await _operations.me(ask, ask_alone, auth_token, select, self._brand)

    async def execute_with(
        self,
        auth_token: str | None,
        document: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        *,
        forwarded_for: str | None = None,
    ) -> dict[str, Any]:
        """As :meth:`execute`, with the rights of an access token; without one it raises ``NotAuthenticated``."""
        auth_token = require_token("auth_token", auth_token, Unauthenticated)
        return await self._asking_as(auth_token, forwarded_for)(Operation.of(document, variables, operation_name))

    async def logout_with(
        self, auth_token: str | None = None, *, refresh_token: str | None = None, forwarded_for: str | None = None
    ) -> None:
        """End the session of an access token, or with ``refresh_token`` that of a refresh token (RFC 7009).

        A refresh token needs nothing beside it; one whose session is over, or that is unknown, changes nothing.

        :raises NotAuthenticated: the session of the access token is over, or no token is given.
        """
        if refresh_token:
            variables = {"token": require_token("refresh_token", refresh_token, RefreshTokenInvalid)}
            by_token = Operation(_operations.LOG_OUT_BY_TOKEN, variables, is_idempotent=True)
            await self._exchanging(forwarded_for)(by_token)
        else:
            auth_token = require_token("auth_token", auth_token, Unauthenticated)
            await self._asking_as(auth_token, forwarded_for)(Operation(_operations.LOG_OUT))

    async def close(self) -> None:
        """Await a refresh in progress, then close the connections of this event loop."""
        await self._refreshes.finish()
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _post(self, operation: Operation) -> Reply:
        http = self._http.client
        return await send_async(http, operation.build(http, self.url), self._bounds)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
