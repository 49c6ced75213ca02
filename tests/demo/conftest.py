"""A running demo for tests that do not change it, and a shell with curl."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import plain_environment
from tests.demo.running import Demo, free_port, running


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("demo"), free_port()) as started:
        yield started


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with curl."""
    environment = plain_environment()
    if shutil.which("curl") is None:
        folder = tmp_path_factory.mktemp("bin")
        script = folder / "curl"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("curl.py")}" "$@"\n')
        script.chmod(0o755)
        environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    return environment
