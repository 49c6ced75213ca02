"""One event loop for all tests of a process: an open database outlives a test, its tasks do not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Set
from typing import Any, TypeAlias

import pytest

Tasks: TypeAlias = Set[asyncio.Task[Any]]


@pytest.fixture(scope="session")
async def session_loop() -> asyncio.AbstractEventLoop:
    """The loop of all tests and fixtures."""
    return asyncio.get_running_loop()


@pytest.fixture(autouse=True)
def earlier_tasks(session_loop: asyncio.AbstractEventLoop) -> Iterator[Tasks]:
    """The tasks that were there before the test; later ones that are left are cancelled, as a loop's end would."""
    earlier = asyncio.all_tasks(session_loop)
    yield earlier
    if asyncio.all_tasks(session_loop) - earlier:
        session_loop.run_until_complete(end_later_tasks(earlier))


async def end_later_tasks(earlier: Tasks) -> None:
    """Cancel all tasks but the current one and those that were there ``earlier``."""
    left = asyncio.all_tasks() - earlier - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=5)
