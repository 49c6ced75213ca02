"""The client for threads: the coroutines of ``AsyncClient`` over a blocking transport, so that they never suspend."""

from __future__ import annotations

import time
from typing import Self, Unpack

import httpx

from keystead_client._protocol import Operation, Reply
from keystead_client._session import AnyClient
from keystead_client._single_flight import SingleFlight, blocking
from keystead_client._transport import ThreadConnections, send
from keystead_client.async_client import AsyncClient, ClientOptions
from keystead_client.entities import Entity


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

    _share = staticmethod(SingleFlight.run_in_thread)

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(endpoint, **options)
        self._http = ThreadConnections(transport, self._bounds)

    login = blocking(AsyncClient.login)
    create_me = blocking(AsyncClient.create_me)
    get_access_token = blocking(AsyncClient.get_access_token)
    refresh = blocking(AsyncClient.refresh)
    logout = blocking(AsyncClient.logout)
    logout_everywhere = blocking(AsyncClient.logout_everywhere)
    me = blocking(AsyncClient.me)
    execute = blocking(AsyncClient.execute)
    login_with = blocking(AsyncClient.login_with)
    refresh_with = blocking(AsyncClient.refresh_with)
    me_with = blocking(AsyncClient.me_with)
    execute_with = blocking(AsyncClient.execute_with)
    logout_with = blocking(AsyncClient.logout_with)

    def entity(self, name: str) -> Entity:
        """The records of one entity, for example ``customer``."""
        return Entity(name, self.execute)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def _post(self, operation: Operation) -> Reply:
        http = self._http.client
        return send(http, operation.build(http, self.url), self._bounds)

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 (blocking is the purpose)
