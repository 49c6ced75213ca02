"""A demo that runs as a process of its own, and a shell to paste its commands into."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.command import plain_environment

STATUS = "\n%{http_code}"


@dataclass(frozen=True)
class Demo:
    """A demo that is running."""

    folder: Path
    origin: str
    printed: str

    @property
    def commands(self) -> list[str]:
        """The printed curl commands, one a line, each after the line that is to be pasted first."""
        lines = self.printed.splitlines()
        (first,) = (line for line in lines if line.startswith(". "))
        return [f"{first}; {line}" for line in lines if line.startswith("curl ")]

    def command(self, words: str) -> str:
        """The one printed command with these words in it that holds no other one with them."""
        return min((command for command in self.commands if words in command), key=len)

    @property
    def secrets(self) -> Path:
        """The file that the secrets are kept in."""
        return self.folder / ".demo" / "secrets.json"


@contextmanager
def running(folder: Path, port: int, *words: str, **settings: str) -> Iterator[Demo]:
    """The demo, from the moment on at which it has printed everything."""
    output = folder / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "keystead", "demo", "--port", str(port), *words],
            cwd=folder,
            env=plain_environment(**settings),
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "Ctrl-C" in line or "is up" in line:
                break
        else:
            pytest.fail("".join(said))
        yield Demo(folder, f"http://localhost:{port}", output.read_text("utf-8"))
        process.terminate()
        assert process.wait(timeout=20) == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


class Pasted(NamedTuple):
    """What a pasted command got."""

    status: int
    body: str

    @property
    def is_refused(self) -> bool:
        """Whether it did not do what it says."""
        return self.status != 200 or '"errors"' in self.body

    @property
    def data(self) -> Any:
        """The data of a GraphQL answer."""
        assert not self.is_refused, self
        return json.loads(self.body)["data"]


def paste(command: str, shell: dict[str, str]) -> Pasted:
    """Pastes a command into a shell."""
    done = subprocess.run(
        ["sh", "-c", f"{command} -w '{STATUS}'"], env=shell, capture_output=True, text=True, check=True, timeout=30
    )
    body, _, status = done.stdout.rpartition("\n")
    return Pasted(int(status), body)
