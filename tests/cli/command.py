"""Runs commands, in this process or in a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from keystead.cli.app import app

MASTER_KEY = "the master key of the command line's tests"


@dataclass(frozen=True)
class Said:
    """Output and exit code of a command."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout of a successful command."""
        assert self.exit_code == 0, self.err
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The error line of a failed command; stdout must be empty."""
        assert self.exit_code != 0, self.out
        assert self.out == ""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")


class Cli:
    """The command line in this process."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.settings = dict(settings)

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> Said:
        """Run a command."""
        result = CliRunner().invoke(app, list(words), input=stdin, env=self.settings)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def json(self, *words: str, stdin: str | bytes | None = None) -> Any:
        """Run a command with ``--json``; return its document."""
        return self(*words, "--json", stdin=stdin).document

    def define(self, brand: str, *names: str) -> None:
        """Define simple entities in the brand, for permissions on them."""
        path = self.folder / "defined.toml"
        path.write_text("".join(f'[{name}.fields]\nname = {{ type = "string" }}\n' for name in names), "utf-8")
        self.json("entity", "apply", "--brand", brand, str(path))


def plain_environment(**settings: str) -> dict[str, str]:
    """This process's environment with only these settings of Keystead."""
    kept = {name: value for name, value in os.environ.items() if "KEYSTEAD" not in name}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | settings


def run_alone(folder: Path, *words: str, stdin: str = "", **settings: str) -> Said:
    """Run a command in a subprocess, in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-m", "keystead", *words],
        cwd=folder,
        env=plain_environment(**settings),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Said(done.returncode, done.stdout, done.stderr)
