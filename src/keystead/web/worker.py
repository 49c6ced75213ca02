"""Entry point of a worker process: ``python -m keystead.web.worker LISTENER CONTROL``, two inherited descriptors.

Light to import: the thread that watches the supervisor starts before the slow imports.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

import structlog

ORPHAN_SECONDS = 1.5
"""Time for open requests after the supervisor has died; then the port must be free for the next one."""


def main() -> int:
    """Serve until SIGTERM or until the supervisor dies; return the exit code."""
    listener, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    for inherited in (listener, control):
        inherited.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        # A terminal sends these to the whole process group; only the supervisor reacts to them.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_supervisor, args=(control,), name="keystead-supervisor", daemon=True).start()

    from keystead.web import run

    return run.serve_as_worker(listener, control)


def _end_with_supervisor(control: socket.socket) -> None:
    """Wait until the supervisor dies (it never sends anything), then stop this process."""
    with suppress(ConnectionResetError):  # it died with unread heartbeats
        control.recv(1)
    structlog.get_logger("keystead.worker").error("supervisor_gone", worker=os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
