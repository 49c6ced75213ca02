"""What goes wrong on the way, with and without ``await``."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from keystead_client import AsyncClient, Client, NetworkError, Tokens
from keystead_client.errors import Timeout

URL = "https://id.example.com"
NOT_SENT = [httpx.ConnectError("no"), httpx.ConnectTimeout("no"), httpx.PoolTimeout("no")]
PERHAPS_SENT = [httpx.ReadError("no"), httpx.ReadTimeout("no"), httpx.RemoteProtocolError("no"), httpx.WriteError("no")]
MUTATION = "mutation { logout { data { success } } }"


class Failing:
    """Fails so many times, then answers."""

    def __init__(self, failure: Exception, times: int) -> None:
        self.asked = 0
        self._failure = failure
        self._times = times

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The next answer."""
        self.asked += 1
        if self.asked <= self._times:
            raise self._failure
        return httpx.Response(200, json={"data": {"up": True}})


@pytest.mark.parametrize("failure", [*NOT_SENT, *PERHAPS_SENT], ids=repr)
async def test_a_query_gets_through_at_last(failure: Exception) -> None:
    way = Failing(failure, 1)
    async with AsyncClient(URL, transport=httpx.MockTransport(way)) as client:
        assert await client.execute("{ up }") == {"up": True}
    assert way.asked == 2
    way = Failing(failure, 1)
    with Client(URL, transport=httpx.MockTransport(way)) as threaded:
        assert threaded.execute("{ up }") == {"up": True}
    assert way.asked == 2


@pytest.mark.parametrize("failure", PERHAPS_SENT, ids=repr)
async def test_a_mutation_that_may_have_arrived_is_not_sent_again(failure: Exception) -> None:
    way = Failing(failure, 1)
    async with AsyncClient(URL, transport=httpx.MockTransport(way)) as client:
        with pytest.raises(NetworkError) as caught:
            await client.execute(MUTATION)
        with pytest.raises(NetworkError):
            way.asked = 0
            await client.login_with("ann@example.com", "rainbow123")
    assert caught.value.was_sent is True
    assert isinstance(caught.value, Timeout) is isinstance(failure, httpx.TimeoutException)
    assert way.asked == 1


@pytest.mark.parametrize("failure", NOT_SENT, ids=repr)
async def test_a_mutation_that_did_not_arrive_is_sent_again(failure: Exception) -> None:
    way = Failing(failure, 1)
    async with AsyncClient(URL, transport=httpx.MockTransport(way)) as client:
        assert await client.execute(MUTATION) == {"up": True}
    assert way.asked == 2


async def test_retries_can_be_turned_off() -> None:
    way = Failing(httpx.ConnectError("no"), 9)
    async with AsyncClient(URL, transport=httpx.MockTransport(way), retries=0) as client:
        with pytest.raises(NetworkError) as caught:
            await client.execute("{ up }")
    assert caught.value.was_sent is False
    assert way.asked == 1


async def test_a_caller_who_is_cancelled_takes_no_tokens_along() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.set()
        await may_answer.wait()
        pair = {"auth_token": "auth-2", "refresh_token": "refresh-2"}
        return httpx.Response(200, json={"data": {"refreshToken": {"data": pair}}})

    async with AsyncClient(URL, transport=httpx.MockTransport(answer), tokens=Tokens("auth-1", "refresh-1")) as client:
        caller = asyncio.create_task(client.refresh())
        await asked.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        may_answer.set()
    assert client.tokens == Tokens("auth-2", "refresh-2", "pair", "refresh-1")
