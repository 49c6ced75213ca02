"""Refresh with rotation on PostgreSQL, ``fsync`` on, beside the same SQL run by a bare asyncpg loop."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import asyncpg
import uvloop

from benchmarks.figures import Figure
from benchmarks.in_process import Caller, application
from benchmarks.over_http import postgres_environ, prepare
from benchmarks.paths import CREDENTIALS, LOGIN, REFRESH
from keystead.db import statements
from tests.postgres_server import postgres_server

Recorded = list[tuple[str, list[Any]]]

SECONDS = 3.0
ROUNDS = 5
_GENERATIONS = count(1_000_000)


def measure() -> Iterator[Figure]:
    """The figures."""
    with postgres_server("fsync=on", "synchronous_commit=on", "full_page_writes=on") as url:
        environ = postgres_environ(url) | {"KEYSTEAD_LOG_LEVEL": "warning"}
        prepare(environ)
        yield from uvloop.run(_refreshes(environ))


async def _refreshes(environ: dict[str, str]) -> list[Figure]:
    async with application(environ) as opened:
        caller = Caller(opened)
        recorded = await _record(caller)
        return [await _beside_bare_sql(caller, environ, recorded, concurrency) for concurrency in (1, 8)]


async def _beside_bare_sql(caller: Caller, environ: dict[str, str], recorded: Recorded, concurrency: int) -> Figure:
    tokens = [await _log_in(caller) for _ in range(concurrency)]
    bare = [await asyncpg.connect(environ["KEYSTEAD_DATABASE_URL"]) for _ in range(concurrency)]
    ratios, rates = [], []
    for _ in range(ROUNDS):
        plain = await _rate([_replay(connection, recorded) for connection in bare])
        ours = await _rate([_refresh(caller, tokens, chain) for chain in range(concurrency)])
        ratios.append(ours / plain)
        rates.append(ours)
    for connection in bare:
        await connection.close()
    beside = f"{min(ratios):.2f}..{max(ratios):.2f} over {ROUNDS} rounds, {statistics.median(rates):,.0f} refreshes/s"
    return Figure(
        f"refresh / bare SQL, {concurrency} concurrently", statistics.median(ratios), "", at_least=0.5, beside=beside
    )


async def _log_in(caller: Caller) -> str:
    token: str = (await caller.post(LOGIN, {"i": CREDENTIALS}))["login"]["data"]["refresh_token"]
    return token


def _refresh(caller: Caller, tokens: list[str], chain: int) -> Callable[[], Awaitable[None]]:
    async def once() -> None:
        answer = await caller.post(REFRESH, {"t": tokens[chain]})
        tokens[chain] = answer["refreshToken"]["data"]["refresh_token"]

    return once


async def _record(caller: Caller) -> Recorded:
    """The SQL of one refresh, in order, as it goes to the driver."""
    token = await _log_in(caller)
    recorded: Recorded = []
    original = statements.Compiled.bind

    def recording(self: statements.Compiled, params: dict[str, Any]) -> list[Any]:
        values = original(self, params)
        recorded.append((self.text, values))
        return values

    statements.Compiled.bind = recording  # type: ignore[method-assign]
    try:
        await caller.post(REFRESH, {"t": token})
    finally:
        statements.Compiled.bind = original  # type: ignore[method-assign]
    return recorded


def _replay(connection: Any, recorded: Recorded) -> Callable[[], Awaitable[None]]:
    """The same statements: reads outside, changes in one transaction, with new keys where a row is inserted."""
    changes = [index for index, (text, _) in enumerate(recorded) if not text.startswith("SELECT")]
    first, last = changes[0], changes[-1]

    async def once() -> None:
        for index, (text, values) in enumerate(recorded):
            if index == first:
                await connection.execute("BEGIN")
            await connection.fetch(text, *(_fresh(text, values)))
            if index == last:
                await connection.execute("COMMIT")

    return once


def _fresh(text: str, values: list[Any]) -> list[Any]:
    if not text.startswith("INSERT"):
        return values
    number = next(_GENERATIONS)
    fresh: list[Any] = []
    for value in values:
        if isinstance(value, bytes):
            fresh.append(os.urandom(len(value)))
        elif isinstance(value, int) and not isinstance(value, bool):
            fresh.append(number)
        else:
            fresh.append(value)
    if "audit_events" in text:
        fresh = [os.urandom(18).hex() if index == 0 else value for index, value in enumerate(fresh)]
    return fresh


async def _rate(workers: list[Callable[[], Awaitable[None]]]) -> float:
    deadline = time.perf_counter() + SECONDS
    started = time.perf_counter()
    done = 0

    async def work(once: Callable[[], Awaitable[None]]) -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await once()
            done += 1

    await asyncio.gather(*(work(once) for once in workers))
    return done / (time.perf_counter() - started)
