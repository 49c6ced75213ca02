"""Logins beside the bare rate of the same Argon2 pool; the lag of the event loop meanwhile."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator

import uvloop

from benchmarks.figures import Figure
from benchmarks.in_process import Caller, application
from benchmarks.over_http import PASSWORD, prepare
from benchmarks.paths import CREDENTIALS, LOGIN
from keystead.crypto.passwords import PasswordPool

WAITING = 60
LOGINS = 60
CONCURRENCY = 8
ROUNDS = 5
TICK = 0.001


def measure() -> Iterator[Figure]:
    """The figures, on SQLite."""
    with tempfile.TemporaryDirectory() as name:
        environ = {"KEYSTEAD_DATABASE_URL": f"sqlite:///{name}/bench.db", "KEYSTEAD_LOG_LEVEL": "warning"}
        prepare(environ)
        yield from uvloop.run(_logins(environ))


async def _logins(environ: dict[str, str]) -> list[Figure]:
    async with application(environ) as opened:
        caller = Caller(opened)
        pool = PasswordPool()
        stored = await pool.hash(PASSWORD)
        ratios = []
        for _ in range(ROUNDS):
            bare = await _rate(lambda: pool.verify(stored, PASSWORD))
            ratios.append(await _rate(lambda: caller.post(LOGIN, {"i": CREDENTIALS})) / bare)
        pool.close()
        lags = await _lags_while_waiting(caller)
    spread = f"{min(ratios):.2f}..{max(ratios):.2f} over {ROUNDS} rounds of {LOGINS}, {CONCURRENCY} concurrently"
    p99 = lags[int(len(lags) * 0.99)] * 1000
    return [
        Figure("logins / bare Argon2", statistics.median(ratios), "", at_least=0.85, beside=spread),
        Figure(f"loop lag p99, {WAITING} logins waiting", p99, "ms", at_most=20, beside=f"{len(lags)} samples"),
    ]


async def _rate(work: Callable[[], Awaitable[object]]) -> float:
    """How many a second, with enough concurrent logins to keep the pool busy."""
    left = LOGINS
    started = time.perf_counter()

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await work()

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return LOGINS / (time.perf_counter() - started)


async def _lags_while_waiting(caller: Caller) -> list[float]:
    """How late a timer of 1 ms fires while the queue is full. Some logins may be rejected on a slow machine."""
    lags: list[float] = []
    for _ in range(ROUNDS):
        watch = asyncio.create_task(_watch(lags))
        logins = [caller.post(LOGIN, {"i": CREDENTIALS}) for _ in range(WAITING)]
        await asyncio.gather(*logins, return_exceptions=True)
        watch.cancel()
    return sorted(lags)


async def _watch(lags: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        lags.append(time.perf_counter() - before - TICK)
