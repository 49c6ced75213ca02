"""Concurrent uses of a refresh token on two nodes: one successor, no false reuse detection."""

from __future__ import annotations

import asyncio

import pytest

from keystead.authentication.refresh import refresh_pair
from keystead.context import ActiveBrand, Context, Server
from keystead.crypto.secrets import Secret, SecretKind, parse
from keystead.errors import RefreshTokenInvalid, RefreshTokenReused
from keystead.sessions import rotation
from keystead.sessions.model import Replayed, Reused, Rotated, Verdict
from keystead.sessions.rotation import RotationKeys
from keystead.users.model import User
from tests.authentication.observed import events
from tests.clocks import ManualClock
from tests.make import make_context, make_session
from tests.races.conftest import ROUNDS, Nodes, is_blocked, outcome

CONCURRENT = 50


async def rotate(server: Server, secret: Secret) -> Verdict:
    keys, now = RotationKeys.of(server), server.clock.now()
    return await server.db.run(lambda tx: rotation.rotate(tx, None, secret, keys, now))


@pytest.mark.race
@pytest.mark.attack("A22")
async def test_fifty_concurrent_rotations_get_one_successor(
    nodes: Nodes, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    secret = (await make_session(nodes[0], brand, ann.id)).refresh_token
    for _ in range(ROUNDS):
        verdicts = await asyncio.gather(*(rotate(nodes[n % 2], secret) for n in range(CONCURRENT)))
        assert sum(isinstance(verdict, Rotated) for verdict in verdicts) == 1
        tokens = {verdict.refresh_token for verdict in verdicts if isinstance(verdict, Rotated | Replayed)}
        assert sum(isinstance(verdict, Replayed) for verdict in verdicts) == CONCURRENT - 1
        (secret,) = tokens
        clock.advance(minutes=30)


@pytest.mark.race
async def test_concurrent_chains_of_rotations_converge(nodes: Nodes, brand: ActiveBrand, ann: User) -> None:
    """Each of them rotates what it is given, five times: all follow the same chain."""
    secret = (await make_session(nodes[0], brand, ann.id)).refresh_token

    async def client(server: Server) -> None:
        mine = secret
        for _ in range(5):
            verdict = await rotate(server, mine)
            assert isinstance(verdict, Rotated | Replayed), verdict
            mine = verdict.refresh_token

    await asyncio.gather(*(client(nodes[n % 2]) for n in range(10)))
    verdict = await rotate(nodes[0], secret)
    assert isinstance(verdict, Replayed)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_the_second_rotation_waits_for_the_first(
    nodes: Nodes, brand: ActiveBrand, ann: User, ending: str
) -> None:
    first, second = nodes
    secret = (await make_session(first, brand, ann.id)).refresh_token
    keys, now = RotationKeys.of(first), first.clock.now()

    async def hold() -> Secret:
        async with first.db.transaction() as tx:
            verdict = await rotation.rotate(tx, None, secret, keys, now)
            assert isinstance(verdict, Rotated)
            waiting.append(asyncio.create_task(rotate(second, secret)))
            assert await is_blocked(waiting[0])
            if ending == "rollback":
                raise ConnectionError(verdict.refresh_token.reveal())
        return verdict.refresh_token

    waiting: list[asyncio.Task[Verdict]] = []
    result = await outcome(hold())
    verdict = await waiting[0]
    if ending == "commit":
        assert isinstance(verdict, Replayed)
        assert verdict.refresh_token == result
    else:
        # The successor is derived: even the one that was rolled back was the same.
        assert isinstance(verdict, Rotated)
        assert verdict.refresh_token == parse(str(result), SecretKind.refresh)


@pytest.mark.race
@pytest.mark.attack("A22")
async def test_concurrent_reuse_is_detected(nodes: Nodes, brand: ActiveBrand, ann: User, clock: ManualClock) -> None:
    opened = await make_session(nodes[0], brand, ann.id)
    current = await rotate(nodes[0], opened.refresh_token)
    assert isinstance(current, Rotated)
    clock.advance(hours=1)
    raw = opened.refresh_token.reveal()
    contexts: list[Context] = [make_context(nodes[n % 2]) for n in range(20)]
    outcomes = await asyncio.gather(*(outcome(refresh_pair(ctx, raw)) for ctx in contexts))
    # The first ends the session; later ones find it ended.
    assert {type(one) for one in outcomes} <= {RefreshTokenReused, RefreshTokenInvalid}
    assert any(isinstance(one, RefreshTokenReused) for one in outcomes)
    assert isinstance(await outcome(refresh_pair(contexts[0], current.refresh_token.reveal())), RefreshTokenInvalid)
    assert await events(nodes[1], brand, "session.reuse_detected")


@pytest.mark.race
async def test_concurrent_rotation_and_reuse_leave_one_chain(
    nodes: Nodes, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """The owner rotates the current token while a thief presents an old one: the session ends in either order."""
    for _ in range(ROUNDS):
        opened = await make_session(nodes[0], brand, ann.id)
        current = await rotate(nodes[0], opened.refresh_token)
        assert isinstance(current, Rotated)
        clock.advance(hours=1)
        owner, thief = await asyncio.gather(
            rotate(nodes[0], current.refresh_token), rotate(nodes[1], opened.refresh_token)
        )
        assert isinstance(thief, Reused)
        if isinstance(owner, Rotated):
            assert not isinstance(await rotate(nodes[0], owner.refresh_token), Rotated | Replayed)
