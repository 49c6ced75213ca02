"""Supervisor of the worker processes: start, watch, restart with exponential backoff, rolling reload, stop.

``keystead serve`` executes this program (exec) after its checks: the process id stays, and the memory of the checks is
freed. A worker inherits the listening socket and one end of a socket pair, on which it sends ``READY``, then a
heartbeat each second. End of file means that the other side has died.
See docs/decisions/0017-a-supervisor-of-workers.md.
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
    exit_status,
    forget_metrics,
    start_worker,
)

STEADY_SECONDS = 30.0
"""A worker that served this long is restarted immediately, without backoff."""
SUSPENDED_SECONDS = 5.0
"""If this process did not run for so long, neither did the workers (Ctrl-Z, a suspended virtual machine)."""
MIN_BACKOFF, MAX_BACKOFF = 0.5, 15.0

_log = structlog.get_logger("keystead.supervisor")


@dataclass(slots=True)
class Slot:
    """One of ``count`` workers: the one that serves, and its successor while that starts."""

    serving: Worker | None = None
    starting: Worker | None = None
    due: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Arguments:
    """The supervisor's only command-line argument, as JSON."""

    listener: int
    count: int
    host: str
    metrics_port: int | None = None
    adopted: tuple[int, int] | None = None
    """Process id and control socket of a running worker (after a reload of a single process)."""
    pending: tuple[int, ...] = ()
    """Signals that arrived before the supervisor could handle them."""


def become(arguments: Arguments) -> NoReturn:
    """Replace this process by the supervisor. Signals are blocked until it handles them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (arguments.listener, *(arguments.adopted[1:] if arguments.adopted else ())):
        os.set_inheritable(descriptor, True)
    words = [sys.executable, "-P", "-m", "keystead.web.supervisor", json.dumps(asdict(arguments))]
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
        self._last_run = time.monotonic()
        self._selector = selectors.DefaultSelector()
        if adopted is not None:
            adopted.last_heartbeat = time.monotonic()
            self._slots[0].serving = adopted
            self._selector.register(adopted.control, selectors.EVENT_READ, adopted)

    def run(self, pending: Iterable[int] = ()) -> int:
        """Run until stopped; return the exit code: 0, or 1 if a worker had to be killed."""
        self._listen_for_signals()
        for number in pending:
            self._handle_signal(number)
        while not self._is_stopping:
            self._start_due()
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
        slots = [worker for slot in self._slots for worker in (slot.serving, slot.starting) if worker]
        return slots + self._leaving

    def _step(self) -> None:
        """Wait for events, at most a second, and handle them."""
        now = time.monotonic()
        delays = [slot.due - now for slot in self._slots if not slot.serving and not slot.starting]
        timeout = 1.0 if self._is_stopping else min(max(min(delays, default=1.0), 0.0), 1.0)
        for key, _ in self._selector.select(timeout):
            received = key.fileobj.recv(4096)  # type: ignore[union-attr]
            if key.data is None:
                for number in received:
                    self._handle_signal(number)
            elif received:
                self._handle_heartbeat(key.data, is_ready=READY in received)
            else:
                self._handle_end(key.data)
        self._kill_overdue(time.monotonic())

    def _handle_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            _log.info("reload_started", workers=len(self._slots))
            self._to_replace = list(self._slots)
            for slot in self._slots:
                slot.due = 0.0
        elif number in SIGNALS:
            self._is_stopping = True

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.serving is None and slot.starting is None and slot.due <= now:
                self._start(slot)
        if self._to_replace and not any(slot.starting for slot in self._slots):
            slot = self._to_replace.pop(0)
            if slot.serving is not None:
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        try:
            slot.starting = start_worker(self._listener)
        except OSError as error:  # no memory, or too many processes
            self._back_off(slot, reason=str(error))
        else:
            self._selector.register(slot.starting.control, selectors.EVENT_READ, slot.starting)

    def _handle_heartbeat(self, worker: Worker, *, is_ready: bool) -> None:
        worker.last_heartbeat = time.monotonic()
        slot = next((slot for slot in self._slots if slot.starting is worker), None)
        if slot is None or not is_ready:
            return
        replaced, slot.serving, slot.starting = slot.serving, worker, None
        _log.info("worker_ready", worker=worker.pid, replaced=replaced and replaced.pid)
        if replaced is not None:
            self._leaving.append(replaced)
            self._ask_to_stop(replaced)

    def _handle_end(self, worker: Worker) -> None:
        self._selector.unregister(worker.control)
        worker.control.close()
        how = exit_status(os.waitpid(worker.pid, 0)[1])
        forget_metrics(worker)
        if worker in self._leaving:
            self._leaving.remove(worker)
            return
        slot = next(slot for slot in self._slots if worker in (slot.serving, slot.starting))
        is_successor = slot.serving is not None and worker is slot.starting
        if worker is slot.serving:
            slot.serving = None
        else:
            slot.starting = None
        if self._is_stopping:
            return
        if is_successor:
            self._to_replace.clear()
            _log.error(
                "reload_failed", worker=worker.pid, **how, reason="the new worker did not start; the old workers stay"
            )
        else:
            served = time.monotonic() - worker.started if worker.last_heartbeat else 0.0
            self._back_off(slot, served, worker=worker.pid, **how)

    def _back_off(self, slot: Slot, served: float = 0.0, **details: Any) -> None:
        """Schedule a restart: immediately if the worker was steady, else with exponential backoff and jitter."""
        slot.failures = 0 if served >= STEADY_SECONDS else slot.failures + 1
        # The exponent is bounded: 2.0 ** 1024 overflows.
        backoff = min(MIN_BACKOFF * 2 ** min(slot.failures - 1, 16), MAX_BACKOFF) if slot.failures else 0.0
        delay = backoff * random.uniform(0.5, 1.0)  # noqa: S311
        slot.due = time.monotonic() + delay
        _log.error("worker_died", **details, restart_in=round(delay, 1))

    def _kill_overdue(self, now: float) -> None:
        was_suspended, self._last_run = now - self._last_run > SUSPENDED_SECONDS, now
        for worker in self._workers():
            if was_suspended and worker.last_heartbeat:
                worker.last_heartbeat = now
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
    """Run the supervisor; return the exit code."""
    arguments = Arguments(**json.loads(sys.argv[1]))
    try:
        logs.configure(load_settings(os.environ))
        if arguments.metrics_port is not None:
            from keystead.web import metrics

            metrics.serve(arguments.metrics_port, arguments.host)
        adopted = None
        if arguments.adopted is not None:
            # Later workers must not inherit our end.
            os.set_inheritable(arguments.adopted[1], False)
            adopted = Worker(arguments.adopted[0], socket.socket(fileno=arguments.adopted[1]))
        supervisor = Supervisor(socket.socket(fileno=arguments.listener), arguments.count, adopted)
        return supervisor.run(arguments.pending)
    except StartupError as error:
        _log.error("cannot_start", reason=error.message)
        return error.exit_code
    finally:
        shutil.rmtree(os.environ.get(METRICS_FOLDER, ""), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
