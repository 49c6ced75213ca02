"""Runs the server: one process, or a parent that minds several workers. Security §17."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop
from uvicorn.supervisors import Multiprocess

from keystead.errors import StartupError
from keystead.settings import Settings
from keystead.web.app import from_environment, load_worker_settings
from keystead.web.http_protocol import BoundedProtocol
from keystead.web.server import open_server

DRAIN_SECONDS = 10
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen and with how many processes."""

    host: str = "127.0.0.1"
    port: int = 4000
    workers: int = 1


def serve(listening: Listening, *, is_demo: bool = False, announce: Callable[[], None] | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Calls ``announce`` once, when nothing stands in the way of serving.

    ``is_demo`` adds GraphiQL and the mailbox: pages for the person at this machine.

    :raises StartupError: with one clear line, before anything listens for requests.
    """
    # Workers are started afresh and read the environment; these are between this process and them.
    os.environ["_KEYSTEAD_PORT"] = str(listening.port)
    for name in ("GRAPHIQL", "MAILBOX"):
        os.environ[f"_KEYSTEAD_{name}"] = "on" if is_demo else "off"
    settings = load_worker_settings(os.environ)
    listener = _listen(listening, "--port (with make: PORT=)" if is_demo else "--port")
    if settings.metrics_port is not None:
        _serve_metrics(settings.metrics_port, listening)
    announce = announce or _say_nothing
    if listening.workers == 1:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_alone(listener, announce))
    else:
        asyncio.run(_check(settings))
        announce()
        config = _configuration("keystead.web.app:from_environment", factory=True, workers=listening.workers)
        Multiprocess(config, sockets=[listener]).run()


async def _serve_alone(listener: socket.socket, announce: Callable[[], None]) -> None:
    """One process: it opens everything itself, so that what is wrong is raised here."""
    application = from_environment()
    await application.open()
    announce()
    await uvicorn.Server(_configuration(application)).serve(sockets=[listener])


async def _check(settings: Settings) -> None:
    """Opens everything once before there are workers, so that what is wrong is said once."""
    async with open_server(settings):
        pass


def _configuration(application: object, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application,  # type: ignore[arg-type]
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=BACKLOG,
        **options,
    )


def _say_nothing() -> None:
    """Nobody waits for the announcement."""


def _listen(listening: Listening, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((listening.host, listening.port))
        # At once: whoever comes before the first worker is ready waits, and a second server finds the port taken.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        place = f"{listening.host}:{listening.port}"
        raise StartupError(f"Cannot listen on {place}: {error.strerror}. Choose another {option}.") from None
    listener.set_inheritable(True)
    return listener


def _serve_metrics(port: int, listening: Listening) -> None:
    if listening.workers > 1:
        folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="keystead-metrics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Imported here: the library reads the variable when it is imported.
    from keystead.web import metrics

    metrics.serve(port, listening.host)
