"""Cost of the most frequent operations in process (µs), beside a bare read by primary key."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.figures import Figure
from benchmarks.in_process import Caller, application, microseconds
from benchmarks.over_http import PASSWORD, keystead, prepare

CUSTOMERS = """
[customer]
[customer.fields]
name = { type = "string", required = true }
"""
LOGIN = "mutation($i: AuthRequest!) { login(input: $i) { data { auth_token refresh_token } } }"
CREDENTIALS = {"email": "luna@bench.example", "password": PASSWORD, "pylo_app_id": "bench"}
REFRESH = "mutation($t: String!) { refreshToken(input: {refresh_token: $t}) { data { auth_token refresh_token } } }"


def measure() -> Iterator[Figure]:
    """The figures, on SQLite."""
    with tempfile.TemporaryDirectory() as name:
        environ = {"KEYSTEAD_DATABASE_URL": f"sqlite:///{name}/bench.db", "KEYSTEAD_LOG_LEVEL": "warning"}
        prepare(environ)
        definition = Path(name) / "entities.toml"
        definition.write_text(CUSTOMERS)
        keystead(environ, "entity", "apply", "--brand", "bench", str(definition))
        made = keystead(
            environ, *"api-key create --brand bench --name bench --permission read --permission write".split()
        )
        bare = _bare_read(f"{name}/bench.db")
        yield from uvloop.run(_paths(environ, json.loads(made)["token"], bare))


def _bare_read(path: str) -> float:
    connection = sqlite3.connect(path)
    calls = 20_000
    started = time.perf_counter()
    for _ in range(calls):
        connection.execute("SELECT name FROM brands WHERE id = ?", ("",)).fetchone()
    return (time.perf_counter() - started) / calls * 1e6


async def _paths(environ: dict[str, str], key: str, bare: float) -> list[Figure]:
    async with application(environ) as opened:
        caller = Caller(opened)
        tokens = (await caller.post(LOGIN, {"i": CREDENTIALS}))["login"]["data"]
        user = caller.with_headers(authorization=tokens["auth_token"])
        machine = caller.with_headers(keystead_api_key=key)
        for number in range(100):
            await machine.post(f'mutation {{ createCustomer(input: {{name: "{number}"}}) {{ data {{ id }} }} }}')
        beside = f"one bare sqlite3 read by primary key: {bare:.1f} µs"
        listing = _body("{ customerList(pagination: {per_page: 20}) { data { id name } } }")
        return [
            Figure("health", await microseconds(caller, _body("{ health { data { up } } }")), "µs", beside=beside),
            Figure("me", await microseconds(user, _body("{ me { id email } }")), "µs", beside=beside),
            Figure("customerList, 20 of 100", await microseconds(machine, listing), "µs", beside=beside),
        ]


def _body(query: str) -> bytes:
    return json.dumps({"query": query}).encode()
