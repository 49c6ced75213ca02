"""Zero-downtime reload of a single process (SIGHUP): start a worker, drain when it is ready, become its supervisor.

The successor serves before the old process stops, the process id stays for the service manager, and a single worker
needs no second process until the first reload.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket

import structlog
import uvicorn

from keystead.web import supervisor, worker_process
from keystead.web.worker_process import Worker

_log = structlog.get_logger("keystead.supervisor")


class Reload:
    """Replaces the serving process by a worker on SIGHUP."""

    def __init__(self, host: str, metrics_port: int | None) -> None:
        self._host, self._metrics_port = host, metrics_port
        self._server: uvicorn.Server
        self._listener: socket.socket
        self._task: asyncio.Task[None] | None = None
        self._successor: Worker | None = None
        self._pending: list[int] = []
        """Signals that arrived too late for this process; passed to the supervisor."""

    def watch(self, server: uvicorn.Server, listener: socket.socket) -> None:
        """Handle SIGHUP on the running loop, unless it is ignored (``nohup``)."""
        self._server, self._listener = server, listener
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises them again when it has stopped.
            signal.signal(number, lambda number, _frame: self._pending.append(number))
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            return
        loop = asyncio.get_running_loop()

        def reload(number: int, _frame: object) -> None:
            if server.should_exit:
                self._pending.append(number)
            else:
                loop.call_soon_threadsafe(self._begin)

        # Not by ``loop.add_signal_handler``: closing the loop would restore the default action, termination.
        signal.signal(signal.SIGHUP, reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def hand_over(self) -> None:
        """Become the supervisor of the new worker, if there is one. Call it after the server has stopped."""
        if self._successor is not None:
            adopted = self._successor.pid, self._successor.control.detach()
            listener, pending = self._listener.detach(), tuple(self._pending)
            supervisor.become(supervisor.Arguments(listener, 1, self._host, self._metrics_port, adopted, pending))

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            _log.info("reload_started", workers=1)
            self._task = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        # uvicorn closes its listening socket: the successors need a duplicate.
        listener = self._listener.dup()
        folder = None if self._metrics_port is None else worker_process.make_metrics_folder()
        try:
            self._successor = await _start(listener, folder)
        except OSError as error:
            listener.close()
            shutil.rmtree(folder or "", ignore_errors=True)
            _log.error("reload_failed", reason=str(error))
            return
        _log.info("worker_ready", worker=self._successor.pid, replaced=os.getpid())
        if folder is not None:
            os.environ[worker_process.METRICS_FOLDER] = folder
        self._listener = listener
        self._server.should_exit = True


async def _start(listener: socket.socket, folder: str | None) -> Worker:
    """Start a worker and wait until it is ready.

    :raises OSError: if it cannot be started, or exits before it is ready.
    """
    environ = dict(os.environ) | ({} if folder is None else {worker_process.METRICS_FOLDER: folder})
    worker = worker_process.start_worker(listener, environ)
    worker.control.setblocking(False)
    try:
        async with asyncio.timeout(worker_process.START_SECONDS):
            is_ready = await asyncio.get_running_loop().sock_recv(worker.control, 1) == worker_process.READY
    except TimeoutError:
        os.kill(worker.pid, signal.SIGKILL)
        is_ready = False
    if not is_ready:
        worker.control.close()
        _, status = await asyncio.to_thread(os.waitpid, worker.pid, 0)
        raise ChildProcessError(f"the new worker did not start: {worker_process.exit_status(status)}")
    worker.control.setblocking(True)
    return worker
