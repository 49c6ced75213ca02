"""examples/run.py when it cannot start, and what it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import plain_environment
from tests.demo.running import free_port
from tests.examples.conftest import RUN, Example
from tests.house_rules.source import ROOT


def refused(folder: Path, port: int, app_port: int) -> str:
    """The one line that it prints; it leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, str(RUN), "--port", str(port), "--app-port", str(app_port)],
        cwd=folder,
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, list(folder.iterdir())) == (1, "", [])
    (line,) = done.stderr.splitlines()
    return line


def test_ports_that_cannot_be_used_are_one_line_that_says_what_to_do(example: Example, tmp_path: Path) -> None:
    taken = example.app_port
    for name, ports in (("PORT", (taken, free_port())), ("APP_PORT", (free_port(), taken))):
        said = refused(tmp_path, *ports)
        assert str(taken) in said
        assert f"make example {name}=" in said
    assert "choose two" in refused(tmp_path, *[free_port()] * 2)


def test_its_data_is_apart_from_that_of_the_demo(example: Example) -> None:
    assert [path.name for path in example.folder.iterdir()] == [".example"]
    assert ".example/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_make_example_runs_it() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\nexample:")[2].partition("\n\n")[0]
    assert "examples/run.py $(if $(PORT),--port $(PORT)) $(if $(APP_PORT),--app-port $(APP_PORT))" in recipe


@pytest.mark.parametrize("name", ["fastapi", "jinja2", "python-multipart", "uvicorn"])
def test_its_readme_names_what_it_needs(name: str) -> None:
    text = (ROOT / "examples" / "fastapi-app" / "README.md").read_text("utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("pip install fastapi"))
    assert name in line.split()
