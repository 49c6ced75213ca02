"""``keystead demo``: every printed command works when it is pasted, repeatedly and in any order."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from urllib.request import Request, urlopen

from graphql import build_client_schema, get_introspection_query

from tests.cli.command import run_alone
from tests.demo.running import Demo, paste
from tests.house_rules.source import ROOT

DOCUMENTED = [
    "login(input", "refreshToken(input", "{ me { id email } }", "current_user", "createMe", "getAccessToken(",
    "{ login(email", "invalidateRefreshToken(force: true)", "createApiKey(", "createPyloApiKey(", "deleteApiKey(",
    "apiKeyList", "pyloApiKeyList", "apiKeyById", "customerList", "customerById", "createCustomer",
    "updateCustomer", "deleteCustomer", "sessionList", "logout",
    "changeAndValidateEmail(", "resendVerificationMail", "changeEmailMagically(", "requestMagicLogin(",
    "redeemMagicLink(", "requestPasswordReset(", "resetPassword(", "changePassword(", "{ invalidateRefreshToken }",
    "/health", "/.well-known/jwks.json", "health { data { up } }",
    "Authorization: Bearer $AUTH", "Authorization: $AUTH", "pylo-api-key: ks_sk_", "x-api-key: ks_sk_",
    "keystead-api-key: ks_sk_", "yoli-brand-authorization: ks_bt_", "keystead-brand-authorization: ks_bt_",
]  # fmt: skip


def test_every_printed_command_works_repeatedly_and_in_any_order(demo: Demo, shell: dict[str, str]) -> None:
    assert len(demo.commands) > 25
    for commands in (demo.commands, demo.commands[::-1]):
        pasted = [(command, paste(command, shell)) for command in commands]
        assert [(command, answer) for command, answer in pasted if answer.is_failed] == []
    printed = "\n".join(demo.commands)
    assert [documented for documented in DOCUMENTED if documented not in printed] == []


def test_the_last_lines_and_the_front_page_show_addresses_and_login(demo: Demo) -> None:
    last = "\n".join(demo.printed.splitlines()[-5:])
    kept = demo.secrets
    for word in (f"{demo.origin}/graphql", f"{demo.origin}/mailbox", "rainbowMakers", kept["email"], kept["password"]):
        assert word in last
    with urlopen(demo.origin) as page:
        html = page.read().decode()
    assert all(f'href="{path}"' in html for path in ("/graphql", "/mailbox"))


def test_the_login_of_the_readme_works_from_every_origin_without_a_brand(demo: Demo) -> None:
    kept = demo.secrets
    example = (ROOT / "README.md").read_text("utf-8").partition("-d '")[2].partition("'")[0]
    body = json.loads(example) | {"variables": {"input": {"email": kept["email"], "password": kept["password"]}}}
    assert sorted(json.loads(example)["variables"]["input"]) == ["email", "password"]
    headers = {"Content-Type": "application/json", "Origin": "https://app.example"}
    request = Request(f"{demo.origin}/graphql", json.dumps(body).encode(), headers)
    with urlopen(request) as answer:
        assert json.load(answer)["data"]["login"]["data"]["auth_token"]
        assert answer.headers["Access-Control-Allow-Origin"] == "*", "every origin is allowed"


def test_secrets_are_readable_by_their_owner_only(demo: Demo) -> None:
    assert stat.S_IMODE(demo.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.path.with_name("tokens.sh").stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.path.parent.stat().st_mode) == 0o700
    kept = demo.secrets
    for name in ("email", "password", "brand_token", "api_key", "brand_id"):
        assert kept[name] in demo.printed
    assert kept["auth_token"] not in demo.printed, "too long to read"
    assert max(len(line) for line in demo.printed.splitlines()) < 1000


def test_browsers_get_graphiql_from_this_origin_only(demo: Demo) -> None:
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
    _, answer = demo.ask(get_introspection_query(input_value_deprecation=True))
    assert build_client_schema(answer["data"]).query_type is not None, "introspection is public"


def test_a_port_in_use_or_a_bad_folder_is_one_line(demo: Demo, tmp_path: Path) -> None:
    port = demo.origin.rpartition(":")[2]
    said = run_alone(demo.folder, "demo", "--port", port, "--json")
    assert said.exit_code == 1
    assert all(word in said.error for word in (port, "--port", "PORT="))
    (tmp_path / "taken").write_text("", "utf-8")
    said = run_alone(tmp_path, "demo", "--folder", "taken/demo")
    assert said.exit_code == 1
    assert "taken/demo" in said.error
