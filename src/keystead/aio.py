"""asyncio helpers: a timeout that is cheap for work that does not wait, and awaiting despite cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` with a timeout, as ``async with asyncio.timeout(seconds)`` does.

    Most of this work never waits (a body that has arrived, a read of SQLite), and setting a timer costs as much as
    that read: so the timer is only set when ``work`` first waits.

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


async def finish(future: asyncio.Future[T]) -> T:
    """Await ``future`` to its end even when the caller is cancelled meanwhile; the cancellation is raised afterwards.

    For work whose outcome must be known, such as a COMMIT.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        with suppress(BaseException):
            future.result()
        raise cancelled
    return future.result()


def is_being_cancelled() -> bool:
    """Whether the current task is being cancelled.

    Otherwise a CancelledError comes from something that the task awaited, and is a failure of that.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
