"""``within`` behaves as ``asyncio.timeout``, whether or not the work waits."""

from __future__ import annotations

import asyncio

import pytest

from keystead.aio import within


async def test_work_that_does_not_wait() -> None:
    async def work() -> int:
        return 7

    assert await within(0, work()) == 7


async def test_work_that_waits_too_long_is_cancelled() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert ended == ["cancelled"]


@pytest.mark.parametrize("waits", [0, 2])
async def test_errors_propagate(waits: int) -> None:
    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await within(10, work())


async def test_cancellation_from_outside_is_no_timeout() -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(within(10, work()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
