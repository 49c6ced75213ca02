"""A real server process, and a client that speaks to it over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from keystead.clock import SystemClock
from keystead.context import Server
from keystead.crypto.master_key import MasterKey
from keystead.db.interface import Database
from tests.api import Api
from tests.cli.command import plain_environment
from tests.make import SETTINGS, make_server
from tests.postgres_server import free_port

MASTER_KEY = "a master key that all nodes of the tests share"
READY_WITHIN = 30.0
DRAIN_WITHIN = 10.0
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Node:
    """One ``keystead serve`` in ``folder``; its log lines go to a file."""

    def __init__(self, folder: Path, database_url: str, *options: str, **settings: str) -> None:
        self.database_url = database_url
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"node-{self.port}.log"
        self._settings = {
            "KEYSTEAD_DATABASE_URL": database_url,
            "KEYSTEAD_MASTER_KEY": MASTER_KEY,
            "KEYSTEAD_BASE_URL": SETTINGS.base_url,
            **settings,
        }
        self._command = [sys.executable, "-m", "keystead", "serve", "--port", str(self.port), *options]
        self.start()

    def start(self) -> None:
        """Starts it, perhaps once more: on the same port, the same database and the same log."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.log.parent,
                env=plain_environment(**self._settings),
                stdout=output,
                stderr=output,
            )

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON body of a plain GET; only a status when it is refused, 0 when the connection is refused."""
        try:
            with _NO_PROXY.open(self.url + path, timeout=5) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError:
            return 0, None

    def wait_until_ready(self) -> None:
        """Returns when requests are answered."""
        pause = threading.Event()
        for _ in range(int(READY_WITHIN / 0.05)):
            if self.get("/ready")[0] == 200:
                return
            assert self.process.poll() is None, self.log.read_text()
            pause.wait(0.05)
        raise AssertionError(f"not ready within {READY_WITHIN} s:\n{self.log.read_text()}")

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged: every line is one JSON object, but for the word that it listens."""
        lines = self.log.read_text().splitlines()
        lines.remove(f"keystead listens on {self.url}/graphql")
        return [json.loads(line) for line in lines]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines so far of this event."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if f'"event":"{name}"' in line]

    def terminate(self) -> None:
        """Asks it to stop, as an init system does."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code; it has as long to end as the contract gives it to drain, and a little."""
        return self.process.wait(DRAIN_WITHIN + 2)

    def kill(self) -> None:
        """The end, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(folder: Path, database_url: str, *options: str, **settings: str) -> Iterator[Node]:
    """A node that answers, for the length of a test."""
    node = Node(folder, database_url, *options, **settings)
    try:
        node.wait_until_ready()
        yield node
    finally:
        node.terminate()
        try:
            node.wait()
        finally:
            node.kill()


class RemoteApi(Api):
    """The client of the tests, over a real connection to one node."""

    def __init__(self, node: Node) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        self.http = httpx.AsyncClient(base_url=node.url, trust_env=False, timeout=30, limits=limits)

    async def __aenter__(self) -> RemoteApi:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()


async def make_colleague(db: Database) -> Server:
    """A server in this process that shares database and keys with the nodes: it makes what tests begin with."""
    return await make_server(db, SystemClock(), master_key=MasterKey.from_text(MASTER_KEY.encode()))
