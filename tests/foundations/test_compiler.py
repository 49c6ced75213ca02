"""The compiler's thread pool: one job per key at a time, bounded; the lock belongs to the thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from keystead.compiler import Compiler
from keystead.errors import ServerBusy


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What jobs wait for; open at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


async def begun(running: threading.Event) -> None:
    await asyncio.to_thread(running.wait, 5)


async def test_jobs_run_on_a_thread_and_errors_propagate() -> None:
    compiler = Compiler()
    assert await compiler.run("a", threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await compiler.run("a", lambda: 1 // 0)
    assert await compiler.run("a", lambda: 1) == 1


async def test_jobs_of_a_key_run_one_at_a_time(gate: threading.Event) -> None:
    compiler, running, order = Compiler(), threading.Event(), list[str]()

    def first() -> None:
        running.set()
        gate.wait()
        order.append("first")

    jobs = [asyncio.ensure_future(compiler.run("a", first))]
    await begun(running)
    jobs.append(asyncio.ensure_future(compiler.run("a", lambda: order.append("second"))))
    await compiler.run("b", lambda: order.append("other"))
    gate.set()
    await asyncio.gather(*jobs)
    assert order == ["other", "first", "second"]


async def test_too_many_waiting_jobs_and_long_waits_are_rejected(gate: threading.Event) -> None:
    compiler, running = Compiler(most_waiting=1, longest_wait=0.05), threading.Event()

    def hold() -> None:
        running.set()
        gate.wait()

    held = asyncio.ensure_future(compiler.run("a", hold))
    await begun(running)
    waiting = asyncio.ensure_future(compiler.run("a", lambda: None))
    await asyncio.sleep(0)
    with pytest.raises(ServerBusy, match="try again"):
        await compiler.run("a", lambda: None)
    with pytest.raises(ServerBusy):
        await waiting
    gate.set()
    await held
    assert await compiler.run("a", lambda: 1) == 1


async def test_one_key_cannot_fill_the_queue(gate: threading.Event) -> None:
    compiler = Compiler(most_waiting=2, most_in_all=3)
    loud = [asyncio.ensure_future(compiler.run("loud", gate.wait)) for _ in range(9)]
    quiet = [asyncio.ensure_future(compiler.run("quiet", lambda: 1)) for _ in range(2)]
    assert await asyncio.gather(*quiet) == [1, 1]
    others = [asyncio.ensure_future(compiler.run("other", gate.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*loud, *others, return_exceptions=True)
    assert [isinstance(answer, ServerBusy) for answer in answers] == [False] * 3 + [True] * 6 + [False, False, True]
    assert not compiler._waiting


async def test_a_cancelled_caller_does_not_release_the_lock(gate: threading.Event) -> None:
    compiler, running = Compiler(longest_wait=0.05), threading.Event()

    def hold() -> None:
        running.set()
        gate.wait()

    held = asyncio.ensure_future(compiler.run("a", hold))
    await begun(running)
    held.cancel()
    with pytest.raises(ServerBusy):
        await compiler.run("a", lambda: None)
    gate.set()
    # Released by the thread, a moment later.
    assert await Compiler.run(Compiler(), "a", lambda: 1) == 1
    while True:
        try:
            assert await compiler.run("a", lambda: 2) == 2
        except ServerBusy:
            continue
        break
