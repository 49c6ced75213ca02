"""What is installed: pinned, hashed, from any index, and the same for the server and for its tests."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from typing import Any

import pytest

from tests.house_rules.source import PACKAGE, ROOT

LOCKS = ("server", "dev")


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.lock").read_text("utf-8")


def pins(name: str) -> dict[str, str]:
    """Normalised package name -> exact version."""
    return {
        _normal(package): version
        for package, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", lock(name), re.MULTILINE)
    }


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_place(name: str) -> None:
    assert re.findall(r"^.*(?:://|--index|--extra-index|--find-links|file:).*$", lock(name), re.MULTILINE) == []
    assert re.findall(r"(?:^|\s)/\S+", lock(name)) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_and_hashes_every_package(name: str) -> None:
    blocks = re.split(r"\n(?=[A-Za-z])", lock(name).strip())
    assert len(blocks) > 20
    assert [block.split()[0] for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []


def test_the_tests_run_what_the_server_runs() -> None:
    assert pins("server").items() <= pins("dev").items()


def test_the_locks_hold_what_the_project_asks_for() -> None:
    asked = project()
    groups = asked["dependency-groups"]
    server = [*asked["project"]["dependencies"], *groups["build"]]
    dev = [line for line in groups["dev"] if isinstance(line, str)]
    assert [line for line in server if _package(line) not in pins("server")] == []
    assert [line for line in dev if _package(line) not in pins("dev")] == []
    assert [line for line in dev if _package(line) in pins("server")] == []


def test_every_file_beside_the_code_is_shipped() -> None:
    shipped: list[str] = project()["tool"]["setuptools"]["package-data"]["keystead"]
    files = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert [file for file in files if not any(fnmatch(file, pattern) for pattern in shipped)] == []


def test_imports_only_go_down_the_layers() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    checked = subprocess.run(
        [*command, "--no-cache"], cwd=ROOT, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _package(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return _normal(found.group())


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
