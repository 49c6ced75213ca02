"""Two nodes on one database, each with its own connections and keys."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from keystead.context import Server
from keystead.db.factory import open_database
from tests.clocks import ManualClock
from tests.make import make_server

ROUNDS = int(os.environ.get("KEYSTEAD_RACE_ROUNDS", "3"))

Nodes = tuple[Server, Server]


@pytest.fixture
async def nodes(server: Server, database_url: str, clock: ManualClock) -> AsyncIterator[Nodes]:
    """The server, and another one beside it."""
    second = open_database(database_url)
    await second.open()
    yield server, await make_server(second, clock)
    await second.close()


async def is_blocked(task: asyncio.Task[Any]) -> bool:
    """Whether the task still waits after a fifth of a second."""
    done, _ = await asyncio.wait({task}, timeout=0.2)
    return not done


async def outcome(work: Awaitable[Any]) -> Any:
    """The result, or the error as a value."""
    try:
        return await work
    except Exception as error:
        return error
