"""The issuer's keys: when they are fetched, and how long they are believed."""

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
from keystead.web.upkeep import Upkeep
from keystead_client.errors import KeysteadError, NetworkError, ServerError, TokenInvalid
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_context
from tests.sdk.verifier.passage import InProcess

FAR = 400 * 86_400


async def _rotate(server: Server) -> SigningKey:
    """A new key, published to become active in ten minutes."""
    waiting = (await installation.rotate(make_context(server))).kid
    stored = (await installation_store.list_private_keys(server.db.reads))[waiting]
    await Upkeep(server).follow_keyring()
    return SigningKey.from_encrypted(waiting, stored, server.master_key)


async def _revoke(server: Server, forge: Forge) -> SigningKey:
    """The key that signs, as in an emergency; which one signs instead."""
    await installation.revoke(make_context(server), forge.key.kid)
    await Upkeep(server).follow_keyring()
    return server.keyring.active


def _name(number: int) -> str:
    """What could be that of a key."""
    return f"{number:A>42}A"


async def _takes(verifier: Verifier, token: str) -> bool:
    try:
        return bool(await verifier.verify_async(token))
    except TokenInvalid:
        return False


async def test_keys_are_fetched_once_a_minute(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """However many tokens there are; five seconds early, so that they are there in time."""
    for second in range(55):
        assert await _takes(verifier, forge.with_payload(jti=f"token{second}"))
        clock.advance(seconds=1)
    assert len(issuer.asked) == 1
    assert await _takes(verifier, forge.good)
    assert len(issuer.asked) == 2


async def test_a_new_key_is_known_as_soon_as_it_signs(
    verifier: Verifier, forge: Forge, server: Server, issuer: InProcess, clock: ManualClock
) -> None:
    """And the old one is dropped with the issuer's next document, for tokens that are known as well."""
    old = forge.with_payload(exp=forge.payload["exp"] + FAR)
    assert await _takes(verifier, old)
    clock.advance(seconds=10)
    key = await _rotate(server)
    new = forge.with_header(key.signature, kid=key.kid)
    assert await _takes(verifier, new)
    assert len(issuer.asked) == 2
    clock.advance(minutes=10)
    await Upkeep(server).follow_keyring()
    assert await _takes(verifier, old), "retiring"
    clock.advance(seconds=3660)
    await Upkeep(server).follow_keyring()
    assert not await _takes(verifier, old), "dropped, though it was found good before"


async def test_unknown_names_fetch_at_most_once_in_ten_seconds(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """A flood of them, from tasks and threads. Nobody knows meanwhile whether they have just been published."""
    attacker = SigningKey.generate()
    assert await _takes(verifier, forge.good)
    for second in range(30):
        flood = [forge.with_header(attacker.signature, kid=_name(10 * second + number)) for number in range(10)]
        expected = TokenInvalid if second % 10 == 0 else NetworkError
        refusals = await asyncio.gather(*map(verifier.verify_async, flood), return_exceptions=True)
        assert all(isinstance(refusal, expected) for refusal in refusals)
        with pytest.raises(expected):
            await asyncio.to_thread(verifier.verify, flood[0])
        clock.advance(seconds=1)
    assert len(issuer.asked) == 3


async def test_a_name_that_is_no_keys_is_remembered(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """What was refused once is refused until the issuer is asked again: it cannot tell better. No thumbprint, no
    question at all."""
    attacker = SigningKey.generate()
    assert await _takes(verifier, forge.good)
    token = forge.with_header(attacker.signature, kid=attacker.kid)
    for _ in range(10):
        assert not await _takes(verifier, token)
        clock.advance(seconds=1)
    assert len(issuer.asked) == 1
    for kid in ("unknown", attacker.kid + "A", attacker.kid[:-1] + "B", attacker.kid[:-1], "A" * 42 + "+"):
        assert not await _takes(verifier, forge.with_header(attacker.signature, kid=kid))
    assert len(issuer.asked) == 1


async def test_an_emergency_refuses_nobody_wrongly(
    verifier: Verifier, forge: Forge, server: Server, issuer: InProcess, clock: ManualClock
) -> None:
    """The key is revoked, another signs at once, and a stranger has just had the issuer asked: whoever is logged in
    anew is not said to be a forger."""
    stranger = SigningKey.generate()
    assert await _takes(verifier, forge.good)
    clock.advance(seconds=10)
    assert not await _takes(verifier, forge.with_header(stranger.signature, kid=stranger.kid))
    clock.advance(seconds=1)
    key = await _revoke(server, forge)
    new = forge.with_header(key.signature, kid=key.kid)
    for _ in range(9):
        with pytest.raises(NetworkError, match="a moment ago"):
            await verifier.verify_async(new)
        with pytest.raises(NetworkError, match="a moment ago"):
            await asyncio.to_thread(verifier.verify, new)
        assert not await _takes(verifier, forge.with_header(stranger.signature, kid=stranger.kid)), "as before"
        clock.advance(seconds=1)
    assert len(issuer.asked) == 2
    assert await _takes(verifier, new)
    clock.advance(seconds=1)
    assert not await _takes(verifier, forge.good), "dropped, and that is known"
    assert len(issuer.asked) == 3


async def test_one_fetch_serves_all_who_wait(verifier: Verifier, forge: Forge, issuer: InProcess) -> None:
    """Tasks and threads; one of them gives up, even the one that began."""
    issuer.gate = asyncio.Event()
    first = asyncio.create_task(verifier.verify_async(forge.good))
    await issuer.was_asked.wait()
    tasks = [asyncio.create_task(verifier.verify_async(forge.with_payload(jti=f"t{number}"))) for number in range(20)]
    threads = [asyncio.create_task(asyncio.to_thread(verifier.verify, forge.good)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    tasks[0].cancel()
    issuer.gate.set()
    outcomes = await asyncio.gather(first, *tasks, *threads, return_exceptions=True)
    assert [isinstance(outcome, BaseException) for outcome in outcomes] == [True, True] + [False] * 22
    assert len(issuer.asked) == 1


async def test_keys_are_believed_for_an_hour_without_the_issuer(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """Asked for every ten seconds meanwhile; then nobody can tell, which is not a refusal."""
    token = forge.with_payload(exp=forge.payload["exp"] + FAR)
    assert await _takes(verifier, token)
    issuer.is_away = True
    for _ in range(60):
        clock.advance(seconds=60)
        for _ in range(3):
            assert await _takes(verifier, token)
    assert len(issuer.asked) == 1 + 60
    with pytest.raises(NetworkError):
        await verifier.verify_async(forge.with_header(kid=_name(1)))
    clock.advance(seconds=1)
    with pytest.raises(NetworkError):
        await verifier.verify_async(token)
    issuer.is_away = False
    clock.advance(seconds=1)
    assert await _takes(verifier, token)


async def test_without_any_key_nobody_can_tell(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """The issuer was never reached; it is tried again each second, not with each token."""
    issuer.is_away = True
    for _ in range(5):
        with pytest.raises(NetworkError):
            await verifier.verify_async(forge.good)
        with pytest.raises(NetworkError):
            await asyncio.to_thread(verifier.verify, forge.good)
    assert len(issuer.asked) == 1
    issuer.is_away = False
    clock.advance(seconds=1)
    assert await _takes(verifier, forge.good)


async def test_a_clock_that_is_put_back_makes_no_key_young(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """They are fetched again."""
    assert await _takes(verifier, forge.good)
    clock.advance(seconds=-20)
    assert await _takes(verifier, forge.good)
    assert len(issuer.asked) == 2


async def test_keys_of_the_future_are_not_believed_for_long(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """The clock was put back by more than an hour, and the issuer is away: nobody knows how old they are."""
    assert await _takes(verifier, forge.good)
    issuer.is_away = True
    clock.advance(seconds=-3601)
    with pytest.raises(NetworkError):
        await verifier.verify_async(forge.good)


async def test_a_clock_that_is_put_back_keeps_nobody_from_asking_again(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """After a failure, too."""
    issuer.is_away = True
    with pytest.raises(NetworkError):
        await verifier.verify_async(forge.good)
    issuer.is_away = False
    clock.advance(seconds=-20)
    assert await _takes(verifier, forge.good)


def _answers(forge: Forge) -> dict[str, httpx.Response]:
    key = forge.key.verification.jwk
    other = SigningKey.generate().verification.jwk
    documents: list[Any] = [
        None, [], {}, {"keys": None}, {"keys": {}}, {"keys": []}, {"keys": [None, 1, "a"]}, {"keys": [key] * 33},
        {"keys": [other | {"kid": key["kid"]}]}, {"keys": [key | {"alg": "HS256"}]}, {"keys": [key | {"use": "enc"}]},
        {"keys": [key | {"crv": "P-384"}]}, {"keys": [key | {"kty": "oct", "k": "AA"}]}, {"keys": [key | {"x": "AA"}]},
        {"keys": [key | {"kid": "another"}]}, {"keys": [key | {"d": "AA"}]}, {"keys": [key | {"y": 1}]},
    ]  # fmt: skip
    good = json.dumps({"keys": [key]})
    return {
        **{json.dumps(document)[:60]: httpx.Response(200, json=document) for document in documents},
        "too large": httpx.Response(200, text=good + " " * 65_536),
        "no JSON": httpx.Response(200, text="<html>"),
        "deep": httpx.Response(200, text="[" * 60_000),
        "compressed": httpx.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(good.encode())),
        "gone": httpx.Response(404, text=good),
        "failed": httpx.Response(500, text=good),
        "redirect": httpx.Response(302, text=good, headers={"location": "https://evil.example/keys"}),
    }


async def test_other_answers_are_no_keys(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """Nothing of them is believed, and no redirect is followed."""
    for answer in _answers(forge).values():
        clock.advance(seconds=1)
        issuer.answers_instead = answer
        with pytest.raises(ServerError):
            await verifier.verify_async(forge.good)
    assert {request.url.host for request in issuer.asked} == {"auth.example.com"}


async def test_a_broken_answer_spoils_no_keys(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """Those that are known are kept, as when the issuer is away."""
    assert await _takes(verifier, forge.good)
    issuer.answers_instead = httpx.Response(200, json={"keys": []})
    clock.advance(seconds=60)
    assert await _takes(verifier, forge.good)
    assert len(issuer.asked) == 2


async def test_failures_are_told_anew(verifier: Verifier, forge: Forge, issuer: InProcess) -> None:
    """One exception that is raised to many would carry everybody's traceback."""
    issuer.is_away = True
    failures: list[KeysteadError] = []
    for _ in range(2):
        with pytest.raises(NetworkError) as caught:
            await verifier.verify_async(forge.good)
        failures.append(caught.value)
    assert failures[0] is not failures[1]
    assert str(failures[0]) == str(failures[1])
