"""What requests cost in a large installation, beside a small one in the same process, in turns; on both databases.

``KEYSTEAD_GROWTH_USERS`` is the size of the large one: a million users by default, with one and a half million
sessions, three million refresh tokens, and half a million API keys. Nothing is analysed.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import uvloop

from benchmarks.figures import Figure
from benchmarks.in_process import Caller, application
from benchmarks.over_http import PASSWORD, keystead
from benchmarks.paths import CREDENTIALS, LOGIN, REFRESH
from keystead.db.interface import Database
from keystead.db.slices import run_in_slices
from keystead.sessions import refresh_token_store
from tests.databases import import_stores
from tests.growth.filling import fill
from tests.postgres_server import postgres_server

SMALL = 1_000
LARGE = int(os.environ.get("KEYSTEAD_GROWTH_USERS", "1000000"))
CALLS = 200
SWEEP_SECONDS = 20.0
DEEP = "userList page 1,000"

CREATE_ME = "mutation { createMe }"
ME = "{ me { id email } }"
USERS = "query($page: Int!) { userList(pagination: {page: $page}) { data { id email roles } } }"
KEYS = "{ apiKeyList { data { id name } } }"

Operations = dict[str, Callable[[], Awaitable[object]]]


def measure() -> Iterator[Figure]:
    """The figures of both databases."""
    import_stores()
    with tempfile.TemporaryDirectory() as name:
        urls = [f"sqlite:///{name}/{users}.db" for users in (SMALL, LARGE)]
        yield from uvloop.run(_measure("sqlite", urls))
    with postgres_server("shared_buffers=512MB", "max_wal_size=4GB") as url:
        urls = [f"{url}/users_{users}" for users in (SMALL, LARGE)]
        uvloop.run(_create(f"{url}/postgres", urls))
        yield from uvloop.run(_measure("postgresql", urls))


async def _create(server: str, urls: list[str]) -> None:
    connection = await asyncpg.connect(server)
    for url in urls:
        await connection.execute(f"CREATE DATABASE {url.rpartition('/')[2]}")
    await connection.close()


async def _measure(name: str, urls: list[str]) -> list[Figure]:
    async with AsyncExitStack() as stack:
        made = [await _make(url, users) for url, users in zip(urls, (SMALL, LARGE), strict=True)]
        small, large = [await stack.enter_async_context(_open(*installation)) for installation in made]
        figures = [await _beside(name, small[0], large[0], operation) for operation in large[0]]
        return [*figures, await _longest_slice(name, large[1])]


async def _make(url: str, users: int) -> tuple[dict[str, str], str, str]:
    """The environment of a filled installation, a brand token, and an API key of an administrator."""
    environ = {
        "KEYSTEAD_DATABASE_URL": url,
        "KEYSTEAD_MASTER_KEY": "benchmarks only, not a secret at all",
        "KEYSTEAD_BASE_URL": "http://bench.localhost",
        "KEYSTEAD_LOG_LEVEL": "warning",
        "KEYSTEAD_THROTTLING": "off",
    }
    keystead(environ, "migrate")
    brand = json.loads(keystead(environ, "brand", "create", "bench"))
    luna = "user create --brand bench --email luna@bench.example --verified --password-stdin"
    keystead(environ, *luna.split(), text=PASSWORD)
    key = json.loads(keystead(environ, *"api-key create --brand bench --name bench --permission admin".split()))
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    await fill(url, users, brand["id"], at=tomorrow)
    return environ, brand["token"], key["token"]


@asynccontextmanager
async def _open(environ: dict[str, str], brand_token: str, key: str) -> AsyncIterator[tuple[Operations, Database]]:
    async with application(environ) as opened:
        server: Any = opened._server

        async def is_right(*_: object, **__: object) -> bool:
            return True

        server.passwords.verify = is_right
        yield await _operations(Caller(opened), brand_token, key), server.db


async def _operations(caller: Caller, brand_token: str, key: str) -> Operations:
    tokens = (await caller.post(LOGIN, {"i": CREDENTIALS}))["login"]["data"]
    anyone = caller.with_headers(keystead_brand_authorization=brand_token)
    admin = caller.with_headers(keystead_api_key=key)
    user = caller.with_headers(authorization=tokens["auth_token"])

    async def refresh() -> None:
        answer = await caller.post(REFRESH, {"t": tokens["refresh_token"]})
        tokens["refresh_token"] = answer["refreshToken"]["data"]["refresh_token"]

    return {
        "me": lambda: user.post(ME),
        # Before the logins: the oldest sessions make room for theirs.
        "refresh": refresh,
        "login without its hash": lambda: caller.post(LOGIN, {"i": CREDENTIALS}),
        "createMe": lambda: anyone.post(CREATE_ME),
        "userList page 1": lambda: admin.post(USERS, {"page": 1}),
        DEEP: lambda: admin.post(USERS, {"page": 1000}),
        "apiKeyList": lambda: admin.post(KEYS),
    }


async def _beside(name: str, small: Operations, large: Operations, operation: str) -> Figure:
    """The ratio of the medians of calls that take turns: what else the machine does slows both down alike."""
    # A small installation has no such page: its first one stands for it.
    calls = (small["userList page 1" if operation == DEEP else operation], large[operation])
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(CALLS):
        for call, times in zip(calls, took, strict=True):
            started = time.perf_counter()
            await call()
            times.append((time.perf_counter() - started) * 1000)
    few, many = (statistics.median(times) for times in took)
    beside = f"{many:.2f} ms with {LARGE:,} users, {few:.2f} ms with {SMALL:,}"
    return Figure(f"{operation} ({name})", many / few, "", at_most=5 if operation == DEEP else 1.5, beside=beside)


async def _longest_slice(name: str, db: Database) -> Figure:
    """How long a sweep of everything holds the writer at a time, COMMIT included."""
    slices: list[float] = []

    async def note(seconds: float) -> None:
        slices.append(seconds * 1000)
        await asyncio.sleep(0)

    over = datetime.now(UTC) + timedelta(days=2)
    swept = await run_in_slices(
        db, lambda tx, rows: refresh_token_store.sweep(tx, over, rows), seconds=SWEEP_SECONDS, rest=note
    )
    slices.sort()
    beside = (
        f"{swept:,} rows in {len(slices):,} slices, median {statistics.median(slices):.1f}, longest {slices[-1]:.1f} ms"
    )
    return Figure(f"slice of a sweep, p99 ({name})", slices[int(len(slices) * 0.99)], "ms", at_most=20, beside=beside)
