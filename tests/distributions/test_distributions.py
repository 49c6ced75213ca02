"""The distributions: complete, without the tests, and working where only the wheel is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

import keystead
import keystead_client
from tests.distributions.building import Built, Installed, build, install
from tests.house_rules.source import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SERVER_FILES = [
    "py.typed",
    "graphql/schema.graphql",
    "crypto/common_passwords.txt",
    "db/migrations/env.py",
    "db/migrations/script.py.mako",
    "mail/templates/defaults/layout.jinja",
    "web/pages/static/style.css",
]
SMOKE = Path(__file__).with_name("smoke.py")
NOT_SHIPPED = ("tests/", "examples/", "benchmarks/")
IMPORTED_BY_THE_CLIENT = """
import sys, keystead_client
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(ROOT, tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(ROOT / "sdk", tmp_path_factory.mktemp("client"))


# The wheels were built from the sdists.
@pytest.fixture(scope="module")
def installed_server(server: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(server.wheel, tmp_path_factory.mktemp("server-environment"))


@pytest.fixture(scope="module")
def installed_client(client: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(client.wheel, tmp_path_factory.mktemp("client-environment"))


def package_files(folder: Path, package: str) -> set[str]:
    """Every file of a package in the checkout, as a wheel names it."""
    return {
        str(path.relative_to(folder))
        for path in (folder / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_server_ships_every_file_of_its_package(server: Built) -> None:
    expected = package_files(ROOT / "src", "keystead")
    assert {f"keystead/{name}" for name in SERVER_FILES} <= expected
    assert any(name.startswith("keystead/db/migrations/versions/") for name in expected)
    assert any(name.startswith("keystead/web/pages/templates/") for name in expected)
    assert {name for name in server.in_wheel() if ".dist-info/" not in name} == expected
    assert {f"src/{name}" for name in expected} <= server.in_sdist()


def test_the_client_ships_every_file_of_its_package(client: Built) -> None:
    expected = package_files(ROOT / "sdk" / "src", "keystead_client")
    assert {"keystead_client/py.typed", "keystead_client/wsgi/__init__.py"} <= expected
    assert {name for name in client.in_wheel() if ".dist-info/" not in name} == expected
    assert {f"src/{name}" for name in expected} <= client.in_sdist()


def test_no_bytecode_is_shipped(server: Built, client: Built) -> None:
    shipped = [name for built in (server, client) for name in built.in_wheel() | built.in_sdist()]
    assert [name for name in shipped if name.endswith(".pyc") or "__pycache__" in name] == []


def test_neither_tests_nor_examples_are_shipped_and_the_licence_is(server: Built, client: Built) -> None:
    for built in (server, client):
        assert [name for name in built.in_wheel() | built.in_sdist() if name.startswith(NOT_SHIPPED)] == []
        assert "LICENSE" in built.in_sdist()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in built.in_wheel())
        assert "License-Expression: Apache-2.0" in built.metadata()
        assert "Description-Content-Type: text/markdown" in built.metadata()


def test_the_client_needs_httpx_and_nothing_else(client: Built) -> None:
    needed = [line for line in client.metadata().splitlines() if line.startswith("Requires-Dist: ")]
    assert [line for line in needed if "extra ==" not in line] == ["Requires-Dist: httpx<1,>=0.28"]
    assert [line for line in needed if "extra ==" in line] == ['Requires-Dist: joserfc>=1.4; extra == "verify"']


def test_an_installed_server_runs_and_creates_its_database(installed_server: Installed) -> None:
    assert keystead.__version__ in installed_server.command("keystead", "--version")
    assert "serve" in installed_server.python("-m", "keystead", "--help")
    place = installed_server.python("-c", "import keystead; print(keystead.__file__)").strip()
    assert Path(place).is_relative_to(installed_server.folder)
    installed_server.command("keystead", "migrate")
    assert (installed_server.folder / "keystead.db").exists()


def test_an_installed_client_has_its_public_names(installed_client: Installed) -> None:
    code = "import keystead_client as c; print(c.__file__, *(n for n in c.__all__ if hasattr(c, n)))"
    place, *names = installed_client.python("-c", code).split()
    assert Path(place).is_relative_to(installed_client.folder)
    assert names == list(keystead_client.__all__)


def test_every_interface_of_an_installed_client_works(installed_client: Installed) -> None:
    assert installed_client.python(str(SMOKE)) == "well\n"


def test_importing_the_client_imports_neither_the_server_nor_a_framework(installed_client: Installed) -> None:
    imported = set(installed_client.python("-c", IMPORTED_BY_THE_CLIENT).split())
    assert {"keystead_client", "httpx"} <= imported
    frameworks = {"fastapi", "starlette", "flask", "django", "strawberry", "graphql"}
    assert imported & {"keystead", "joserfc", "cryptography", *frameworks} == set()
