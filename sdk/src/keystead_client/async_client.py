"""The client for ``await``: drives the flows over httpx, from any task."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Self, TypeVar, Unpack

import httpx

from keystead_client import _operations
from keystead_client._protocol import Flow, Operation, Refresh, Reply, Send, Sleep, Step, advance
from keystead_client._transport import LoopConnections, send_async
from keystead_client.client import ME, AnyClient, ClientOptions
from keystead_client.entities import AsyncEntity
from keystead_client.errors import KeysteadError
from keystead_client.tokens import Kind, Tokens

T = TypeVar("T")


class AsyncClient(AnyClient):
    """As :class:`Client`, with ``await``: for the tasks of any number of event loops. The options are the same.

    The timeout bounds each request from its start to the last byte of the answer.
    """

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
        """As :meth:`Client.login`."""
        return await self._run(self._session.log_in(email, password, brand or self._brand, session))

    async def create_me(self) -> Tokens:
        """As :meth:`Client.create_me`."""
        return await self._run(self._session.create_me())

    async def get_access_token(self, expires_in: int | None = None) -> str:
        """As :meth:`Client.get_access_token`."""
        return await self._run(self._session.access_token(expires_in))

    async def refresh(self) -> Tokens:
        """As :meth:`Client.refresh`."""
        return await self._refresh(self._session.due())

    async def logout(self) -> None:
        """As :meth:`Client.logout`."""
        await self._run(self._session.log_out())

    async def logout_everywhere(self, *, force: bool = False) -> None:
        """As :meth:`Client.logout_everywhere`."""
        await self._run(self._session.log_out_everywhere(force))

    async def me(self, select: Sequence[str] = ME) -> dict[str, Any]:
        """As :meth:`Client.me`."""
        return _operations.user_of(await self.execute(_operations.me_document(select)))

    async def execute(
        self, document: str, variables: Mapping[str, Any] | None = None, operation_name: str | None = None
    ) -> dict[str, Any]:
        """As :meth:`Client.execute`."""
        return await self._run(self._session.execute(Operation.of(document, variables, operation_name)))

    def entity(self, name: str) -> AsyncEntity:
        """As :meth:`Client.entity`."""
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
        """As :meth:`Client.login_with`."""
        return await self._run(self._log_in_with(email, password, brand, session, forwarded_for))

    async def refresh_with(self, refresh_token: str | None, *, forwarded_for: str | None = None) -> Tokens:
        """As :meth:`Client.refresh_with`."""
        return await self._run(self._refresh_with(refresh_token, forwarded_for))

    async def me_with(
        self, auth_token: str | None, select: Sequence[str] = ME, *, forwarded_for: str | None = None
    ) -> dict[str, Any]:
        """As :meth:`Client.me_with`."""
        return await self._run(self._me_with(auth_token, select, forwarded_for))

    async def execute_with(
        self,
        auth_token: str | None,
        document: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        *,
        forwarded_for: str | None = None,
    ) -> dict[str, Any]:
        """As :meth:`Client.execute_with`."""
        operation = Operation.of(document, variables, operation_name)
        return await self._run(self._execute_with(auth_token, operation, forwarded_for))

    async def logout_with(
        self, auth_token: str | None = None, *, refresh_token: str | None = None, forwarded_for: str | None = None
    ) -> None:
        """As :meth:`Client.logout_with`."""
        await self._run(self._log_out_with(auth_token, refresh_token, forwarded_for))

    async def close(self) -> None:
        """Await a refresh in progress, then close the connections of this event loop."""
        await self._flights.finish()
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        # Closed when it is given up, not by the garbage collector: its cleanup must not run after a later login.
        with closing(flow):
            outcome: Reply | str | KeysteadError | None = None
            try:
                while True:
                    step = advance(flow, outcome)
                    try:
                        outcome = await self._take(step)
                    except KeysteadError as error:
                        outcome = error
            except StopIteration as done:
                result: T = done.value
                return result

    async def _take(self, step: Step) -> Reply | str | None:
        match step:
            case Send(operation):
                http = self._http.client
                return await send_async(http, operation.build(http, self.url), self._bounds)
            case Sleep(seconds):
                await asyncio.sleep(seconds)
                return None
            case Refresh():
                return (await self._refresh(step)).auth_token

    async def _refresh(self, due: Refresh) -> Tokens:
        return await self._flights.run_async(due.key, lambda: self._run(self._session.refresh(due)), self._patience)
