"""The client for ``await``: it drives the flows over httpx, from any task."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from keystead_client import _operations
from keystead_client._protocol import Flow, Question, Refresh, Reply, Send, Sleep, Step, ask, resume
from keystead_client._transport import AsyncClients, send_async
from keystead_client.client import ME, ClientOptions, Configured, given
from keystead_client.entities import AsyncEntity
from keystead_client.errors import KeysteadError, RefreshTokenInvalid
from keystead_client.tokens import Kind, Tokens

T = TypeVar("T")


class AsyncClient(Configured):
    """Talks to one Keystead server for one session at most, from any task.

    What the server refuses, and what goes wrong on the way to it, raises ``KeysteadError``.

    :param endpoint: the server's root or its ``/graphql``; default: ``KEYSTEAD_ENDPOINT``.
    :param api_key: with it the program acts by itself, no login needed; default: ``KEYSTEAD_API_KEY``.
    :param brand_token: which brand's app this is; default: ``KEYSTEAD_BRAND_TOKEN``.
    :param brand: where users log in, a name or an id; ``me_with`` refuses users of the others. Default, where no brand
        token is given: ``KEYSTEAD_BRAND``.
    :param tokens: a store, as ``FileTokens(path)``, or ``Tokens`` to begin with; default: in memory, none.
    :param timeout: seconds from the first step of a request to the last byte of its answer, 10 by default.
    :param max_answer: bytes of an answer that are read, 4 MiB by default; the server sends 1 MiB at most.
    :param refresh_buffer: seconds before its end at which an access token is renewed, 60 by default.
    :param retries: how often a request is repeated that is safe to repeat, 2 by default.
    :param forwarded_for: the address of the end user for whom all of this is done.
    :param allow_http: the endpoint may be plain http though it is another computer.
    :param transport: an httpx transport instead of TCP: for tests, or for a proxy.
    :param clock: the time in seconds since 1970, for tests.
    :raises ValueError: for options that cannot be right, or no endpoint; TypeError: ``tokens`` that are something else.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(endpoint, **options)
        self._http = AsyncClients(transport, self._bounds)

    # ------------------------------------------------------------------------------------------- the client's session

    async def login(self, email: str, password: str, *, brand: str | None = None, session: Kind = "pair") -> Tokens:
        """Log in; the tokens are kept. Raises ``InvalidCredentials``.

        ``session="standing"`` is for a device that stays logged in. ``brand``: another than the client's own.
        """
        return await self._run(self._session.log_in(email, password, brand or self._brand, session))

    async def create_me(self) -> Tokens:
        """Become a new anonymous user, with a standing session. Needs a brand token."""
        return await self._run(self._session.create_me())

    async def get_access_token(self, expires_in: int | None = None) -> str:
        """An access token of the standing session, to be given away; ``expires_in`` is seconds, 900 by default.

        Raises ``RequestError`` for a pair session: its access token is ``tokens.auth_token``.
        """
        return await self._run(self._session.access_token(expires_in))

    async def refresh(self) -> Tokens:
        """Renew the access token now. Raises ``NotAuthenticated`` where the session is over."""
        return await self._refresh(self._session.due())

    async def logout(self) -> None:
        """End the session, here and on the server."""
        await self._run(self._session.log_out())

    async def logout_everywhere(self, *, force: bool = False) -> None:
        """End all sessions of the user. Raises ``NoLoginMethod`` where there is no way back in, unless ``force``."""
        await self._run(self._session.log_out_everywhere(force))

    async def me(self, select: Sequence[str] = ME) -> dict[str, Any]:
        """The user. Raises ``NotAuthenticated``."""
        return _operations.user_of(await self.execute(_operations.me_document(select)))

    async def execute(
        self, document: str, variables: Mapping[str, Any] | None = None, operation_name: str | None = None
    ) -> dict[str, Any]:
        """The ``data`` of any GraphQL document. The first error of an answer is raised; it holds the partial data."""
        return await self._run(self._session.execute(Question.of(document, variables, operation_name)))

    def entity(self, name: str) -> AsyncEntity:
        """The records of one entity, for example ``customer``."""
        return AsyncEntity(name, self.execute)

    # --------------------------------------------------------------------------- sessions of others: nothing is kept

    async def login_with(
        self,
        email: str,
        password: str,
        *,
        brand: str | None = None,
        session: Kind | None = None,
        forwarded_for: str | None = None,
    ) -> Tokens:
        """Log somebody in. ``session`` None: a pair session where the brand has them, else a standing one."""
        headers = self._endpoint.headers(forwarded_for=forwarded_for)
        flow = _operations.log_in(
            email, password, brand=brand or self._brand, kind=session, headers=headers, retries=self._session.retries
        )
        return await self._run(flow)

    async def refresh_with(self, refresh_token: str | None, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens of a session of either kind; a standing one keeps its refresh token.

        Raises ``NotAuthenticated`` where the session is over, and at once for no token.
        """
        refresh_token = given("refresh_token", refresh_token, RefreshTokenInvalid)
        headers = self._endpoint.headers(forwarded_for=forwarded_for, is_exchange=True)
        return await self._run(_operations.refresh(refresh_token, headers=headers, retries=self._session.retries))

    async def me_with(
        self, auth_token: str | None, select: Sequence[str] = ME, *, forwarded_for: str | None = None
    ) -> dict[str, Any]:
        """The user of an access token.

        Raises ``NotAuthenticated`` where it is no longer good, or of another brand than the client's; at once for none.
        """
        headers = self._headers_of(auth_token, forwarded_for)
        return await self._run(
            _operations.me(select, brand=self._brand, headers=headers, retries=self._session.retries)
        )

    async def execute_with(
        self,
        auth_token: str | None,
        document: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        *,
        forwarded_for: str | None = None,
    ) -> dict[str, Any]:
        """The ``data`` of any GraphQL document, with the rights of an access token.

        Raises as :meth:`execute` does, and ``NotAuthenticated`` at once for no token: never asks as nobody.
        """
        question = Question.of(document, variables, operation_name)
        asked = question.with_headers(self._headers_of(auth_token, forwarded_for))
        return await self._run(ask(asked, self._session.retries))

    async def logout_with(
        self, auth_token: str | None = None, *, refresh_token: str | None = None, forwarded_for: str | None = None
    ) -> None:
        """End the session of an access token, or with ``refresh_token`` that of a refresh token (RFC 7009).

        A refresh token is enough by itself; one that is unknown, or whose session is over, changes nothing.

        :raises NotAuthenticated: the session of the access token is over, or no token is given.
        """
        if refresh_token:
            headers = self._endpoint.headers(forwarded_for=forwarded_for, is_exchange=True)
        else:
            headers = self._headers_of(auth_token, forwarded_for)
        await self._run(_operations.log_out(refresh_token, headers=headers, retries=self._session.retries))

    # ------------------------------------------------------------------------------------------------- driving flows

    async def close(self) -> None:
        """Let a refresh that is under way end, then close the connections."""
        await self._flights.finish()
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        # Closed at once where it is given up: what it does at its end must not happen later, out of the blue.
        with closing(flow):
            outcome: Reply | str | KeysteadError | None = None
            try:
                while True:
                    step = resume(flow, outcome)
                    try:
                        outcome = await self._take(step)
                    except KeysteadError as error:
                        outcome = error
            except StopIteration as done:
                result: T = done.value
                return result

    async def _take(self, step: Step) -> Reply | str | None:
        match step:
            case Send():
                http = self._http.here
                return await send_async(http, self._request(http, step), self._bounds)
            case Sleep(seconds):
                await asyncio.sleep(seconds)
                return None
            case Refresh():
                return (await self._refresh(step)).auth_token

    async def _refresh(self, due: Refresh) -> Tokens:
        return await self._flights.run_async(due.key, lambda: self._run(self._session.refresh(due)), self._patience)
