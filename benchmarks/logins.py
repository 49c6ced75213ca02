"""Logins beside the bare rate of the same Argon2 pool; how long the event loop is held up meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator

from benchmarks.figures import Figure
from benchmarks.in_process import Caller, application
from benchmarks.over_http import PASSWORD, prepare
from benchmarks.paths import CREDENTIALS, LOGIN
from keystead.crypto.passwords import PasswordPool

WAITING = 60
ROUNDS = 4
TICK = 0.001


def measure() -> Iterator[Figure]:
    """The figures, on SQLite."""
    with tempfile.TemporaryDirectory() as name:
        environ = {"KEYSTEAD_DATABASE_URL": f"sqlite:///{name}/bench.db", "KEYSTEAD_LOG_LEVEL": "warning"}
        prepare(environ)
        yield from asyncio.run(_logins(environ))


async def _logins(environ: dict[str, str]) -> list[Figure]:
    async with application(environ) as opened:
        caller = Caller(opened)
        pool = PasswordPool()
        stored = await pool.hash(PASSWORD)
        lags: list[float] = []
        ratios = []
        for _ in range(ROUNDS):
            bare = await _rate(lambda: pool.verify(stored, PASSWORD))
            watch = asyncio.create_task(_watch(lags))
            ours = await _rate(lambda: caller.post(LOGIN, {"i": CREDENTIALS}))
            watch.cancel()
            ratios.append(ours / bare)
        pool.close()
    lags.sort()
    ratios.sort()
    ratio = (ratios[len(ratios) // 2] + ratios[(len(ratios) - 1) // 2]) / 2
    spread = f"{ratios[0]:.2f}..{ratios[-1]:.2f} over {ROUNDS} rounds of {WAITING} at once"
    p99 = lags[int(len(lags) * 0.99)] * 1000
    return [
        Figure("logins / bare Argon2", ratio, "", at_least=0.85, beside=spread),
        Figure("loop lag p99, 60 logins waiting", p99, "ms", at_most=20, beside=f"{len(lags)} samples"),
    ]


async def _rate(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    waiting = [asyncio.ensure_future(work()) for _ in range(WAITING)]
    await asyncio.gather(*waiting)
    return WAITING / (time.perf_counter() - started)


async def _watch(lags: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        lags.append(time.perf_counter() - before - TICK)
