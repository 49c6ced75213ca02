"""``make example`` as a process, and browsers in front of it that keep cookies."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.cli.command import plain_environment
from tests.demo.running import free_port
from tests.house_rules.source import ROOT

RUN = ROOT / "examples" / "run.py"
MakeBrowser = Callable[[], httpx.Client]


@dataclass(frozen=True)
class Example:
    """The demo and the application, both up."""

    folder: Path
    printed: str
    app_port: int

    @property
    def url(self) -> str:
        """Where the application is."""
        return f"http://localhost:{self.app_port}"

    def found(self, pattern: str) -> str:
        """What the first group of the pattern finds in the printed text."""
        match = re.search(pattern, self.printed, re.MULTILINE)
        assert match, self.printed
        return match[1]


@pytest.fixture(scope="package")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """Started once; ended as Ctrl-C ends it, which must leave nothing behind."""
    folder = tmp_path_factory.mktemp("example")
    demo_port, app_port = free_port(), free_port()
    command = [sys.executable, str(RUN), "--port", str(demo_port), "--app-port", str(app_port)]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("Ctrl-C"):
                break
        yield Example(folder, printed, app_port)
        process.send_signal(signal.SIGINT)
        # Reads until the children have closed their ends of the pipe, too: no process is left.
        said = process.stderr.read()
        assert (process.wait(timeout=20), process.stdout.read()) == (0, ""), said
        assert "Traceback" not in said
    for port in (demo_port, app_port):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


@pytest.fixture
def browser(example: Example) -> Iterator[MakeBrowser]:
    """Make browsers, each with its own cookies; they follow no redirect."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(httpx.Client(base_url=example.url, trust_env=False))
