"""``serve --workers 2`` on either database: two processes behind one port, which know the same."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database
from tests.make import PASSWORD, make_access_token, make_brand, make_session, make_user
from tests.processes.node import Node, RemoteApi, make_colleague, running
from tests.use_cases.people import ADMIN, ANN, is_signed_out, log_in, refresh, try_refresh

CUSTOMERS = "{ customerList { data { name } } }"
DEFINE = "mutation { defineEntity(definition: { customer: { fields: { %s } } }) { data { applied } } }"


@pytest.fixture
async def server(db: Database) -> Server:
    """A server in this process, on the same database."""
    return await make_colleague(db)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand, the only one."""
    return await make_brand(server)


@pytest.fixture
async def node(server: Server, database_url: str, tmp_path: Path) -> AsyncIterator[Node]:
    """Two workers."""
    with running(tmp_path, database_url, "--workers", "2") as node:
        yield node


@contextmanager
def only(node: Node, number: int) -> Iterator[None]:
    """Has every request answered by the worker of this number: the other one is held still."""
    workers = node.workers()
    assert len(workers) == 2
    still = workers[1 - number]
    os.kill(still, signal.SIGSTOP)
    while _is_locked(node.database_url):
        # It was caught in the middle of a change and would block the others.
        os.kill(still, signal.SIGCONT)
        os.sched_yield()
        os.kill(still, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(still, signal.SIGCONT)


def _is_locked(database_url: str) -> bool:
    if not database_url.startswith("sqlite"):
        return False
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), timeout=0.5, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


async def test_changes_of_one_worker_take_effect_in_the_other(node: Node, server: Server, brand: ActiveBrand) -> None:
    await make_user(server, brand, ANN, password=PASSWORD)
    admin = await make_user(server, brand, ADMIN, permissions=("admin",))
    caller = make_access_token(server, await make_session(server, brand, admin.id))
    with only(node, 0):
        async with RemoteApi(node) as api:
            tokens = await log_in(api)
            assert (await api.send(CUSTOMERS, token=caller)).status == 400
            made = await api.send(DEFINE % 'name: { type: "string" }', token=caller)
            assert made.data["defineEntity"]["data"]["applied"]
    with only(node, 1):
        async with RemoteApi(node) as api:
            assert (await api.send(CUSTOMERS, token=caller)).data == {"customerList": {"data": []}}
            assert not await is_signed_out(api, tokens.auth)
            successor = await refresh(api, tokens.refresh)
            made = await api.send(DEFINE % 'name: { type: "string" }, city: { type: "string" }', token=caller)
            assert made.data["defineEntity"]["data"]["applied"]
    with only(node, 0):
        async with RemoteApi(node) as api:
            assert (await api.send("{ customerList { data { city } } }", token=caller)).data
            assert (await refresh(api, tokens.refresh)).refresh == successor.refresh
            assert (await api.send("mutation { logout { data { success } } }", token=successor.auth)).data
    with only(node, 1):
        async with RemoteApi(node) as api:
            assert await is_signed_out(api, tokens.auth)
            assert (await try_refresh(api, successor.refresh)).code == "REFRESH_TOKEN_INVALID"
    _both_stop_with_their_parent(node)


def _both_stop_with_their_parent(node: Node) -> None:
    workers = node.workers()
    node.terminate()
    assert node.wait() == 0
    assert [worker for worker in workers if Path(f"/proc/{worker}").exists()] == []
    assert node.get("/health") == (0, None)
