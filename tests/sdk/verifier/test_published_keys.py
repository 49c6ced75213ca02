"""The issuer's keys: when they are fetched, how long they are used, and how stale the verifier's answer can be."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest

from keystead.context import Server
from keystead.crypto.signing import SigningKey
from keystead.installation import service as installation
from keystead.installation import store as installation_store
from keystead.sessions.model import Opened
from keystead.web.upkeep import Upkeep
from keystead_client._jwks import PublishedKeys
from keystead_client.errors import NetworkError, ServerError, TokenExpired, TokenInvalid
from keystead_client.verify import Verifier
from tests.api import listening
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_access_token, make_context
from tests.sdk.verifier.conftest import Make
from tests.sdk.verifier.passage import InProcess, log_out

FAR = 400 * 86_400


async def _rotate(server: Server) -> SigningKey:
    """A new key, published to become active in ten minutes."""
    waiting = (await installation.rotate(make_context(server))).kid
    stored = (await installation_store.list_private_keys(server.db.reads))[waiting]
    await Upkeep(server).follow_keyring()
    return SigningKey.from_encrypted(waiting, stored, server.master_key)


async def _revoke(server: Server, forge: Forge) -> SigningKey:
    """Revoke the active key, as in an emergency; the key that signs instead."""
    await installation.revoke(make_context(server), forge.key.kid)
    await Upkeep(server).follow_keyring()
    return server.keyring.active


async def _accepts(verifier: Verifier, token: str) -> bool:
    """Asked both ways, one after the other, it must answer the same."""
    errors: list[TokenInvalid] = []
    try:
        await verifier.verify_async(token)
    except TokenInvalid as error:
        errors.append(error)
    try:
        await asyncio.to_thread(verifier.verify, token)
    except TokenInvalid as error:
        errors.append(error)
    assert len(errors) in (0, 2)
    return not errors


async def _is_unavailable(verifier: Verifier, token: str) -> bool:
    with pytest.raises(NetworkError):
        await verifier.verify_async(token)
    with pytest.raises(NetworkError):
        await asyncio.to_thread(verifier.verify, token)
    return True


async def test_keys_are_fetched_once_a_minute(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """Five seconds early, so that they arrive in time."""
    for second in range(55):
        await verifier.verify_async(forge.with_payload(jti=f"token{second}"))
        clock.advance(seconds=1)
    assert len(issuer.asked) == 1
    assert await _accepts(verifier, forge.good)
    assert len(issuer.asked) == 2
    assert {request.headers["cache-control"] for request in issuer.asked} == {"no-cache"}


async def test_a_new_key_is_known_before_it_signs_and_an_old_one_dropped_when_it_is_withdrawn(
    verifier: Verifier, forge: Forge, server: Server, issuer: InProcess, clock: ManualClock
) -> None:
    old = forge.with_payload(exp=forge.payload["exp"] + FAR)
    assert await _accepts(verifier, old)
    clock.advance(seconds=10)
    key = await _rotate(server)
    assert await _accepts(verifier, forge.with_header(key.signature, kid=key.kid))
    assert len(issuer.asked) == 2
    clock.advance(minutes=10)
    await Upkeep(server).follow_keyring()
    assert await _accepts(verifier, old), "retiring"
    clock.advance(seconds=3660)
    await Upkeep(server).follow_keyring()
    assert not await _accepts(verifier, old), "withdrawn, though it was verified before"


async def test_unknown_keys_cause_one_fetch_in_ten_seconds_and_are_refused_in_between(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    attacker = SigningKey.generate()
    assert await _accepts(verifier, forge.good)
    for second in range(30):
        flood = [forge.with_header(attacker.signature, kid=f"{10 * second + n:A>42}A") for n in range(10)]
        outcomes = await asyncio.gather(*map(verifier.verify_async, flood), return_exceptions=True)
        assert all(isinstance(outcome, TokenInvalid) for outcome in outcomes)
        clock.advance(seconds=1)
    assert len(issuer.asked) == 3
    clock.advance(seconds=9)
    for kid in ("unknown", attacker.kid + "A", attacker.kid[:-1] + "B", attacker.kid[:-1], "A" * 42 + "+"):
        assert not await _accepts(verifier, forge.with_header(attacker.signature, kid=kid))
    assert len(issuer.asked) == 3, "a name that is no thumbprint causes none"


async def test_an_emergency_key_is_refused_for_ten_seconds_at_most(
    verifier: Verifier, forge: Forge, server: Server, clock: ManualClock
) -> None:
    """The active key is revoked, another signs immediately, and a stranger has just caused a fetch."""
    stranger = SigningKey.generate()
    assert await _accepts(verifier, forge.good)
    clock.advance(seconds=10)
    assert not await _accepts(verifier, forge.with_header(stranger.signature, kid=stranger.kid))
    key = await _revoke(server, forge)
    new = forge.with_header(key.signature, kid=key.kid)
    assert not await _accepts(verifier, new)
    clock.advance(seconds=10)
    assert await _accepts(verifier, new)
    assert not await _accepts(verifier, forge.good)


async def test_one_fetch_serves_all_who_wait(verifier: Verifier, forge: Forge, issuer: InProcess) -> None:
    """Tasks and threads; the one that started it may be cancelled."""
    issuer.gate = asyncio.Event()
    first = asyncio.create_task(verifier.verify_async(forge.good))
    await issuer.was_asked.wait()
    tasks = [asyncio.create_task(verifier.verify_async(forge.with_payload(jti=f"t{number}"))) for number in range(20)]
    threads = [asyncio.create_task(asyncio.to_thread(verifier.verify, forge.good)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    issuer.gate.set()
    outcomes = await asyncio.gather(first, *tasks, *threads, return_exceptions=True)
    assert [isinstance(outcome, BaseException) for outcome in outcomes] == [True] + [False] * 23
    assert len(issuer.asked) == 1


async def test_cached_keys_are_used_while_others_are_fetched(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """A slow issuer keeps one caller waiting; but from ``jwks_ttl`` on all wait."""
    token = forge.good
    await verifier.verify_async(token)
    clock.advance(seconds=55)
    issuer.was_asked.clear()
    issuer.gate = asyncio.Event()
    waiting = [asyncio.create_task(verifier.verify_async(token))]
    await issuer.was_asked.wait()
    clock.advance(seconds=4.9)
    await verifier.verify_async(token)
    clock.advance(seconds=0.1)
    waiting.append(asyncio.create_task(verifier.verify_async(token)))
    done, _ = await asyncio.wait(waiting, timeout=0.05)
    assert not done
    issuer.gate.set()
    assert {claims.user_id for claims in await asyncio.gather(*waiting)} == {forge.payload["sub"]}
    assert len(issuer.asked) == 2


async def test_cached_keys_are_used_for_an_hour_without_the_issuer(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """Which is asked every ten seconds; one caller at a time waits for it."""
    token = forge.with_payload(exp=forge.payload["exp"] + FAR)
    assert await _accepts(verifier, token)
    issuer.is_away = True
    for _ in range(60):
        clock.advance(seconds=60)
        for _ in range(3):
            await verifier.verify_async(token)
    assert len(issuer.asked) == 1 + 60
    assert await _is_unavailable(verifier, forge.with_header(kid=f"{1:A>42}A"))
    clock.advance(seconds=-10)
    issuer.was_asked.clear()
    issuer.gate = asyncio.Event()
    first = asyncio.create_task(verifier.verify_async(token))
    await issuer.was_asked.wait()
    await verifier.verify_async(token)
    assert not first.done()
    issuer.gate.set()
    await first
    clock.advance(seconds=11)
    assert await _is_unavailable(verifier, token)
    issuer.is_away = False
    clock.advance(seconds=1)
    assert await _accepts(verifier, token)


async def test_without_any_key_the_issuer_is_asked_every_second(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    issuer.is_away = True
    for _ in range(5):
        assert await _is_unavailable(verifier, forge.good)
    assert len(issuer.asked) == 1
    issuer.is_away = False
    clock.advance(seconds=1)
    assert await _accepts(verifier, forge.good)


async def test_a_clock_that_is_set_back_makes_no_key_young(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    token = forge.with_payload(iat=forge.payload["iat"] - 7200)
    assert await _accepts(verifier, token)
    clock.advance(seconds=-20)
    assert await _accepts(verifier, token)
    assert len(issuer.asked) == 2
    issuer.is_away = True
    clock.advance(seconds=-3601)
    assert await _is_unavailable(verifier, token)
    issuer.is_away = False
    clock.advance(seconds=-20)
    assert await _accepts(verifier, token)


def _answers(forge: Forge) -> list[httpx.Response]:
    key = forge.key.verification.jwk
    other = SigningKey.generate().verification.jwk
    documents: list[Any] = [
        None, [], {}, {"keys": None}, {"keys": {}}, {"keys": []}, {"keys": [None, 1, "a"]}, {"keys": [key] * 33},
        {"keys": [other | {"kid": key["kid"]}]}, {"keys": [key | {"alg": "HS256"}]}, {"keys": [key | {"use": "enc"}]},
        {"keys": [key | {"crv": "P-384"}]}, {"keys": [key | {"kty": "oct", "k": "AA"}]}, {"keys": [key | {"x": "AA"}]},
        {"keys": [key | {"kid": "another"}]}, {"keys": [key | {"d": "AA"}]}, {"keys": [key | {"y": 1}]},
    ]  # fmt: skip
    good = json.dumps({"keys": [key]})
    return [
        *(httpx.Response(200, json=document) for document in documents),
        *(httpx.Response(200, text=text) for text in (good + " " * 65_536, "<html>", "[" * 60_000)),
        httpx.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(good.encode())),
        *(httpx.Response(status, text=good) for status in (404, 500)),
        httpx.Response(302, text=good, headers={"location": "https://evil.example/keys"}),
    ]


async def test_other_answers_are_no_keys_and_replace_none(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    failures: list[ServerError] = []
    for issuer.answers_instead in _answers(forge):
        clock.advance(seconds=1)
        with pytest.raises(ServerError) as caught:
            await verifier.verify_async(forge.good)
        failures.append(caught.value)
    with pytest.raises(ServerError, match=failures[-1].message) as caught:
        await verifier.verify_async(forge.good)
    assert caught.value is not failures[-1], "one exception raised repeatedly would accumulate tracebacks"
    assert {request.url.host for request in issuer.asked} == {"auth.example.com"}
    issuer.answers_instead = None
    clock.advance(seconds=1)
    assert await _accepts(verifier, forge.good)
    issuer.answers_instead = httpx.Response(200, json={"keys": []})
    clock.advance(seconds=60)
    assert await _accepts(verifier, forge.good)


# -------------------------------------------------------------------------------------------- what docs/sdk.md promises


async def test_an_ended_session_passes_until_its_token_expires_plus_the_leeway(
    make: Make, server: Server, opened: Opened, issuer: InProcess, clock: ManualClock
) -> None:
    token = make_access_token(server, opened, lifetime=3600)
    for leeway, verifier in ((0, make(leeway=0)), (30, make())):
        if leeway == 0:
            await log_out(issuer, token)
            clock.advance(seconds=3600)
        clock.advance(seconds=leeway - 0.001)
        assert await _accepts(verifier, token)
        clock.advance(seconds=0.001)
        with pytest.raises(TokenExpired):
            await verifier.verify_async(token)


@pytest.mark.parametrize("jwks_ttl", [60, 600, 10, 1])
async def test_a_revoked_key_passes_within_jwks_ttl(
    make: Make, server: Server, forge: Forge, clock: ManualClock, jwks_ttl: float
) -> None:
    """However often tokens are verified meanwhile."""
    verifier = make(jwks_ttl=jwks_ttl)
    token = forge.with_payload(exp=forge.payload["exp"] + FAR)
    assert await _accepts(verifier, token)
    await _revoke(server, forge)
    for _ in range(10):
        clock.advance(seconds=jwks_ttl / 10)
        await _accepts(verifier, token)
    assert not await _accepts(verifier, token)
    assert not await _accepts(verifier, forge.with_payload(jti="another"))


async def test_keys_are_as_old_as_the_request_for_them(
    verifier: Verifier, server: Server, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """The key is revoked while a slow answer is on its way."""
    issuer.holds_answers = asyncio.Event()
    first = asyncio.create_task(verifier.verify_async(forge.good))
    await issuer.has_answer.wait()
    held, issuer.holds_answers = issuer.holds_answers, None
    await _revoke(server, forge)
    clock.advance(seconds=6)
    held.set()
    assert (await first).user_id == forge.payload["sub"]
    clock.advance(seconds=54)
    assert not await _accepts(verifier, forge.good)


async def test_a_revoked_key_passes_within_max_stale_while_the_issuer_is_away(
    make: Make, server: Server, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """And for up to ten seconds once it is back."""
    verifier = make(max_stale=120)
    token = forge.with_payload(exp=forge.payload["exp"] + FAR)
    assert await _accepts(verifier, token)
    issuer.is_away = True
    await _revoke(server, forge)
    clock.advance(seconds=100)
    assert await _accepts(verifier, token)
    issuer.is_away = False
    clock.advance(seconds=10 - 0.001)
    assert await _accepts(verifier, token)
    clock.advance(seconds=0.001)
    assert not await _accepts(verifier, token)


# ----------------------------------------------------------------------------------------------------------- transports


async def test_keys_are_fetched_over_http_by_tasks_threads_and_other_event_loops(
    server: Server, forge: Forge, make: Make, clock: ManualClock
) -> None:
    async def verify_and_close(token: str) -> None:
        await verifier.verify_async(token)
        await verifier.aclose()

    async with listening(server.settings, server) as url:
        verifier = make(issuer=url, transport=None)
        tokens = [forge.with_payload(iss=url, jti=f"token{number}") for number in range(8)]
        users = await asyncio.gather(*(asyncio.to_thread(verifier.verify, token) for token in tokens))
        assert {claims.user_id for claims in users} == {forge.payload["sub"]}
        for _ in range(2):
            clock.advance(seconds=60)
            await verifier.verify_async(tokens[0])
            clock.advance(seconds=60)
            await asyncio.to_thread(lambda: asyncio.run(verify_and_close(tokens[0])))
        await verifier.aclose()
    assert await _is_unavailable(make(issuer=url, transport=None), tokens[0])


class SlowForTasks(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Answers threads immediately, and tasks when it may, with older keys."""

    def __init__(self, forge: Forge) -> None:
        self.asked, self.may_answer, self.fetches = asyncio.Event(), asyncio.Event(), 0
        self.key = forge.key.verification.jwk

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.set()
        await self.may_answer.wait()
        return httpx.Response(200, json={"keys": [SigningKey.generate().verification.jwk]})

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.fetches += 1
        return httpx.Response(200, json={"keys": [self.key]})


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_a_fetch_that_another_did_not_wait_for_changes_nothing(forge: Forge, is_blocking: bool) -> None:
    """A blocking call on an event loop that is fetching fetches by itself: that loop could not finish meanwhile."""
    issuer, kid = SlowForTasks(forge), forge.key.kid
    keys = PublishedKeys("https://auth.example.com", issuer, ttl=60, max_stale=3600, timeout=60, clock=lambda: 0.0)
    first = asyncio.create_task(keys.find_async(kid))
    await issuer.asked.wait()
    if is_blocking:
        assert keys.find(kid)
    else:
        keys._flights._patience = 0.02
        with pytest.raises(NetworkError, match="still being fetched"):
            await keys.find_async(kid)
        assert await asyncio.to_thread(keys.find, kid), "the next caller fetches"
    issuer.may_answer.set()
    assert await first, "the later fetch has brought newer keys"
    assert await asyncio.to_thread(keys.find, kid)
    assert issuer.fetches == 1


async def test_a_synchronous_transport_serves_both_and_an_asynchronous_one_tasks(
    forge: Forge, make: Make, issuer: InProcess
) -> None:
    class Asynchronous(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await issuer.handle_async_request(request)

    class Synchronous(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return issuer.handle_request(request)

    with pytest.raises(ValueError, match="transport"):
        await asyncio.to_thread(make(transport=Asynchronous()).verify, forge.good)
    for verifier in (make(transport=Asynchronous()), make(transport=Synchronous())):
        assert (await verifier.verify_async(forge.good)).user_id == forge.payload["sub"]
    assert await _accepts(make(transport=Synchronous()), forge.good)
