"""Tokens whose key nobody knows, while strangers have the issuer asked as often as that is allowed."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from keystead.context import Server
from keystead.crypto.signing import SigningKey
from keystead.installation import service as installation
from keystead.web.upkeep import Upkeep
from keystead_client._jwks import AT_MOST_EVERY, MOST_DOUBTFUL, PublishedKeys, Questions
from keystead_client.errors import NetworkError, TokenInvalid
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_context
from tests.sdk.verifier.passage import InProcess


class Stranger:
    """Makes tokens of keys that nobody publishes."""

    def __init__(self, verifier: Verifier, forge: Forge) -> None:
        self._verifier = verifier
        self._forge = forge
        self._key = SigningKey.generate()
        self._number = 0

    def token(self) -> str:
        """Another at each call."""
        self._number += 1
        return self._forge.with_header(self._key.signature, kid=f"{self._number:A>42}A")

    async def comes(self) -> None:
        """With a token that is good for nothing; nobody may be able to tell."""
        with pytest.raises((TokenInvalid, NetworkError)):
            await self._verifier.verify_async(self.token())


@pytest.fixture
def stranger(verifier: Verifier, forge: Forge) -> Stranger:
    return Stranger(verifier, forge)


@pytest.fixture
async def removed(verifier: Verifier, forge: Forge, stranger: Stranger, clock: ManualClock) -> str:
    """A token of a key that was removed before this process began; the issuer was asked two seconds ago."""
    key = SigningKey.generate()
    await verifier.verify_async(forge.good)
    clock.advance(seconds=2)
    return forge.with_header(key.signature, kid=key.kid)


async def _is_doubtful(verifier: Verifier, token: str) -> None:
    with pytest.raises(NetworkError, match="a moment ago"):
        await verifier.verify_async(token)


async def test_what_came_between_two_fetches_is_settled_by_the_next(
    verifier: Verifier, stranger: Stranger, removed: str, issuer: InProcess, clock: ManualClock
) -> None:
    """Whoever has it made. Otherwise such a browser would never be told that its token is over."""
    await _is_doubtful(verifier, removed)
    clock.advance(seconds=AT_MOST_EVERY - 2)
    await stranger.comes()
    assert len(issuer.asked) == 2
    for _ in range(3):
        clock.advance(seconds=3)
        with pytest.raises(TokenInvalid):
            await verifier.verify_async(removed)
        with pytest.raises(TokenInvalid):
            await asyncio.to_thread(verifier.verify, removed)
    assert len(issuer.asked) == 2


async def test_a_fetch_that_fails_settles_nothing(
    verifier: Verifier, stranger: Stranger, removed: str, issuer: InProcess, clock: ManualClock
) -> None:
    await _is_doubtful(verifier, removed)
    issuer.is_away = True
    clock.advance(seconds=AT_MOST_EVERY - 2)
    await stranger.comes()
    clock.advance(seconds=2)
    with pytest.raises(NetworkError):
        await verifier.verify_async(removed)
    issuer.is_away = False
    clock.advance(seconds=AT_MOST_EVERY - 2)
    await stranger.comes()
    clock.advance(seconds=2)
    with pytest.raises(TokenInvalid):
        await verifier.verify_async(removed)


async def test_a_key_that_is_published_meanwhile_is_not_refused(
    verifier: Verifier, stranger: Stranger, removed: str, forge: Forge, server: Server, clock: ManualClock
) -> None:
    """One that signs since the last fetch, in an emergency: good from the next fetch on, never said to be forged."""
    await installation.revoke(make_context(server), forge.key.kid)
    await Upkeep(server).follow_keyring()
    key = server.keyring.active
    new = forge.with_header(key.signature, kid=key.kid)
    await _is_doubtful(verifier, new)
    await _is_doubtful(verifier, removed)
    clock.advance(seconds=AT_MOST_EVERY - 2)
    await stranger.comes()
    clock.advance(seconds=2)
    assert (await verifier.verify_async(new)).user_id == forge.payload["sub"]
    with pytest.raises(TokenInvalid):
        await verifier.verify_async(removed)


async def test_what_came_after_the_question_is_not_settled_by_its_answer(
    verifier: Verifier, stranger: Stranger, removed: str, issuer: InProcess, clock: ManualClock
) -> None:
    """Its key may have been published in between."""
    issuer.holds_answers = asyncio.Event()
    clock.advance(seconds=AT_MOST_EVERY - 2)
    issuer.has_answer.clear()
    first = asyncio.create_task(stranger.comes())
    await issuer.has_answer.wait()
    clock.advance(seconds=2)
    late = asyncio.create_task(verifier.verify_async(removed))
    await asyncio.sleep(0)
    issuer.holds_answers.set()
    await first
    with pytest.raises(NetworkError, match="a moment ago"):
        await late
    await _is_doubtful(verifier, removed)
    assert len(issuer.asked) == 2


def test_a_flood_of_names_is_bounded(clock: ManualClock) -> None:
    """Who came before it is settled all the same."""
    document = {"keys": [SigningKey.generate().verification.jwk]}
    questions = Questions(httpx.MockTransport(lambda request: httpx.Response(200, json=document)), 5.0)
    keys = PublishedKeys(
        "https://id.example.com", questions, ttl=60, max_stale=3600, timeout=5, clock=lambda: clock.now().timestamp()
    )
    assert keys.find("first") is None
    clock.advance(seconds=2)
    for kid in ("removed", *map(str, range(MOST_DOUBTFUL + 10))):
        with pytest.raises(NetworkError, match="a moment ago"):
            keys.find(kid)
    assert len(keys._doubtful) == MOST_DOUBTFUL
    clock.advance(seconds=AT_MOST_EVERY - 2)
    assert keys.find("stranger") is None
    assert not keys._doubtful
    clock.advance(seconds=2)
    assert keys.find("removed") is None
    questions.close()
