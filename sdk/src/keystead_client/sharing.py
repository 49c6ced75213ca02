"""Among whom an answer is shared: the tasks of event loops, or threads that run the same coroutines without a loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

from keystead_client.single_flight import SingleFlight

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]

PATIENCE: Final = 90.0
"""Seconds after which somebody else's request is given up: longer than any can take with all its repetitions."""


class Share(Protocol):
    """Answers with what came of the work, which one does for all who ask for the same key."""

    async def __call__(self, flights: SingleFlight[T], key: str, work: Work[T]) -> T:
        """What came of it. Raises what the work raised, or ``Timeout``."""


async def among_tasks(flights: SingleFlight[T], key: str, work: Work[T]) -> T:
    """For ASGI: one who waits keeps no other task waiting."""
    return await flights.run_async(key, work, PATIENCE)


async def among_threads(flights: SingleFlight[T], key: str, work: Work[T]) -> T:
    """For WSGI: never suspends, so that :func:`complete` can drive it; one who waits keeps the thread waiting."""
    return flights.run(key, lambda: complete(work()), PATIENCE)


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never has to wait for an event loop, in this thread and without one.

    Raises ``RuntimeError`` for one that does.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("this is asynchronous: use keystead_client.auth")
