"""The transport from a verifier to a server in this process."""

from __future__ import annotations

import asyncio

import httpx

from keystead.web.app import Application

UNREACHED = "unreachable"


class InProcess(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Sends to the application on the test's event loop, from tasks of it and from threads; counts what is sent."""

    def __init__(self, application: Application) -> None:
        self._asgi = httpx.ASGITransport(app=application, client=("192.0.2.7", 4711))
        self._loop = asyncio.get_running_loop()
        self.asked: list[httpx.Request] = []
        self.was_asked = asyncio.Event()
        self.is_away = False
        self.answers_instead: httpx.Response | None = None
        self.gate: asyncio.Event | None = None
        """Closed: the server is not reached until it opens."""
        self.holds_answers: asyncio.Event | None = None
        """Closed: what the server has answered arrives once it opens."""
        self.has_answer = asyncio.Event()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """For threads other than the loop's own."""
        return asyncio.run_coroutine_threadsafe(self.handle_async_request(request), self._loop).result(10)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """For the loop."""
        self.asked.append(request)
        self.was_asked.set()
        if self.gate:
            await self.gate.wait()
        if self.is_away:
            raise httpx.ConnectError(UNREACHED)
        if self.answers_instead:
            return self.answers_instead
        response = await self._asgi.handle_async_request(request)
        # Whole, so that both kinds of client can read it.
        content = await response.aread()
        self.has_answer.set()
        if self.holds_answers:
            await self.holds_answers.wait()
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(content))


async def log_out(issuer: InProcess, token: str) -> None:
    """Ends the session of the token; what is counted begins after that."""
    client = httpx.AsyncClient(transport=issuer, headers={"authorization": token})
    answer = await client.post(
        "https://auth.example.com/graphql", json={"query": "mutation { logout { data { success } } }"}
    )
    assert answer.json()["data"]["logout"]
    issuer.asked.clear()
