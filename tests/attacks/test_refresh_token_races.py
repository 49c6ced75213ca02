"""A30: log out everywhere against concurrent refreshes on two nodes. ``tests/races`` shows A22."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import pytest

from keystead.authentication.authenticate import Credentials, authenticate
from keystead.authentication.logout import log_out_everywhere
from keystead.authentication.refresh import TokenPair, get_access_token, refresh_pair
from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.errors import AccessTokenRefused, RefreshTokenInvalid
from keystead.policy import SessionKind
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.make import REQUEST, make_access_token, make_caller, make_context, make_server, make_session

ROUNDS = int(os.environ.get("KEYSTEAD_RACE_ROUNDS", "5"))
REFRESHES = 20

pytestmark = [pytest.mark.race, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Nodes:
    """Two servers, each with its own connection to one database."""

    first: Server
    second: Server

    def __getitem__(self, number: int) -> Server:
        return self.second if number % 2 else self.first


@pytest.fixture
async def nodes(server: Server, clock: ManualClock, database_url: str) -> AsyncIterator[Nodes]:
    """The server of every attack, and a second one."""
    database = open_database(database_url)
    await database.open()
    yield Nodes(server, await make_server(database, clock))
    await database.close()


@pytest.mark.attack("A30")
async def test_no_token_survives_log_out_everywhere(nodes: Nodes, brand: ActiveBrand, ann: User) -> None:
    """Whatever was issued before, and whatever a racing refresh gives back before or after the acknowledgement."""
    order = random.Random(30)
    for round_ in range(ROUNDS):
        shared = await make_session(nodes.first, brand, ann.id)
        sessions = [shared, *[await make_session(nodes.first, brand, ann.id) for _ in range(REFRESHES // 2)]]
        standing = await make_session(nodes.first, brand, ann.id, SessionKind.standing)
        issued = [make_access_token(nodes.first, opened) for opened in (*sessions, standing)]
        refresh_tokens = [opened.refresh_token.reveal() for opened in sessions]
        caller = await make_caller(nodes.first, shared)
        presented = [*refresh_tokens[1:], *[refresh_tokens[0]] * (REFRESHES // 2)]
        racing: list[Awaitable[object]] = [_refresh(nodes[at], token) for at, token in enumerate(presented)]
        racing += [_exchange(nodes[at], standing.refresh_token.reveal()) for at in range(4)]
        racing.append(log_out_everywhere(caller, force=True))
        order.shuffle(racing)
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(outcome) for outcome in refused} <= {RefreshTokenInvalid}, (round_, refused)
        pairs = [outcome for outcome in outcomes if isinstance(outcome, TokenPair)]
        issued += [pair.auth_token for pair in pairs] + [outcome for outcome in outcomes if isinstance(outcome, str)]
        refresh_tokens += [pair.refresh_token for pair in pairs]
        for node in (nodes.first, nodes.second):
            await _assert_all_dead(node, issued, refresh_tokens, standing.refresh_token.reveal())
        # The allowed act: who signs in now is in.
        again = await make_session(nodes.second, brand, ann.id)
        await _assert_signed_in(nodes.first, (await _refresh(nodes.first, again.refresh_token.reveal())).auth_token)


async def _refresh(node: Server, token: str) -> TokenPair:
    return await refresh_pair(make_context(node), token)


async def _exchange(node: Server, token: str) -> str:
    return await get_access_token(make_context(node), token, None)


async def _assert_signed_in(node: Server, token: str) -> None:
    ctx = await authenticate(node, REQUEST, Credentials(authorization=token))
    assert ctx.brand is not None


async def _assert_all_dead(node: Server, issued: list[str], refresh_tokens: list[str], standing: str) -> None:
    for token in issued:
        with pytest.raises(AccessTokenRefused):
            await authenticate(node, REQUEST, Credentials(authorization=token))
    for token in refresh_tokens:
        with pytest.raises(RefreshTokenInvalid):
            await _refresh(node, token)
    with pytest.raises(RefreshTokenInvalid):
        await _exchange(node, standing)
