"""``keystead demo``: what it prints works when it is pasted, and is the same at the next start."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from graphql import build_client_schema, get_introspection_query

from tests.cli.command import plain_environment, run_alone

STATUS = "\n%{http_code}"


@dataclass(frozen=True)
class Demo:
    """A demo that is running."""

    folder: Path
    origin: str
    printed: str

    @property
    def commands(self) -> list[str]:
        """The printed curl commands, one a line."""
        return [line for line in self.printed.splitlines() if line.startswith("curl ")]

    @property
    def secrets(self) -> Path:
        """The file that the secrets are kept in."""
        return self.folder / ".demo" / "secrets.json"


@contextmanager
def running(folder: Path, port: int, *words: str, **settings: str) -> Iterator[Demo]:
    """The demo, from the moment on at which it has printed everything."""
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
        said = []
        for line in process.stderr:
            said.append(line)
            if "Ctrl-C" in line:
                break
        else:
            pytest.fail("".join(said))
        yield Demo(folder, f"http://localhost:{port}", output.read_text("utf-8"))
        process.terminate()
        assert process.wait(timeout=20) == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("demo"), free_port()) as started:
        yield started


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which there is a curl."""
    environment = plain_environment()
    if shutil.which("curl") is None:
        folder = tmp_path_factory.mktemp("bin")
        script = folder / "curl"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("curl.py")}" "$@"\n')
        script.chmod(0o755)
        environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    return environment


def paste(command: str, shell: dict[str, str]) -> tuple[int, str]:
    """The HTTP status and the body that a pasted command gets."""
    done = subprocess.run(
        ["sh", "-c", f"{command} -w '{STATUS}'"], env=shell, capture_output=True, text=True, check=True, timeout=30
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.mark.parametrize("turn", ["once", "again"])
def test_every_printed_command_works_when_pasted(demo: Demo, shell: dict[str, str], turn: str) -> None:
    assert len(demo.commands) > 25
    refused = []
    for command in demo.commands:
        status, body = paste(command, shell)
        if status != 200 or "errors" in json.loads(body):
            refused.append((turn, command, status, body))
    assert refused == []


@pytest.mark.parametrize(
    "documented",
    [
        "login(input", "refreshToken(input", "{ me { id email } }", "current_user", "createMe", "getAccessToken(",
        "{ login(email", "invalidateRefreshToken(force: true)", "createApiKey(", "createPyloApiKey(", "deleteApiKey(",
        "apiKeyList", "pyloApiKeyList", "apiKeyById", "customerList", "customerById", "createCustomer",
        "updateCustomer", "deleteCustomer", "sessionList", "logout",
        "/health", "/.well-known/jwks.json", "health { data { up } }",
        "Authorization: Bearer eyJ", "Authorization: eyJ", "pylo-api-key: ks_sk_", "x-api-key: ks_sk_",
        "keystead-api-key: ks_sk_", "yoli-brand-authorization: ks_bt_", "keystead-brand-authorization: ks_bt_",
    ],
)  # fmt: skip
def test_every_documented_request_is_among_them(demo: Demo, documented: str) -> None:
    assert any(documented in command for command in demo.commands)


def test_secrets_are_their_owners_alone(demo: Demo) -> None:
    assert stat.S_IMODE(demo.secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.secrets.parent.stat().st_mode) == 0o700
    kept = json.loads(demo.secrets.read_text("utf-8"))
    for name in ("email", "password", "brand_token", "api_key"):
        assert kept[name] in demo.printed


def test_browsers_get_graphiql_and_nothing_from_elsewhere(demo: Demo) -> None:
    with urlopen(Request(f"{demo.origin}/graphql", headers={"Accept": "text/html"})) as page:
        html = page.read().decode()
        policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "://" not in html
    assets = [word.split('"')[1] for word in html.split() if word.startswith(("src=", "href=")) and "/graphql/" in word]
    assert len(assets) == 6
    for path in assets:
        with urlopen(demo.origin + path) as asset:
            assert len(asset.read()) > 20
            assert asset.headers["X-Content-Type-Options"] == "nosniff"


def test_introspection_is_public_as_graphiql_asks_for_it(demo: Demo) -> None:
    body = json.dumps(
        {"query": get_introspection_query(input_value_deprecation=True), "operationName": "IntrospectionQuery"}
    )
    request = Request(f"{demo.origin}/graphql", body.encode(), {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        answered = json.load(answer)
    assert "errors" not in answered
    assert build_client_schema(answered["data"]).query_type is not None


def test_any_page_may_ask(demo: Demo) -> None:
    headers = {"Content-Type": "application/json", "Origin": "https://app.example"}
    with urlopen(Request(f"{demo.origin}/graphql", b'{"query": "{ health { data { up } } }"}', headers)) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_taken_port_is_one_line(demo: Demo) -> None:
    port = demo.origin.rpartition(":")[2]
    said = run_alone(demo.folder, "demo", "--port", port, "--json")
    assert said.exit_code == 1
    assert port in said.error
    assert "--port" in said.error


def test_a_second_start_prints_the_same(tmp_path: Path) -> None:
    """And what another installation is set to does not matter to it."""
    foreign = {"KEYSTEAD_DATABASE_URL": "postgresql://127.0.0.1:1/real", "KEYSTEAD_THROTTLING": "off"}
    port = free_port()
    with running(tmp_path, port) as first:
        pass
    (tmp_path / "keystead.toml").write_text('introspection = "nonsense"\n', "utf-8")
    with running(tmp_path, port, **foreign) as second:
        pass
    assert second.printed == first.printed


def test_lost_secrets_are_made_anew(tmp_path: Path, shell: dict[str, str]) -> None:
    port = free_port()
    with running(tmp_path, port) as first:
        lost = json.loads(first.secrets.read_text("utf-8"))
    first.secrets.unlink()
    with running(tmp_path, port, "--json") as second:
        document = json.loads(second.printed)
        answers = [paste(request["curl"], shell) for request in document["requests"]]
    assert [body for status, body in answers if status != 200 or "errors" in json.loads(body)] == []
    for name in ("password", "brand_token", "api_key"):
        assert document["secrets"][name] != lost[name]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", "utf-8")
    said = run_alone(tmp_path, "demo", "--folder", "taken/demo")
    assert said.exit_code == 1
    assert "taken/demo" in said.error
