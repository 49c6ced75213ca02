"""Web applications that run as processes of their own, as they do in production."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from keystead.crypto.secrets import PATTERNS
from tests.cli.command import plain_environment
from tests.postgres_server import free_port
from tests.processes.node import READY_WITHIN

_SECRETS = re.compile("|".join([*(pattern.pattern for pattern in PATTERNS.values()), r"eyJ[\w-]{10,}\."]))


class WebApp:
    """A module that is run with ``words`` and a port; what it prints goes to a file in ``folder``."""

    def __init__(self, folder: Path, *words: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = folder / f"app-{self.port}.log"
        command = [sys.executable, "-m", *words, "--port", str(self.port)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=plain_environment(**settings), stdout=output, stderr=output
            )

    def wait_until_ready(self, path: str) -> None:
        """Returns when ``path`` is answered, in whatever way."""
        pause = threading.Event()
        for _ in range(int(READY_WITHIN / 0.05)):
            try:
                httpx.get(self.url + path, trust_env=False, timeout=5)
            except httpx.TransportError:
                assert self.process.poll() is None, self.output.read_text()
                pause.wait(0.05)
            else:
                return
        raise AssertionError(f"not ready within {READY_WITHIN} s:\n{self.output.read_text()}")

    def stop(self) -> None:
        """Asks it to stop, and sees that it does."""
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()


def secrets_in(text: str, *more: str) -> list[str]:
    """The beginnings of tokens and keys in a text, and of any of the others that are given."""
    found = [*_SECRETS.findall(text), *(secret for secret in more if secret in text)]
    return [secret[:12] for secret in found]


@contextmanager
def started(folder: Path, *words: str, **settings: str) -> Iterator[WebApp]:
    """An application, perhaps not ready yet; when the block ends it must have printed no secret."""
    web_app = WebApp(folder, *words, **settings)
    try:
        yield web_app
    finally:
        web_app.stop()
    assert secrets_in(web_app.output.read_text()) == []
