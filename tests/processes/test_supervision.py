"""Workers die, cannot start, are replaced; the supervisor dies; signals. What is acknowledged is never lost.

``make races`` repeats the kills many times.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead.db import migrate
from keystead.db.interface import Database
from tests.databases import SqliteTemplate
from tests.make import make_brand, make_brand_token
from tests.processes.conftest import ROUNDS
from tests.processes.node import Node, RemoteApi, make_colleague, running
from tests.use_cases.people import ME, try_get_access_token

CREATE_ME = "mutation { createMe }"
NEXT_RELEASE = "9999"
WITHIN = 60.0
_PAUSE = threading.Event()

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)


@pytest.fixture
async def server(db: Database) -> Server:
    """A server in this process, on the same database."""
    return await make_colleague(db)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand, the only one."""
    return await make_brand(server)


@pytest.fixture
async def brand_token(server: Server, brand: ActiveBrand) -> str:
    """A token of it."""
    return (await make_brand_token(server, brand)).reveal()


@pytest.fixture
async def pair(server: Server, database_url: str, tmp_path: Path) -> AsyncIterator[Node]:
    """Two workers and their supervisor."""
    with running(tmp_path, database_url, "--workers", "2") as node:
        await until(lambda: len(node.events("worker_ready")) == 2)
        yield node


async def until(is_so: Callable[[], Any]) -> None:
    """Waits until something of another process is so."""
    async with asyncio.timeout(WITHIN):
        while not is_so():
            await asyncio.to_thread(_PAUSE.wait, 0.02)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def set_revision(database_url: str, revision: str) -> None:
    """What the next release's ``keystead migrate`` leaves behind."""
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        return
    other = await asyncpg.connect(database_url)
    try:
        await other.execute("UPDATE alembic_version SET version_num = $1", revision)
    finally:
        await other.close()


@on_postgres
async def test_running_workers_serve_while_a_replacement_cannot_start(
    pair: Node, database_url: str, brand_token: str
) -> None:
    first, second = pair.workers()
    await set_revision(database_url, NEXT_RELEASE)
    os.kill(first, signal.SIGKILL)
    await until(lambda: len(pair.events("worker_died")) >= 3)
    killed, *failed = pair.events("worker_died")
    assert (killed["worker"], killed["signal"], killed["level"]) == (first, "SIGKILL", "error")
    assert {(line["exit_code"], line["level"]) for line in failed} == {(1, "error")}
    assert pair.events("cannot_start")[0]["reason"]
    assert pair.process.poll() is None
    assert pair.get("/ready") == (200, {"ready": True}), "the release before serves on while the next one is deployed"
    async with RemoteApi(pair) as api:
        assert (await api.send(CREATE_ME, brand=brand_token)).data["createMe"]
    await set_revision(database_url, str(migrate.head_revision()))
    await until(lambda: len(pair.events("worker_ready")) == 3)
    workers = pair.workers()
    assert second in workers
    assert len(workers) == 2


@on_sqlite
async def test_a_moved_database_file_takes_no_writes_and_is_not_created_again(
    pair: Node, database_url: str, brand_token: str, tmp_path: Path
) -> None:
    path, (victim, _) = database_url.removeprefix("sqlite:///"), pair.workers()
    away = tmp_path / "away"
    away.mkdir()
    files = [name for name in os.listdir(tmp_path) if name.startswith(os.path.basename(path))]
    for name in files:
        os.rename(tmp_path / name, away / name)
    os.kill(victim, signal.SIGKILL)
    async with RemoteApi(pair) as api:
        answer = await api.send(CREATE_ME, brand=brand_token)
        assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE")
        refused = [line for line in pair.events("graphql.refused") if line["code"] == "SERVICE_UNAVAILABLE"]
        assert (refused[-1]["level"], refused[-1]["reference_id"]) == ("error", answer.extensions["referenceId"])
        assert pair.get("/ready")[0] == 503
        await until(lambda: pair.events("database_file_lost") and len(pair.events("cannot_start")) >= 2)
        assert os.path.basename(path) not in os.listdir(tmp_path)
        for name in files:
            os.rename(away / name, tmp_path / name)
        await until(lambda: pair.events("database_file_back"))
        assert (await api.send(CREATE_ME, brand=brand_token)).data["createMe"]
        await workers_of(pair, 2, but_not=[victim])


@pytest.mark.parametrize(
    ("count", "reloads_during_start", "stop"),
    [("1", False, signal.SIGQUIT), ("1", True, signal.SIGQUIT), ("2", False, signal.SIGINT)],
)
async def test_a_failed_reload_changes_nothing_and_shutdown_is_orderly(
    sqlite_template: SqliteTemplate, tmp_path: Path, count: str, reloads_during_start: bool, stop: signal.Signals
) -> None:
    node = Node(tmp_path, sqlite_template.copy(tmp_path), "--workers", count)
    try:
        if reloads_during_start:
            await reload_during_start(node)
        await until(lambda: node.get("/ready")[0] == 200)
        before = await workers_of(node, int(count)) if reloads_during_start or count == "2" else []
        assert node.workers() == before
        await set_revision(node.database_url, NEXT_RELEASE)
        node.process.send_signal(signal.SIGHUP)
        await until(lambda: node.events("reload_failed"))
        assert node.workers() == before
        assert node.get("/ready")[0] == 200
        node.process.send_signal(stop)
        assert await asyncio.to_thread(node.wait) == 0
        assert not any(is_alive(worker) for worker in before)
        assert node.events("worker_died") == []
    finally:
        node.kill()


async def test_a_reload_signal_during_the_start_of_a_supervisor_is_deferred(
    sqlite_template: SqliteTemplate, tmp_path: Path
) -> None:
    node = Node(tmp_path, sqlite_template.copy(tmp_path), "--workers", "2")
    try:
        await reload_during_start(node)
        await until(lambda: node.get("/ready")[0] == 200)
        node.terminate()
        assert await asyncio.to_thread(node.wait) == 0
    finally:
        node.kill()


async def reload_during_start(node: Node) -> None:
    """Send SIGHUP as soon as the process has blocked it; it must wait for its handler."""
    status = Path(f"/proc/{node.process.pid}/status")
    blocked = 1 << (signal.SIGHUP - 1)
    await until(lambda: int(re.findall(r"SigBlk:\s*(\w+)", status.read_text())[0], 16) & blocked)
    node.process.send_signal(signal.SIGHUP)
    await until(lambda: node.events("reload_started") and node.events("worker_ready"))


class Load:
    """Clients that write without a pause, some over one connection, some over a new one for each request."""

    def __init__(self, node: Node, brand_token: str) -> None:
        self.acknowledged: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self._node, self._brand_token = node, brand_token
        self._is_over = False

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._write(headers)) for headers in (None, None, {"Connection": "close"})]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def until_written(self, count: int) -> None:
        """Waits until so many requests have been acknowledged."""
        await until(lambda: len(self.acknowledged) >= count)

    async def _write(self, headers: dict[str, str] | None) -> None:
        async with RemoteApi(self._node) as api:
            while not self._is_over:
                try:
                    answer = await api.send(CREATE_ME, brand=self._brand_token, headers=headers)
                except httpx.TransportError as error:
                    self.outcomes[type(error).__name__] += 1
                    continue
                self.outcomes[str(answer.status)] += 1
                if answer.status == 200:
                    self.acknowledged.append(answer.data["createMe"])


@on_sqlite
@pytest.mark.parametrize("count", [1, 2])
async def test_reloads_under_load_lose_no_request(
    server: Server, brand_token: str, database_url: str, tmp_path: Path, count: int
) -> None:
    with running(tmp_path, database_url, "--workers", str(count)) as node:
        generations = [[] if count == 1 else await workers_of(node, 2)]
        async with Load(node, brand_token) as load:
            # The first reload of a single process makes it a supervisor; the second one is the supervisor's.
            while len(generations) < 4 - count:
                node.process.send_signal(signal.SIGHUP)
                generations.append(await workers_of(node, count, but_not=generations[-1]))
        assert set(load.outcomes) == {"200"}, load.outcomes
        async with RemoteApi(node) as api:
            assert (await api.send(ME)).status == 200
        assert resident(node.process.pid) < resident(generations[-1][0]) / 2, "a supervisor is small"
        assert not any(is_alive(worker) for before in generations[:-1] for worker in before)
    assert node.process.returncode == 0
    assert node.events("worker_died") == []


async def workers_of(node: Node, count: int, *, but_not: list[int] | None = None) -> list[int]:
    """So many workers, all ready and all newer than others."""
    await until(lambda: is_settled(node, count, but_not or []))
    return node.workers()


def is_settled(node: Node, count: int, before: list[int]) -> bool:
    """Whether there are so many workers, all of them ready, and none that was there before."""
    workers = set(node.workers())
    return len(workers) == count and not workers & set(before) and workers <= ready(node)


def ready(node: Node) -> set[int]:
    """The workers that have been ready."""
    return {line["worker"] for line in node.events("worker_ready")}


@pytest.mark.race
async def test_killed_workers_lose_no_write_and_end_with_their_supervisor(pair: Node, brand_token: str) -> None:
    kept: list[str] = []
    for _ in range(max(1, ROUNDS // 3)):
        victim = random.choice(pair.workers())
        async with Load(pair, brand_token) as load:
            await load.until_written(random.randint(1, 60))
            os.kill(victim, signal.SIGKILL)
            await workers_of(pair, 2, but_not=[victim])
        kept += load.acknowledged
        assert set(load.outcomes) - {"200"} <= {"ReadError", "RemoteProtocolError", "WriteError"}, load.outcomes
    async with RemoteApi(pair) as api:
        for token in kept:
            assert (await try_get_access_token(api, token)).data["getAccessToken"]
    assert {line["signal"] for line in pair.events("worker_died")} == {"SIGKILL"}
    workers = pair.workers()
    pair.process.kill()
    pair.process.wait()
    killed = time.monotonic()
    await until(lambda: not any(is_alive(worker) for worker in workers))
    assert time.monotonic() - killed < 5, "two seconds, on a machine that is not busy"
    assert len(pair.events("supervisor_gone")) == 2


def resident(pid: int) -> int:
    """The resident memory of a process, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
