"""One worker process: ``python -m keystead.web.worker LISTENER CONTROL``, two descriptors that it inherits.

What takes long to import comes after the thread that watches the supervisor.
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
"""How long open requests have after the supervisor has died: the port has to be free for the next one."""


def main() -> int:
    """Serves until SIGTERM, or until the supervisor is gone; returns the exit code."""
    listener, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    for inherited in (listener, control):
        inherited.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        # A terminal sends them to the whole group of processes: the supervisor decides what becomes of them.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_supervisor, args=(control,), name="keystead-supervisor", daemon=True).start()

    from keystead.web import run

    return run.serve_as_worker(listener, control)


def _end_with_supervisor(control: socket.socket) -> None:
    """Waits for the end of the supervisor, which never sends anything, and stops this process then."""
    with suppress(ConnectionResetError):  # it died with signs of life unread
        control.recv(1)
    structlog.get_logger("keystead.worker").error("supervisor_gone", worker=os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
