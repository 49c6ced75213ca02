"""A limit on how long something may take, which costs nothing when it need not wait; and who else ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns, as ``async with asyncio.timeout(seconds)`` would give it.

    Most of what is limited here is done without waiting once: a body that has arrived, a read of SQLite. Setting a
    timer for it and taking it back would cost as much as the read; so the timer is set when ``work`` first waits.

    :raises TimeoutError: when ``work`` waits for longer than ``seconds``; it has been cancelled.
    """
    try:
        waiting = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    async with asyncio.timeout(seconds):
        return await _rest(work, waiting)


@coroutine
def _rest(work: Coroutine[Any, Any, T], waiting: Any) -> Generator[Any, Any, T]:
    """What ``await work`` does from its first wait on (PEP 380)."""
    while True:
        step: Callable[[Any], Any] = work.send
        try:
            value = yield waiting
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            step, value = work.throw, error
        try:
            waiting = step(value)
        except StopIteration as done:
            result: T = done.value
            return result


def is_being_cancelled() -> bool:
    """Whether somebody ends this task. Otherwise a CancelledError is a mishap of something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
