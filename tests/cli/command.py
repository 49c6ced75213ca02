"""Runs commands, in this process or in one of their own, and reads what they say."""

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
    """What a command said, and how it ended."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout of a command that went well."""
        assert self.exit_code == 0, self.err
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one clear line of a command that did not; nothing may be on stdout."""
        assert self.exit_code != 0, self.out
        assert self.out == ""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")


class Cli:
    """The command line on one database, in this process."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.settings = dict(settings)

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> Said:
        """Runs one command."""
        result = CliRunner().invoke(app, list(words), input=stdin, env=self.settings)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def json(self, *words: str, stdin: str | bytes | None = None) -> Any:
        """Runs one command with ``--json`` and reads its document."""
        return self(*words, "--json", stdin=stdin).document

    def define(self, brand: str, *names: str) -> None:
        """Gives the brand simple entities, for what is granted on them."""
        path = self.folder / "defined.toml"
        path.write_text("".join(f'[{name}.fields]\nname = {{ type = "string" }}\n' for name in names), "utf-8")
        self.json("entity", "apply", "--brand", brand, str(path))


def plain_environment(**settings: str) -> dict[str, str]:
    """This process's environment with these settings of Keystead and no others."""
    kept = {name: value for name, value in os.environ.items() if "KEYSTEAD" not in name}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | settings


def run_alone(folder: Path, *words: str, stdin: str = "", **settings: str) -> Said:
    """Runs one command as a process of its own in ``folder``."""
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
