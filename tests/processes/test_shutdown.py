"""SIGTERM: no new connections, the requests in flight get their answers, and the process is gone within ten seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from keystead.context import Server
from keystead.db.interface import Database
from tests.databases import SqliteTemplate
from tests.make import PASSWORD, make_brand, make_user
from tests.processes.node import DRAIN_WITHIN, Node, RemoteApi, make_colleague, running
from tests.use_cases.people import ANN, LOGIN, ME

LOGINS = 12


@pytest.fixture
async def server(db: Database) -> Server:
    """A server in this process, on the same database."""
    return await make_colleague(db)


@pytest.fixture
async def node(server: Server, database_url: str, tmp_path: Path) -> AsyncIterator[Node]:
    """A server whose brand has one user."""
    await make_user(server, await make_brand(server), ANN, password=PASSWORD)
    with running(tmp_path, database_url) as node:
        yield node


async def test_requests_in_flight_are_answered(node: Node) -> None:
    """Logins wait for their turn at the password hasher; the signal comes when the first of them is through."""
    login = {"input": {"email": ANN, "password": PASSWORD}}
    async with RemoteApi(node) as api:
        in_flight = [asyncio.create_task(api.send(LOGIN, login)) for _ in range(LOGINS)]
        done, waiting = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
        node.terminate()
        started = time.monotonic()
        assert waiting, "all were answered before the signal"
        answers = [await task for task in (*done, *waiting)]
        assert [answer.status for answer in answers] == [200] * LOGINS
        assert all(answer.data["login"]["data"]["auth_token"] for answer in answers)
        assert await asyncio.to_thread(node.wait) == 0
        assert time.monotonic() - started < DRAIN_WITHIN
        with pytest.raises(httpx.TransportError):
            await api.send(ME)


async def test_an_unfinished_request_does_not_delay_shutdown(sqlite_template: SqliteTemplate, tmp_path: Path) -> None:
    half = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with running(tmp_path, sqlite_template.copy(tmp_path)) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(half)
        async with RemoteApi(node) as api:
            assert (await api.send(ME)).status == 200
        node.terminate()
        assert b" 503 " in await reader.readline()
        assert b'"SERVER_BUSY"' in await reader.read()
        await asyncio.to_thread(node.wait)
        writer.close()
        assert "Traceback" not in node.log.read_text()
