"""The verifier over real HTTP, from tasks, threads and event loops; and fetches that never come back."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from keystead.context import Server
from keystead.crypto.signing import SigningKey
from keystead_client._jwks import PublishedKeys, Questions
from keystead_client.errors import NetworkError
from keystead_client.verify import Verifier
from tests.api import listening
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.sdk.verifier.conftest import Make
from tests.sdk.verifier.passage import InProcess


async def test_keys_come_over_real_http(server: Server, forge: Forge, make: Make, clock: ManualClock) -> None:
    """To a task, to threads, and to an event loop that is gone afterwards; one fetch a minute for all of them."""
    async with listening(server.settings, server) as url:
        verifier = make(issuer=url, transport=None)
        tokens = [forge.with_payload(iss=url, jti=f"token{number}") for number in range(8)]
        users = await asyncio.gather(*(asyncio.to_thread(verifier.verify, token) for token in tokens))
        assert {claims.user_id for claims in users} == {forge.payload["sub"]}
        for _ in range(2):
            clock.advance(seconds=60)
            await verifier.verify_async(tokens[0])
            clock.advance(seconds=60)
            await asyncio.to_thread(lambda: asyncio.run(_verified_and_closed(verifier, tokens[0])))
        await verifier.aclose()


async def _verified_and_closed(verifier: Verifier, token: str) -> None:
    try:
        await verifier.verify_async(token)
    finally:
        await verifier.aclose()


async def test_known_keys_are_used_while_others_are_fetched(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """A slow issuer keeps one caller waiting, not all of them; but no key is used beyond the time that was stated."""
    token = forge.good
    await verifier.verify_async(token)
    clock.advance(seconds=55)
    issuer.was_asked.clear()
    issuer.gate = asyncio.Event()
    waiting = [asyncio.create_task(verifier.verify_async(token))]
    await issuer.was_asked.wait()
    for _ in range(3):
        clock.advance(seconds=1.6)
        await verifier.verify_async(token)
    clock.advance(seconds=0.2)
    waiting.append(asyncio.create_task(verifier.verify_async(token)))
    waiting.append(asyncio.create_task(asyncio.to_thread(verifier.verify, token)))
    done, _ = await asyncio.wait(waiting, timeout=0.05)
    assert not done
    issuer.gate.set()
    assert {claims.user_id for claims in await asyncio.gather(*waiting)} == {forge.payload["sub"]}
    assert len(issuer.asked) == 2


async def test_an_issuer_that_hangs_keeps_one_caller_waiting(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """Once it has failed to answer, others do not wait for it, however old the keys are."""
    token = forge.good
    await verifier.verify_async(token)
    issuer.is_away = True
    clock.advance(seconds=60)
    await verifier.verify_async(token)
    clock.advance(seconds=10)
    issuer.was_asked.clear()
    issuer.gate = asyncio.Event()
    first = asyncio.create_task(verifier.verify_async(token))
    await issuer.was_asked.wait()
    for _ in range(3):
        await verifier.verify_async(token)
    assert not first.done()
    issuer.gate.set()
    await first
    assert len(issuer.asked) == 3


async def test_a_fetch_that_was_given_up_changes_nothing(forge: Forge, issuer: InProcess) -> None:
    """Its answer comes after that of a later one, and is older."""
    asked, released = asyncio.Event(), asyncio.Event()
    stranger = SigningKey.generate()

    class Late(httpx.AsyncBaseTransport, httpx.BaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.set()
            await released.wait()
            return httpx.Response(200, json={"keys": [stranger.verification.jwk]})

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return issuer.handle_request(request)

    keys = PublishedKeys(
        "https://auth.example.com", Questions(Late(), 60), ttl=60, max_stale=3600, timeout=0.01, clock=time.time
    )
    leader = asyncio.create_task(keys.find_async(forge.key.kid))
    await asked.wait()
    with pytest.raises(NetworkError, match="still being fetched"):
        await keys.find_async(forge.key.kid)
    assert await asyncio.to_thread(keys.find, forge.key.kid)
    released.set()
    assert await leader
    assert await asyncio.to_thread(keys.find, forge.key.kid)
    assert len(issuer.asked) == 1


async def test_a_fetch_that_never_comes_back_is_given_up(forge: Forge, issuer: InProcess) -> None:
    """After twice the time that it may take, another caller fetches."""
    stalled = asyncio.Event()

    class Stalled(httpx.AsyncBaseTransport, httpx.BaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            stalled.set()
            await asyncio.Event().wait()
            raise AssertionError

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return issuer.handle_request(request)

    keys = PublishedKeys(
        "https://auth.example.com", Questions(Stalled(), 60), ttl=60, max_stale=3600, timeout=0.01, clock=time.time
    )
    leader = asyncio.create_task(keys.find_async(forge.key.kid))
    await stalled.wait()
    # Twice the timeout has passed for those who wait: they say that they cannot tell.
    with pytest.raises(NetworkError, match="still being fetched"):
        await keys.find_async(forge.key.kid)
    # The fetch is given up then: the next caller leads another one, and the first changes nothing any more.
    assert await asyncio.to_thread(keys.find, forge.key.kid)
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    assert await keys.find_async(forge.key.kid)
    assert len(issuer.asked) == 1


async def test_an_asynchronous_transport_serves_tasks_alone(forge: Forge, make: Make, issuer: InProcess) -> None:
    """A thread is told so; a synchronous one serves both."""

    class Asynchronous(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await issuer.handle_async_request(request)

    class Synchronous(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return issuer.handle_request(request)

    token = forge.good
    with pytest.raises(ValueError, match="transport"):
        await asyncio.to_thread(make(transport=Asynchronous()).verify, token)
    for verifier in (make(transport=Asynchronous()), make(transport=Synchronous())):
        assert (await verifier.verify_async(token)).user_id == forge.payload["sub"]
    assert (await asyncio.to_thread(make(transport=Synchronous()).verify, token)).user_id == forge.payload["sub"]
