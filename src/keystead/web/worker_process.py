"""A worker process as seen by its parent: start, heartbeats, exit status."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY = b"R"
HEARTBEAT = b"."
START_SECONDS = 60.0
"""Timeout until a worker is ready: longer than every timeout of the database."""
HEARTBEAT_TIMEOUT = 30.0
"""A worker without a heartbeat for so long is killed: its event loop is blocked, or the process is stopped."""
STOP_SECONDS = 14.0
"""Timeout to stop: 10 s for open requests, 3 s for mails in delivery, and a margin."""
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(slots=True)
class Worker:
    """A worker process and our end of its socket pair."""

    pid: int
    control: socket.socket
    started: float = field(default_factory=time.monotonic)
    last_heartbeat: float = 0.0
    """Time of the last heartbeat; 0 until the worker is ready."""
    deadline: float | None = None
    """When it is killed, after it was asked to stop."""
    is_killed: bool = False

    def why_kill(self, now: float) -> str | None:
        """The reason to kill the worker, or None."""
        if self.deadline is not None:
            return "it did not stop in time" if now > self.deadline else None
        if not self.last_heartbeat:
            return "it was not ready in time" if now > self.started + START_SECONDS else None
        return "it sent no heartbeat" if now > self.last_heartbeat + HEARTBEAT_TIMEOUT else None


def start_worker(listener: socket.socket, environ: Mapping[str, str] = os.environ) -> Worker:
    """Start a worker process on the listening socket."""
    ours, theirs = socket.socketpair()
    listener.set_inheritable(True)
    theirs.set_inheritable(True)
    words = [sys.executable, "-P", "-m", "keystead.web.worker", str(listener.fileno()), str(theirs.fileno())]
    defaults = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    with theirs:
        return Worker(os.posix_spawn(sys.executable, words, environ, setsigmask=[], setsigdef=defaults), ours)


def exit_status(status: int) -> dict[str, Any]:
    """``signal`` or ``exit_code`` of a process, from the status of ``waitpid``."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return {"exit_code": code}
    return {"signal": next((known.name for known in signal.Signals if known == -code), str(-code))}


def forget_metrics(worker: Worker) -> None:
    """Delete the files of its live gauges; if it never served, all its files (failing workers would fill the disk)."""
    folder = os.environ.get(METRICS_FOLDER)
    if folder:
        for path in Path(folder).glob(f"{'gauge_live*' if worker.last_heartbeat else '*'}_{worker.pid}.db"):
            path.unlink(missing_ok=True)


def make_metrics_folder() -> str:
    """Create the folder of the workers' metrics; the supervisor deletes it."""
    return tempfile.mkdtemp(prefix="keystead-metrics-")
