"""What docs/sdk.md states of how stale an answer can be: just before each bound, and at it."""

from __future__ import annotations

import asyncio

import pytest

from keystead.context import Server
from keystead.installation import service as installation
from keystead.sessions.model import Opened
from keystead.web.upkeep import Upkeep
from keystead_client.errors import NotAuthenticated, TokenExpired
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_access_token, make_context
from tests.sdk.verifier.conftest import Make
from tests.sdk.verifier.passage import InProcess, log_out

FAR = 400 * 86_400


async def _revoke(server: Server, forge: Forge) -> None:
    await installation.revoke(make_context(server), forge.key.kid)
    await Upkeep(server).follow_keyring()


async def _takes(verifier: Verifier, token: str) -> bool:
    """Asked both ways, one after the other, it must say the same."""
    answers = [
        await asyncio.gather(asyncio.to_thread(verifier.verify, token), return_exceptions=True),
        await asyncio.gather(verifier.verify_async(token), return_exceptions=True),
    ]
    refusals = [answer for (answer,) in answers if isinstance(answer, BaseException)]
    assert all(isinstance(refusal, NotAuthenticated) for refusal in refusals)
    assert len(refusals) in (0, 2)
    return not refusals


async def test_offline_a_session_that_was_ended_passes_until_its_token_expires_and_the_leeway_is_over(
    make: Make, server: Server, opened: Opened, issuer: InProcess, clock: ManualClock
) -> None:
    """Which is the price of not asking: only the leeway can be chosen."""
    token = make_access_token(server, opened, lifetime=3600)
    verifier, strict = make(), make(leeway=0)
    await log_out(issuer, token)
    clock.advance(seconds=3600 - 0.001)
    assert await _takes(strict, token)
    clock.advance(seconds=0.001)
    with pytest.raises(TokenExpired):
        await strict.verify_async(token)
    clock.advance(seconds=30 - 0.001)
    assert await _takes(verifier, token)
    clock.advance(seconds=0.001)
    with pytest.raises(TokenExpired):
        await verifier.verify_async(token)


@pytest.mark.parametrize("jwks_ttl", [60, 600, 10, 1])
async def test_offline_a_key_that_was_revoked_passes_within_jwks_ttl(
    make: Make, server: Server, forge: Forge, clock: ManualClock, jwks_ttl: float
) -> None:
    """However often tokens are looked at meanwhile."""
    verifier = make(jwks_ttl=jwks_ttl)
    token = forge.with_payload(exp=forge.payload["exp"] + FAR)
    assert await _takes(verifier, token)
    await _revoke(server, forge)
    for _ in range(10):
        clock.advance(seconds=jwks_ttl / 10)
        await _takes(verifier, token)
    assert not await _takes(verifier, token)
    assert not await _takes(verifier, forge.with_payload(jti="another"))


async def test_offline_keys_are_as_old_as_the_question_for_them(
    verifier: Verifier, server: Server, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """The key is revoked while a slow answer is under way; and no cache on the way is to answer instead."""
    issuer.holds_answers = asyncio.Event()
    first = asyncio.create_task(verifier.verify_async(forge.good))
    await issuer.has_answer.wait()
    held, issuer.holds_answers = issuer.holds_answers, None
    await _revoke(server, forge)
    clock.advance(seconds=6)
    held.set()
    assert (await first).user_id == forge.payload["sub"]
    clock.advance(seconds=54)
    assert not await _takes(verifier, forge.good)
    assert {request.headers["cache-control"] for request in issuer.asked} == {"no-cache"}


async def test_offline_a_key_that_was_revoked_passes_within_max_stale_while_the_issuer_is_away(
    make: Make, server: Server, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """And for ten seconds once it is back, for it is asked as often as that."""
    verifier = make(max_stale=120)
    token = forge.with_payload(exp=forge.payload["exp"] + FAR)
    assert await _takes(verifier, token)
    issuer.is_away = True
    await _revoke(server, forge)
    clock.advance(seconds=100)
    assert await _takes(verifier, token)
    issuer.is_away = False
    clock.advance(seconds=10 - 0.001)
    assert await _takes(verifier, token)
    clock.advance(seconds=0.001)
    assert not await _takes(verifier, token)
