"""Nodes whose wall clocks are wrong, on one PostgreSQL: the database's clock decides, so nothing goes wrong."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import func, select

from keystead.context import Server
from keystead.db.factory import open_database
from keystead.db.statements import Statement
from keystead.installation.store import signing_keys
from keystead.policy import SessionKind
from keystead.sessions.model import EndReason
from keystead.sessions.store import end_session, sessions
from tests.databases import PostgresTemplate, run
from tests.make import PASSWORD, change_brand, make_brand, make_brand_token, make_session, make_user
from tests.processes.conftest import ROUNDS
from tests.processes.faketime import wrong_clock
from tests.processes.node import Node, RemoteApi, make_colleague
from tests.use_cases.people import ANN, ME, log_in, refresh, try_refresh

pytestmark = pytest.mark.race

SWEEPER = "+40d"
OFFSETS: tuple[str, ...] = (SWEEPER, "-600", "+15")
if ROUNDS > 3:  # make races
    OFFSETS = (*OFFSETS, "-120", "-15", "+120", "+600")
A_MINUTE_OFF = {SWEEPER, "-600", "-120", "+120", "+600"} & set(OFFSETS)
GRACE = 2
"""Seconds in which a refresh token may be used twice; afterwards its use is a theft."""
WITHIN = 30.0
_ALIVE = Statement(select(func.count()).where(sessions.c.ended_at.is_(None)), unbranded="test")
_OVER = Statement(select(func.count()).where(sessions.c.ended_at.is_not(None)), unbranded="test")
_KEYS = Statement(select(func.count()).select_from(signing_keys))


class Nodes(NamedTuple):
    """One node whose clock is right, and the others by how far theirs are off."""

    right: Node
    wrong: dict[str, Node]
    database_url: str
    brand_token: str


@asynccontextmanager
async def _colleague(url: str) -> AsyncIterator[Server]:
    db = open_database(url)
    await db.open()
    yield await make_colleague(db)
    await db.close()


async def _count(server: Server, statement: Statement) -> int:
    row = await server.db.reads.find(statement)
    return int(row[0]) if row else 0


@pytest.fixture(scope="module")
def nodes(postgres_template: PostgresTemplate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The node that is 40 days ahead starts first: it alone sweeps, for five minutes."""
    environments = {offset: wrong_clock(offset) for offset in OFFSETS}
    url, folder = postgres_template.copy(), tmp_path_factory.mktemp("nodes")
    token: list[str] = []
    with ExitStack() as stack:
        stack.callback(postgres_template.drop, url)
        run(_prepare(url, token))
        wrong: dict[str, Node] = {}
        for offset, environment in environments.items():
            wrong[offset] = Node(folder, url, **environment)
            stack.callback(wrong[offset].kill)
            if offset == SWEEPER:
                run(_has_swept(url))
        right = Node(folder, url)
        stack.callback(right.kill)
        for node in (right, *wrong.values()):
            node.wait_until_ready()
        yield Nodes(right, wrong, url, token[0])


async def _prepare(url: str, token: list[str]) -> None:
    """By a clock that is right: a signing key, a session of each kind that is alive, and one that is to be swept."""
    async with _colleague(url) as server:
        brand = await change_brand(server, await make_brand(server), {"policy": {"grace": GRACE, "lost_window": 0}})
        token.append((await make_brand_token(server, brand)).reveal())
        ann = await make_user(server, brand, ANN, password=PASSWORD)
        over, *_ = [await make_session(server, brand, ann.id, kind) for kind in (SessionKind.pair, *SessionKind)]
        async with server.db.transaction() as tx:
            long_ago = server.clock.now() - timedelta(days=90)
            await end_session(tx, brand.id, over.session_id, EndReason.logout, long_ago)


async def _has_swept(url: str) -> None:
    pause = threading.Event()
    async with _colleague(url) as server:
        for _ in range(int(WITHIN / 0.05)):
            if await _count(server, _OVER) == 0:
                return
            pause.wait(0.05)
    raise AssertionError("nothing was swept")


@pytest.fixture
async def apis(nodes: Nodes) -> AsyncIterator[dict[str, RemoteApi]]:
    """A client of each node whose clock is wrong, and of the one whose clock is right."""
    async with AsyncExitStack() as stack:
        everyone = {"right": nodes.right, **nodes.wrong}
        yield {name: await stack.enter_async_context(RemoteApi(node)) for name, node in everyone.items()}


async def test_no_live_session_is_swept_and_no_key_is_made(nodes: Nodes) -> None:
    async with _colleague(nodes.database_url) as server:
        assert (await _count(server, _ALIVE), await _count(server, _KEYS)) == (2, 1)


async def test_clock_skew_of_a_minute_is_logged(nodes: Nodes) -> None:
    logged = {
        offset
        for offset, node in nodes.wrong.items()
        if any(line["event"] == "clocks_apart" for line in node.log_lines())
    }
    assert logged == A_MINUTE_OFF


async def test_an_access_token_of_one_node_is_valid_at_the_other(nodes: Nodes, apis: dict[str, RemoteApi]) -> None:
    async def exchange(offset: str) -> tuple[int, int]:
        right, wrong = apis["right"], apis[offset]
        here, there = [await log_in(api, brand=nodes.brand_token) for api in (right, wrong)]
        return (await wrong.send(ME, token=here.auth)).status, (await right.send(ME, token=there.auth)).status

    assert dict(zip(OFFSETS, await asyncio.gather(*map(exchange, OFFSETS)), strict=True)) == dict.fromkeys(
        OFFSETS, (200, 200)
    )


async def test_replay_and_reuse_are_told_apart_despite_clock_skew(nodes: Nodes, apis: dict[str, RemoteApi]) -> None:
    """Rotated by one node, presented to another: within the grace it is answered, later it is a theft."""

    async def present(here: RemoteApi, there: RemoteApi) -> str | None:
        first = (await log_in(here, brand=nodes.brand_token)).refresh
        rotated = time.monotonic()
        second = await refresh(here, first)
        replay = await try_refresh(there, first)
        if time.monotonic() - rotated < GRACE - 0.5:
            assert replay.data["refreshToken"]["data"]["refresh_token"] == second.refresh
        while replay.code is None and time.monotonic() - rotated < WITHIN:
            replay = await try_refresh(there, first)
        assert time.monotonic() - rotated > GRACE - 0.5, "not before the grace is over"
        return replay.code

    right = apis["right"]
    ways = [way for offset in OFFSETS for way in ((right, apis[offset]), (apis[offset], right))]
    assert set(await asyncio.gather(*(present(*way) for way in ways))) == {"REFRESH_TOKEN_REUSED"}
