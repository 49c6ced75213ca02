"""A demo in a subprocess, and a shell to paste its commands into."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.cli.command import plain_environment
from tests.postgres_server import free_port as free_port

STATUS = "\n%{http_code}"


@dataclass(frozen=True)
class Demo:
    """A running demo."""

    folder: Path
    origin: str
    printed: str

    @property
    def commands(self) -> list[str]:
        """The printed curl commands, each after the line that sets the access tokens."""
        lines = self.printed.splitlines()
        (first,) = (line for line in lines if line.startswith(". "))
        return [f"{first}; {line}" for line in lines if line.startswith("curl ")]

    def command(self, words: str) -> str:
        """The shortest printed command that contains these words: the others contain it as a substitution."""
        return min((command for command in self.commands if words in command), key=len)

    @property
    def path(self) -> Path:
        """The file of the secrets."""
        return self.folder / ".demo" / "secrets.json"

    @property
    def secrets(self) -> dict[str, str]:
        """The content of that file."""
        stored: dict[str, str] = json.loads(self.path.read_text("utf-8"))
        return stored

    def ask(self, query: str, variables: Any = None, token: str | None = None) -> tuple[int, Any]:
        """Status and document of the response to an app."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
        body = json.dumps({"query": query, "variables": variables}).encode()
        try:
            with urlopen(Request(f"{self.origin}/graphql", body, headers)) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, None


@contextmanager
def running(folder: Path, port: int, *words: str, **settings: str) -> Iterator[Demo]:
    """The demo, after it has printed everything. It must exit with 0."""
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
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Ctrl-C" in line or "is up" in line:
                break
        else:
            pytest.fail("".join(lines))
        yield Demo(folder, f"http://localhost:{port}", output.read_text("utf-8"))
        process.terminate()
        assert process.wait(timeout=20) == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


class Pasted(NamedTuple):
    """The response to a pasted command."""

    status: int
    body: str

    @property
    def is_failed(self) -> bool:
        """Whether the response is an error."""
        return self.status != 200 or '"errors"' in self.body

    @property
    def data(self) -> Any:
        """The data of a GraphQL response."""
        assert not self.is_failed, self
        return json.loads(self.body)["data"]


def paste(command: str, shell: dict[str, str]) -> Pasted:
    """Run a command in a shell with this environment."""
    done = subprocess.run(
        ["sh", "-c", f"{command} -w '{STATUS}'"], env=shell, capture_output=True, text=True, check=True, timeout=30
    )
    body, _, status = done.stdout.rpartition("\n")
    return Pasted(int(status), body)
