"""Connections for ``await``: each belongs to the event loop on which it was opened, and is of no use on another."""

from __future__ import annotations

import asyncio
import ssl

import httpx

from keystead_client.sending import Bounds, open_async_client


class AsyncClients:
    """One httpx client for each event loop that asks: of ``asyncio.run`` called twice, or of threads with loops.

    A ``transport`` that was given serves all of them.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None, bounds: Bounds) -> None:
        self._transport = transport
        self._bounds = bounds
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    @property
    def here(self) -> httpx.AsyncClient:
        """That of the event loop that runs in this thread."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            self._forget_ended_loops()
            client = self._clients[loop] = open_async_client(self._transport or self._open_transport(), self._bounds)
        return client

    async def close(self) -> None:
        """Closes what was opened on this event loop. What is asked afterwards opens anew."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _open_transport(self) -> httpx.AsyncBaseTransport:
        # To read all the certificates takes some 20 ms.
        self._tls = self._tls or httpx.create_ssl_context()
        return httpx.AsyncHTTPTransport(verify=self._tls)

    def _forget_ended_loops(self) -> None:
        """Their connections can be neither used nor closed any more."""
        for loop in [loop for loop in list(self._clients) if loop.is_closed()]:
            self._clients.pop(loop, None)
