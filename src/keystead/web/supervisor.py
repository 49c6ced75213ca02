"""Supervisor of the worker processes: start, watch, restart with exponential backoff, replace one by one, stop.

``keystead serve`` becomes this program (exec) once it has checked that serving is possible: the process id stays, and
the memory of the check is given back. A worker inherits the listening socket and one end of a socket pair. On it the
worker sends ``READY``, then one byte a second; end of file means that the worker has died, or, to the worker, that the
supervisor has. See docs/decisions/0017-a-supervisor-of-workers.md.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import structlog

from keystead.errors import StartupError
from keystead.settings import load_settings
from keystead.web import logs
from keystead.web.worker_process import (
    METRICS_FOLDER,
    READY,
    SIGNALS,
    STOP_SECONDS,
    Worker,
    forget_metrics,
    how_it_ended,
    start_worker,
)

STEADY_SECONDS = 30.0
"""A worker that served for so long is restarted immediately, without backoff."""
ASLEEP_SECONDS = 5.0
"""If this process did not run for so long, neither did the workers (Ctrl-Z, a virtual machine that was paused)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0

_log = structlog.get_logger("keystead.supervisor")


@dataclass(slots=True)
class Slot:
    """One of the workers that there should be: the one that serves, and the one that is starting."""

    serving: Worker | None = None
    coming: Worker | None = None
    due: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What the supervisor is started with, as its one argument in JSON."""

    listener: int
    count: int
    host: str
    metrics_port: int | None = None
    adopted: tuple[int, int] | None = None
    """Process id and socket of a worker that serves already (after a reload of a single process)."""
    pending: tuple[int, ...] = ()
    """Signals that came while this was becoming the supervisor."""


def become(task: Task) -> NoReturn:
    """Replaces this process by the supervisor. Signals that come meanwhile wait for its handlers."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (task.listener, *(task.adopted[1:] if task.adopted else ())):
        os.set_inheritable(descriptor, True)
    words = [sys.executable, "-P", "-m", "keystead.web.supervisor", json.dumps(asdict(task))]
    os.execv(sys.executable, words)  # noqa: S606


class Supervisor:
    """Keeps ``count`` workers serving until SIGTERM, SIGINT or SIGQUIT; SIGHUP replaces them one by one."""

    def __init__(self, listener: socket.socket, count: int, adopted: Worker | None = None) -> None:
        self._listener = listener
        self._slots = [Slot() for _ in range(count)]
        self._leaving: list[Worker] = []
        self._to_replace: list[Slot] = []
        self._is_stopping = False
        self._was_killed = False
        self._awake = time.monotonic()
        self._selector = selectors.DefaultSelector()
        if adopted is not None:
            adopted.heard = time.monotonic()
            self._slots[0].serving = adopted
            self._selector.register(adopted.control, selectors.EVENT_READ, adopted)

    def run(self, pending: Iterable[int] = ()) -> int:
        """Serves; returns the exit code: 0, or 1 if a worker had to be killed to stop."""
        self._listen_for_signals()
        for number in pending:
            self._handle_signal(number)
        while not self._is_stopping:
            self._start_what_is_due()
            self._step()
        self._listener.close()
        for worker in self._workers():
            self._ask_to_stop(worker)
        while self._workers():
            self._step()
        return 1 if self._was_killed else 0

    def _listen_for_signals(self) -> None:
        ours, wakeup = socket.socketpair()
        for end in (ours, wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        self._wakeup = wakeup
        self._selector.register(ours, selectors.EVENT_READ)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, lambda _number, _frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _workers(self) -> list[Worker]:
        slots = [worker for slot in self._slots for worker in (slot.serving, slot.coming) if worker]
        return slots + self._leaving

    def _step(self) -> None:
        """Waits for something to happen, at most a second, and handles it."""
        now = time.monotonic()
        pauses = [slot.due - now for slot in self._slots if not slot.serving and not slot.coming]
        timeout = 1.0 if self._is_stopping else min(max(min(pauses, default=1.0), 0.0), 1.0)
        for key, _ in self._selector.select(timeout):
            received = key.fileobj.recv(4096)  # type: ignore[union-attr]
            if key.data is None:
                for number in received:
                    self._handle_signal(number)
            elif received:
                self._hear(key.data, is_ready=READY in received)
            else:
                self._handle_end(key.data)
        self._kill_what_is_late(time.monotonic())

    def _handle_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            _log.info("reload_started", workers=len(self._slots))
            self._to_replace = list(self._slots)
            for slot in self._slots:
                slot.due = 0.0
        elif number in SIGNALS:
            self._is_stopping = True

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.serving is None and slot.coming is None and slot.due <= now:
                self._start(slot)
        if self._to_replace and not any(slot.coming for slot in self._slots):
            slot = self._to_replace.pop(0)
            if slot.serving is not None:
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        try:
            slot.coming = start_worker(self._listener)
        except OSError as error:  # no memory, or too many processes
            self._back_off(slot, reason=str(error))
        else:
            self._selector.register(slot.coming.control, selectors.EVENT_READ, slot.coming)

    def _hear(self, worker: Worker, *, is_ready: bool) -> None:
        worker.heard = time.monotonic()
        slot = next((slot for slot in self._slots if slot.coming is worker), None)
        if slot is None or not is_ready:
            return
        replaced, slot.serving, slot.coming = slot.serving, worker, None
        _log.info("worker_ready", worker=worker.pid, replaced=replaced and replaced.pid)
        if replaced is not None:
            self._leaving.append(replaced)
            self._ask_to_stop(replaced)

    def _handle_end(self, worker: Worker) -> None:
        self._selector.unregister(worker.control)
        worker.control.close()
        how = how_it_ended(os.waitpid(worker.pid, 0)[1])
        forget_metrics(worker)
        if worker in self._leaving:
            self._leaving.remove(worker)
            return
        slot = next(slot for slot in self._slots if worker in (slot.serving, slot.coming))
        is_successor = slot.serving is not None and worker is slot.coming
        if worker is slot.serving:
            slot.serving = None
        else:
            slot.coming = None
        if self._is_stopping:
            return
        if is_successor:
            self._to_replace.clear()
            _log.error(
                "reload_failed", worker=worker.pid, **how, reason="the new worker did not start: the old ones stay"
            )
        else:
            served = time.monotonic() - worker.started if worker.heard else 0.0
            self._back_off(slot, served, worker=worker.pid, **how)

    def _back_off(self, slot: Slot, served: float = 0.0, **details: Any) -> None:
        """Has the slot filled again: immediately where the worker served well, else after a growing random pause."""
        slot.failures = 0 if served >= STEADY_SECONDS else slot.failures + 1
        # Bounded before it is raised: 2.0 ** 1024 is an error.
        longest = min(FIRST_PAUSE * 2 ** min(slot.failures - 1, 16), LONGEST_PAUSE) if slot.failures else 0.0
        pause = longest * random.uniform(0.5, 1.0)  # noqa: S311
        slot.due = time.monotonic() + pause
        _log.error("worker_died", **details, restart_in=round(pause, 1))

    def _kill_what_is_late(self, now: float) -> None:
        was_asleep, self._awake = now - self._awake > ASLEEP_SECONDS, now
        for worker in self._workers():
            if was_asleep and worker.heard:
                worker.heard = now
            reason = worker.why_kill(now)
            if reason is not None and not worker.is_killed:
                _log.error("worker_killed", worker=worker.pid, reason=reason)
                worker.is_killed = True
                self._was_killed = self._is_stopping
                os.kill(worker.pid, signal.SIGKILL)

    def _ask_to_stop(self, worker: Worker) -> None:
        worker.deadline = worker.deadline or time.monotonic() + STOP_SECONDS
        os.kill(worker.pid, signal.SIGTERM)


def main() -> int:
    """Supervises what the one argument says; returns the exit code."""
    task = Task(**json.loads(sys.argv[1]))
    try:
        logs.configure(load_settings(os.environ))
        if task.metrics_port is not None:
            from keystead.web import metrics

            metrics.serve(task.metrics_port, task.host)
        adopted = None
        if task.adopted is not None:
            # Workers that come later must not hold our end open.
            os.set_inheritable(task.adopted[1], False)
            adopted = Worker(task.adopted[0], socket.socket(fileno=task.adopted[1]))
        supervisor = Supervisor(socket.socket(fileno=task.listener), task.count, adopted)
        return supervisor.run(task.pending)
    except StartupError as error:
        _log.error("cannot_start", reason=error.message)
        return error.exit_code
    finally:
        shutil.rmtree(os.environ.get(METRICS_FOLDER, ""), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
