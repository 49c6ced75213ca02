"""Everything is written down at the level ``debug``, and no secret is in it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import PATTERNS
from keystead.db.interface import Database
from tests.make import PASSWORD, make_brand, make_brand_token, make_user
from tests.processes.node import Node, RemoteApi, make_colleague, running
from tests.use_cases.people import ADMIN, LOGIN, ME, create_me, get_access_token, log_in, refresh, try_refresh

UNKNOWN = "an.unknown.user@example.com"
WRONG = "a wrong password of a user"
NEW_PASSWORD = "violet indigo blue"
LITERAL_LOGIN = (
    f'mutation {{ login(input: {{ email: "{UNKNOWN}", password: "{WRONG}" }}) {{ data {{ auth_token }} }} }}'
)


@pytest.fixture
async def server(db: Database) -> Server:
    """A server in this process, on the same database."""
    return await make_colleague(db)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand with an administrator."""
    brand = await make_brand(server)
    await make_user(server, brand, ADMIN, password=PASSWORD, permissions=("admin",))
    return brand


@pytest.fixture
async def node(brand: ActiveBrand, database_url: str, tmp_path: Path) -> AsyncIterator[Node]:
    """A server that writes everything down."""
    with running(tmp_path, database_url, KEYSTEAD_LOG_LEVEL="debug") as node:
        yield node


async def test_no_secret_is_in_the_log(node: Node, server: Server, brand: ActiveBrand) -> None:
    brand_token = (await make_brand_token(server, brand)).reveal()
    async with RemoteApi(node) as api:
        used = await _use_secrets(api, brand_token)
        refused = await api.send(ME, token="nonsense")
    node.terminate()
    node.wait()
    log = node.log.read_text()
    requests = [line for line in node.log_lines() if line.get("event") == "request"]
    assert len(requests) > 20, "the requests are in it"
    assert all(line["request_id"] and line["level"] and line["timestamp"] for line in requests)
    reference = refused.extensions["referenceId"]
    assert [line["status"] for line in requests if line["request_id"] == reference] == [401]
    assert [secret[:12] for secret in (*used, brand_token, PASSWORD, WRONG, NEW_PASSWORD) if secret in log] == []
    assert UNKNOWN not in log
    assert "$argon2" not in log
    assert "[hidden]" not in log, "nothing had to be blotted out at the last moment"
    assert not re.search(r"eyJ[\w-]{10,}\.", log)
    assert [kind for kind, pattern in PATTERNS.items() if re.search(pattern.pattern.strip("^$"), log)] == []


async def _use_secrets(api: RemoteApi, brand_token: str) -> set[str]:
    """Lives through every kind of secret, used well and badly; gives back all of them."""
    used: set[str] = set()

    async def ask(text: str, variables: dict[str, Any] | None = None, **more: Any) -> Any:
        answer = await api.send(text, variables, **more)
        used.update(re.findall(r"ks_[a-z]{2}_\w{20,}|eyJ[\w.-]{20,}", json.dumps(answer.body)))
        return answer.body.get("data")

    tokens = await log_in(api, ADMIN)
    again = await refresh(api, tokens.refresh)
    used |= {*tokens, *again}
    await ask(LITERAL_LOGIN)
    await ask(LITERAL_LOGIN + " }")
    await ask(LITERAL_LOGIN.replace("auth_token", "no_such_field"))
    await ask(LOGIN, {"input": {"email": UNKNOWN, "password": WRONG}})
    await ask(LOGIN, {"input": {"email": UNKNOWN, "password": [WRONG]}})
    await ask(f'{{ login(email: "{ADMIN}", password: "{PASSWORD}") }}')
    kept = await create_me(api, brand_token)
    used |= {kept, await get_access_token(api, kept)}
    await ask(f'{{ getAccessToken(refreshToken: "{kept}", expiresIn: 1) }}')
    made = await ask(
        'mutation { createApiKey(input: { name: "x", permissions: ["read"] }) { data { id token } } }',
        token=again.auth,
    )
    key = made["createApiKey"]["data"]
    await ask("{ me { id } }", key=key["token"])
    await ask("{ me { id } }", key=key["token"][:-1] + "0")
    await ask("{ me { id } }", token=again.auth[:-4] + "AAAA")
    await ask("{ me { id } }", brand=key["token"])
    rotate = "mutation ($id: ID!) { rotateApiKey(id: $id) { data { token } } }"
    await ask(rotate, {"id": key["id"]}, token=again.auth)
    change = "mutation ($old: String!, $new: String!) { changePassword(oldPassword: $old, newPassword: $new) }"
    await ask(change, {"old": PASSWORD, "new": NEW_PASSWORD}, token=again.auth)
    used.add((await try_refresh(api, tokens.refresh)).body["data"]["refreshToken"]["data"]["refresh_token"])
    await api.http.get(f"/graphql?query={{me{{id}}}}&token={again.refresh}")
    await api.http.get(f"/no-such-page/{again.refresh}")
    await api.http.post(
        "/graphql", content=f'{{"query": "{LITERAL_LOGIN}'.encode(), headers={"Content-Type": "application/json"}
    )
    return used
