"""Decisions of the supervisor; tests/processes/test_supervision.py has real processes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from keystead.web.supervisor import MAX_BACKOFF, MIN_BACKOFF, STEADY_SECONDS, Slot, Supervisor
from keystead.web.worker_process import HEARTBEAT_TIMEOUT, START_SECONDS, Worker, exit_status


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A listener and a control socket, unused."""
    with socket.socket() as listener, socket.socket() as control:
        yield listener, control


def test_a_worker_that_hangs_is_killed_in_every_state(sockets: tuple[socket.socket, socket.socket]) -> None:
    worker = Worker(1, sockets[1], started=100.0)
    assert worker.why_kill(100 + START_SECONDS) is None
    assert worker.why_kill(101 + START_SECONDS) == "it was not ready in time"
    worker.last_heartbeat = 500.0
    assert worker.why_kill(500 + HEARTBEAT_TIMEOUT) is None
    assert worker.why_kill(501 + HEARTBEAT_TIMEOUT) == "it sent no heartbeat"
    worker.deadline = 600.0
    assert worker.why_kill(600.0) is None
    assert worker.why_kill(601.0) == "it did not stop in time"


def test_workers_that_were_suspended_with_their_supervisor_are_not_killed(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr("keystead.web.supervisor.os.kill", lambda pid, _: killed.append(pid))
    supervisor = Supervisor(sockets[0], 1)
    now = supervisor._last_run
    worker = supervisor._slots[0].serving = Worker(4711, sockets[1], last_heartbeat=now)
    supervisor._kill_overdue(now + 600)
    assert killed == []
    for second in range(int(HEARTBEAT_TIMEOUT) + 3):
        supervisor._kill_overdue(now + 600 + second)
    assert killed == [4711], "once, and only for what it did not do since"
    assert worker.is_killed


def test_restarts_back_off_exponentially_until_a_worker_is_steady(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    supervisor, slot = Supervisor(sockets[0], 1), Slot()
    with capture_logs() as lines:
        for _ in range(2000):
            supervisor._back_off(slot, worker=1, exit_code=1)
        supervisor._back_off(slot, STEADY_SECONDS, worker=1, signal="SIGKILL")
        supervisor._back_off(slot, worker=1, exit_code=1)
    *pauses, after_a_good_one, first = [line["restart_in"] for line in lines]
    assert all(MIN_BACKOFF / 2 <= pause <= MAX_BACKOFF for pause in pauses)
    assert pauses[0] <= MIN_BACKOFF
    assert min(pauses[10:]) >= MAX_BACKOFF / 2
    assert len(set(pauses[10:])) > 10, "with jitter: workers that failed together do not start together"
    assert after_a_good_one == 0
    assert first <= MIN_BACKOFF
    assert {line["log_level"] for line in lines} == {"error"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_an_exit_status_is_a_signal_or_an_exit_code(number: signal.Signals) -> None:
    assert exit_status(number) == {"signal": number.name}
    assert exit_status(3 << 8) == {"exit_code": 3}
    assert exit_status(63) == {"signal": "63"}
