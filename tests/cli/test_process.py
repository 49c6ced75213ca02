"""The command line in a subprocess: what goes to which stream, exit codes, and memory of a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

import keystead
from tests.cli.command import plain_environment, run_alone

MAX_IDLE_KIB = 90 * 1024
"""Resident memory of one idle server."""


def test_stdout_contains_only_the_document(tmp_path: Path) -> None:
    said = run_alone(tmp_path, "brand", "create", "shop", "--json", KEYSTEAD_LOG_LEVEL="debug", KEYSTEAD_COLOUR="blue")
    assert sorted(said.document) == ["id", "name", "token"]
    assert "KEYSTEAD_COLOUR" in said.err
    assert said.document["token"] not in said.err


def test_an_error_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    said = run_alone(tmp_path, "serve", "--json", KEYSTEAD_INTROSPECTION="sometimes")
    assert said.exit_code == 78
    assert "KEYSTEAD_INTROSPECTION" in said.error


def test_help_and_version_load_neither_database_nor_server() -> None:
    heavy = ("sqlalchemy", "alembic", "uvicorn", "starlette", "graphql", "asyncpg", "keystead.cli.demo.sample_data")
    program = (
        "import sys, keystead.cli.app as cli; heavy = sys.argv[1:]; sys.argv[1:] = ['--version']\n"
        "try: cli.main()\nexcept SystemExit: print([name for name in sys.modules if name in heavy])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, *heavy], env=plain_environment(), capture_output=True, text=True, check=True
    )
    assert printed.stdout == f"keystead {keystead.__version__}\n[]\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_is_small_and_exits_with_0_on_sigterm(tmp_path: Path, free_port: str, workers: int) -> None:
    run_alone(tmp_path, "migrate")
    process = subprocess.Popen(
        [sys.executable, "-m", "keystead", "serve", "--port", free_port, "--workers", str(workers), "--json"],
        cwd=tmp_path,
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "keystead listens on" in process.stderr.readline()
        with urlopen(f"http://127.0.0.1:{free_port}/health", timeout=10) as answer:
            assert json.load(answer) == {"up": True}
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        assert resident < MAX_IDLE_KIB
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert json.loads(out) == {"host": "127.0.0.1", "port": int(free_port), "workers": workers}
