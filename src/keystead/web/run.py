"""Run the server: one process, or a supervisor with several workers. Security §17."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
import uvicorn
import uvloop

from keystead.errors import StartupError
from keystead.settings import Settings
from keystead.web import logs, supervisor, worker_process
from keystead.web.app import from_environment, load_worker_settings
from keystead.web.bootstrap import open_server
from keystead.web.connection_limits import limits_for, raise_descriptor_limit
from keystead.web.http_protocol import ProtocolFactory
from keystead.web.reload import Reload

DRAIN_SECONDS = 10
LINGER_SECONDS = 0.5
"""How long a stopping server still answers on open connections before it closes the idle ones."""
BACKLOG = 2048

_log = structlog.get_logger("keystead.server")


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Where to listen and with how many processes."""

    host: str = "127.0.0.1"
    port: int = 4000
    workers: int = 1


def serve(listening: ListenOptions, *, is_demo: bool = False, announce: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM, SIGINT or SIGQUIT. Calls ``announce`` once, when all checks have passed.

    ``is_demo`` adds GraphiQL and the mailbox.

    :raises StartupError: with a message of one line, before any request is accepted.
    """
    # Workers are new processes and read the environment; these variables are private to this process and them.
    os.environ["_KEYSTEAD_PORT"] = str(listening.port)
    for name in ("GRAPHIQL", "MAILBOX"):
        os.environ[f"_KEYSTEAD_{name}"] = "on" if is_demo else "off"
    settings = load_worker_settings(os.environ)
    listener = _listen(listening, "--port (with make: PORT=)" if is_demo else "--port")
    if settings.metrics_port is not None:
        _serve_metrics(settings.metrics_port, listening)
    if listening.workers > 1:
        asyncio.run(_check(settings))
        if announce is not None:
            announce()
        arguments = supervisor.Arguments(listener.detach(), listening.workers, listening.host, settings.metrics_port)
        supervisor.become(arguments)
    reload = None if is_demo else Reload(listening.host, settings.metrics_port)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_alone(listener, announce, reload))
    except BaseException:
        listener.close()
        raise
    if reload is not None:
        reload.hand_over()


async def _check(settings: Settings) -> None:
    """Open everything once before there are workers, so that an error is reported once."""
    logs.configure(settings)
    async with open_server(settings):
        pass


async def _serve_alone(listener: socket.socket, announce: Callable[[], None] | None, reload: Reload | None) -> None:
    """Serve in this process.

    :raises StartupError: if the server cannot be opened.
    """
    application = from_environment()
    opened = await application.open()
    server = DrainingServer(_configuration(application, opened.settings))
    signal.signal(signal.SIGQUIT, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))
    if announce is not None:
        announce()
    if reload is not None:
        reload.watch(server, listener)
    await server.serve(sockets=[listener])


def serve_as_worker(listener: socket.socket, control: socket.socket) -> int:
    """Serve as one of several processes, with heartbeats on ``control``; return the exit code."""

    async def work() -> None:
        application = from_environment(is_worker=True)
        opened = await application.open()
        signal.signal(signal.SIGTERM, _exit_cleanly)
        await DrainingServer(_configuration(application, opened.settings), control).serve(sockets=[listener])

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
    except StartupError as error:
        _log.error("cannot_start", reason=error.message)
        return error.exit_code
    return 0


def _exit_cleanly(_number: int, _frame: object) -> None:
    """Exit with code 0: uvicorn raises SIGTERM again when it has answered every open request."""
    raise SystemExit(0)


class DrainingServer(uvicorn.Server):
    """uvicorn's server with graceful draining, and heartbeats for a supervisor."""

    def __init__(self, config: uvicorn.Config, control: socket.socket | None = None) -> None:
        super().__init__(config)
        self._control = control

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections, and report it."""
        await super().startup(sockets)
        self._report(worker_process.READY)

    async def on_tick(self, counter: int) -> bool:
        """Send a heartbeat each second. uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            self._report(worker_process.HEARTBEAT)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, and answer requests in flight on open connections, with ``Connection: close``, before idle
        connections are closed."""
        for closing in (*self.servers, *(sockets or ())):
            closing.close()
        if self.server_state.connections:
            self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
            await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)

    def _report(self, heartbeat: bytes) -> None:
        if self._control is not None:
            with suppress(OSError):  # the supervisor is stopped or gone
                self._control.send(heartbeat, socket.MSG_DONTWAIT)


def _configuration(application: object, settings: Settings) -> uvicorn.Config:
    limits = limits_for(settings, raise_descriptor_limit())
    return uvicorn.Config(
        application,  # type: ignore[arg-type]
        loop="uvloop",
        http=ProtocolFactory(limits),  # type: ignore[arg-type]
        timeout_keep_alive=settings.keep_alive,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=BACKLOG,
    )


def _listen(listening: ListenOptions, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((listening.host, listening.port))
        # Immediately: clients that connect before the first worker is ready wait, and a second server fails.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        place = f"{listening.host}:{listening.port}"
        raise StartupError(f"Cannot listen on {place}: {error.strerror}. Choose another {option}.") from None
    listener.set_inheritable(True)
    return listener


def _serve_metrics(port: int, listening: ListenOptions) -> None:
    if listening.workers > 1:
        folder = os.environ[worker_process.METRICS_FOLDER] = worker_process.make_metrics_folder()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Imported here: the library reads the variable at import.
    from keystead.web import metrics

    metrics.serve(port, listening.host)
