"""``keystead demo``: what it prints works when it is pasted, and is the same at the next start."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from graphql import build_client_schema, get_introspection_query

from tests.cli.command import run_alone
from tests.demo.running import Demo, free_port, paste, running
from tests.house_rules.source import ROOT


@pytest.mark.parametrize("turn", ["once", "again"])
def test_every_printed_command_works_when_pasted(demo: Demo, shell: dict[str, str], turn: str) -> None:
    assert len(demo.commands) > 25
    pasted = [(command, paste(command, shell)) for command in demo.commands]
    assert [(turn, command, answer) for command, answer in pasted if answer.is_refused] == []


def test_and_in_any_order(demo: Demo, shell: dict[str, str]) -> None:
    """The commands that mail links, backwards: none waits for what another one mailed."""
    commands = [command for command in reversed(demo.commands) if "email" in command.lower() or "mailbox" in command]
    assert len(commands) > 10
    pasted = [(command, paste(command, shell)) for command in commands]
    assert [(command, answer) for command, answer in pasted if answer.is_refused] == []


@pytest.mark.parametrize(
    "documented",
    [
        "login(input", "refreshToken(input", "{ me { id email } }", "current_user", "createMe", "getAccessToken(",
        "{ login(email", "invalidateRefreshToken(force: true)", "createApiKey(", "createPyloApiKey(", "deleteApiKey(",
        "apiKeyList", "pyloApiKeyList", "apiKeyById", "customerList", "customerById", "createCustomer",
        "updateCustomer", "deleteCustomer", "sessionList", "logout",
        "changeAndValidateEmail(", "resendVerificationMail", "changeEmailMagically(", "requestMagicLogin(",
        "redeemMagicLink(", "requestPasswordReset(", "resetPassword(", "changePassword(", "{ invalidateRefreshToken }",
        "/health", "/.well-known/jwks.json", "health { data { up } }",
        "Authorization: Bearer $AUTH", "Authorization: $AUTH", "pylo-api-key: ks_sk_", "x-api-key: ks_sk_",
        "keystead-api-key: ks_sk_", "yoli-brand-authorization: ks_bt_", "keystead-brand-authorization: ks_bt_",
    ],
)  # fmt: skip
def test_every_documented_request_is_among_them(demo: Demo, documented: str) -> None:
    assert any(documented in command for command in demo.commands)


def test_the_last_lines_repeat_where_it_is_and_who_may_log_in(demo: Demo) -> None:
    """What stands above has scrolled away by then."""
    last = "\n".join(demo.printed.splitlines()[-5:])
    kept = json.loads(demo.secrets.read_text("utf-8"))
    for word in (f"{demo.origin}/graphql", f"{demo.origin}/mailbox", "rainbowMakers", kept["email"], kept["password"]):
        assert word in last


def test_the_address_alone_leads_to_both(demo: Demo) -> None:
    with urlopen(demo.origin) as page:
        html = page.read().decode()
    for path in ("/graphql", "/mailbox"):
        assert f'href="{path}"' in html


def test_the_login_of_the_readme_needs_no_brand(demo: Demo) -> None:
    kept = json.loads(demo.secrets.read_text("utf-8"))
    example = (ROOT / "README.md").read_text("utf-8").partition("-d '")[2].partition("'")[0]
    body = json.loads(example) | {"variables": {"input": {"email": kept["email"], "password": kept["password"]}}}
    assert sorted(json.loads(example)["variables"]["input"]) == ["email", "password"]
    request = Request(f"{demo.origin}/graphql", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        assert json.load(answer)["data"]["login"]["data"]["auth_token"]


def test_secrets_are_their_owners_alone(demo: Demo) -> None:
    assert stat.S_IMODE(demo.secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.secrets.with_name("tokens.sh").stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.secrets.parent.stat().st_mode) == 0o700
    kept = json.loads(demo.secrets.read_text("utf-8"))
    for name in ("email", "password", "brand_token", "api_key", "brand_id"):
        assert kept[name] in demo.printed
    assert kept["auth_token"] not in demo.printed, "it would fill a screen"
    assert max(len(line) for line in demo.printed.splitlines()) < 1000


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
    assert "PORT=" in said.error


def test_a_second_start_prints_the_same(tmp_path: Path, shell: dict[str, str]) -> None:
    """And what another installation is set to does not matter to it."""
    foreign = {"KEYSTEAD_DATABASE_URL": "postgresql://127.0.0.1:1/real", "KEYSTEAD_THROTTLING": "off"}
    port = free_port()
    with running(tmp_path, port) as first:
        pass
    (tmp_path / "keystead.toml").write_text('introspection = "nonsense"\n', "utf-8")
    with running(tmp_path, port, **foreign) as second:
        listed = paste(second.command("{ sessionList {"), shell).data["sessionList"]
    assert second.printed == first.printed
    assert listed["pagination"]["total"] == 2, "the others that the tours opened are over"


def test_lost_secrets_are_made_anew(tmp_path: Path, shell: dict[str, str]) -> None:
    port = free_port()
    with running(tmp_path, port) as first:
        lost = json.loads(first.secrets.read_text("utf-8"))
    first.secrets.unlink()
    with running(tmp_path, port, "--json") as second:
        document = json.loads(second.printed)
        answers = [paste(request["curl"], shell) for request in document["requests"]]
    assert [answer for answer in answers if answer.is_refused] == []
    assert document["brand_id"] == document["secrets"]["brand_id"] == lost["brand_id"]
    for name in ("password", "brand_token", "api_key"):
        assert document["secrets"][name] != lost[name]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", "utf-8")
    said = run_alone(tmp_path, "demo", "--folder", "taken/demo")
    assert said.exit_code == 1
    assert "taken/demo" in said.error
