"""The command line as a process of its own: what lands on which stream, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

import keystead
from tests.cli.command import MASTER_KEY, plain_environment, run_alone

LARGEST_IDLE = 90 * 1024
"""KiB that one idle worker may hold."""


@contextmanager
def serving(folder: Path, *words: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """``keystead serve``, from the moment on at which it says that it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keystead", "serve", *words],
        cwd=folder,
        env=plain_environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "keystead listens on" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def test_stdout_carries_the_document_alone(tmp_path: Path) -> None:
    said = run_alone(tmp_path, "brand", "create", "shop", "--json", KEYSTEAD_LOG_LEVEL="debug", KEYSTEAD_COLOUR="blue")
    assert sorted(said.document) == ["id", "name", "token"]
    assert "KEYSTEAD_COLOUR" in said.err
    assert said.document["token"] not in said.err


def test_help_names_every_group(tmp_path: Path) -> None:
    said = run_alone(tmp_path, "--help")
    assert said.exit_code == 0
    for group in ("serve", "migrate", "demo", "brand", "user", "api-key", "entity", "keys", "doctor"):
        assert group in said.out


def test_help_loads_neither_database_nor_server() -> None:
    program = "import sys, keystead.cli.app; print([name for name in sys.modules if name in sys.argv])"
    heavy = ("sqlalchemy", "alembic", "uvicorn", "starlette", "graphql", "asyncpg", "keystead.cli.demo.sample_data")
    listed = subprocess.run(
        [sys.executable, "-c", program, *heavy], env=plain_environment(), capture_output=True, text=True, check=True
    )
    assert listed.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "exit_code", "line"),
    [
        ({"KEYSTEAD_INTROSPECTION": "sometimes"}, 78, "KEYSTEAD_INTROSPECTION"),
        ({"KEYSTEAD_DATABASE_URL": "sqlite:////dev/null/keystead.db"}, 1, "/dev/null/keystead.db"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, settings: dict[str, str], exit_code: int, line: str
) -> None:
    said = run_alone(tmp_path, "serve", "--json", **settings)
    assert said.exit_code == exit_code
    assert line in said.error


def test_another_master_key_is_refused(tmp_path: Path) -> None:
    assert run_alone(tmp_path, "brand", "list").exit_code == 0
    said = run_alone(tmp_path, "serve", KEYSTEAD_MASTER_KEY=MASTER_KEY)
    assert said.exit_code == 78
    assert "not the master key this database was made with" in said.error


def test_a_lost_master_key_is_not_made_again(tmp_path: Path) -> None:
    key = tmp_path / "keystead.db.master-key"
    assert run_alone(tmp_path, "brand", "list").exit_code == 0
    key.unlink()
    said = run_alone(tmp_path, "serve")
    assert said.exit_code == 78
    assert "keystead.db.master-key is missing" in said.error
    assert not key.exists()


def test_a_database_that_was_only_migrated_gets_its_master_key(tmp_path: Path) -> None:
    assert run_alone(tmp_path, "migrate").exit_code == 0
    assert run_alone(tmp_path, "brand", "list").exit_code == 0


def test_a_new_database_is_said_once(tmp_path: Path) -> None:
    assert f"note: {tmp_path / 'keystead.db'} is a new database" in run_alone(tmp_path, "brand", "list").err
    assert run_alone(tmp_path, "brand", "list").err == ""


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert run_alone(tmp_path, "--version").out == f"keystead {keystead.__version__}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--prot", "4000"), "No such option: --prot"),
        (("bogus",), "No such command 'bogus' (see "),
        (("user", "list"), "user list --help)"),
        (("serve", "--port", "99999"), "'--port'"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    said = run_alone(tmp_path, *words)
    assert said.exit_code == 2
    assert line in said.error


def test_a_group_alone_shows_its_help(tmp_path: Path) -> None:
    said = run_alone(tmp_path, "brand")
    assert said.exit_code == 2
    assert "Usage" in said.out + said.err


@pytest.mark.parametrize(("words", "number"), [((), signal.SIGTERM), (("--workers", "2"), signal.SIGTERM)])
def test_a_server_ends_well_when_told(
    tmp_path: Path, port: int, words: tuple[str, ...], number: signal.Signals
) -> None:
    with serving(tmp_path, "--port", str(port), "--json", *words) as process:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert json.load(answer) == {"up": True}
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(out) == {"host": "127.0.0.1", "port": port, "workers": int(words[1]) if words else 1}


def test_a_taken_port_is_one_line(tmp_path: Path, port: int) -> None:
    with serving(tmp_path, "--port", str(port)):
        said = run_alone(tmp_path, "serve", "--port", str(port), "--json")
    assert said.exit_code == 1
    assert str(port) in said.error
    assert "--port" in said.error


def test_an_idle_server_is_small(tmp_path: Path, port: int) -> None:
    run_alone(tmp_path, "migrate")
    with serving(tmp_path, "--port", str(port)) as process:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
            pass
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < LARGEST_IDLE
