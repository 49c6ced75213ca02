"""A worker process as its parent sees it: start, signs of life, how it ended."""

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
ALIVE = b"."
START_SECONDS = 60.0
"""How long a worker may take until it is ready: above every timeout of the database."""
SILENT_SECONDS = 30.0
"""After so long without a sign of life a worker is killed: its event loop is blocked, or the process is stopped."""
STOP_SECONDS = 14.0
"""How long a worker may take to stop: 10 s for open requests, 3 s for mails in hand, and a little."""
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(slots=True)
class Worker:
    """A worker process and our end of its socket pair."""

    pid: int
    control: socket.socket
    started: float = field(default_factory=time.monotonic)
    heard: float = 0.0
    """When the last sign of life came; 0: the worker is not ready yet."""
    deadline: float | None = None
    """When it is killed, if it was asked to stop."""
    is_killed: bool = False

    def why_kill(self, now: float) -> str | None:
        """The reason to kill it, if there is one."""
        if self.deadline is not None:
            return "it did not stop in time" if now > self.deadline else None
        if not self.heard:
            return "it was not ready in time" if now > self.started + START_SECONDS else None
        return "it gave no sign of life" if now > self.heard + SILENT_SECONDS else None


def start_worker(listener: socket.socket, environ: Mapping[str, str] = os.environ) -> Worker:
    """Starts a worker process on the listening socket."""
    ours, theirs = socket.socketpair()
    listener.set_inheritable(True)
    theirs.set_inheritable(True)
    words = [sys.executable, "-P", "-m", "keystead.web.worker", str(listener.fileno()), str(theirs.fileno())]
    defaults = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    with theirs:
        return Worker(os.posix_spawn(sys.executable, words, environ, setsigmask=[], setsigdef=defaults), ours)


def how_it_ended(status: int) -> dict[str, Any]:
    """``signal`` or ``exit_code`` of a process, from what ``waitpid`` returned."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return {"exit_code": code}
    return {"signal": next((known.name for known in signal.Signals if known == -code), str(-code))}


def forget_metrics(worker: Worker) -> None:
    """Removes the files of its gauges, and all its files if it never served: workers in backoff would fill the disk."""
    folder = os.environ.get(METRICS_FOLDER)
    if folder:
        for path in Path(folder).glob(f"{'gauge_live*' if worker.heard else '*'}_{worker.pid}.db"):
            path.unlink(missing_ok=True)


def make_metrics_folder() -> str:
    """The folder in which workers count; the supervisor removes it."""
    return tempfile.mkdtemp(prefix="keystead-metrics-")
