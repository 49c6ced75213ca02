"""``me`` over HTTP beside "hello JSON" on the same server, in turns; memory and start-up time on the way."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from benchmarks.figures import Figure
from benchmarks.processes import (
    free_port,
    hello_command,
    keystead_command,
    requests_per_second,
    resident_mebibytes,
    running,
)
from tests.postgres_server import postgres_server

ROUNDS = 5
SECONDS = 4
PASSWORD = "a long enough phrase"
ME = json.dumps({"query": "{ me { id email } }"})
TARGETS = {"sqlite": 0.25, "postgresql": 0.15}


def measure() -> Iterator[Figure]:
    """The figures of both databases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _on({"KEYSTEAD_DATABASE_URL": f"sqlite:///{folder}/bench.db"}, "sqlite", folder)
        with postgres_server("fsync=on", "synchronous_commit=on") as url:
            yield from _on(postgres_environ(url), "postgresql", folder)


def postgres_environ(url: str) -> dict[str, str]:
    """The environment of a server on a new database of this PostgreSQL."""

    async def create() -> None:
        connection = await asyncpg.connect(f"{url}/postgres")
        await connection.execute("CREATE DATABASE bench")
        await connection.close()

    asyncio.run(create())
    return {"KEYSTEAD_DATABASE_URL": f"{url}/bench", "KEYSTEAD_MASTER_KEY": "benchmarks only, not a secret at all"}


def _on(environ: dict[str, str], name: str, folder: Path) -> Iterator[Figure]:
    environ = {**environ, "KEYSTEAD_BASE_URL": "http://bench.localhost", "KEYSTEAD_LOG_LEVEL": "info"}
    prepare(environ)
    port, hello_port = free_port(), free_port()
    with (
        running(hello_command(hello_port), hello_port, {}, "/"),
        running(keystead_command(port), port, environ, "/health") as (pid, seconds),
    ):
        time.sleep(1)
        idle = resident_mebibytes(pid)
        token = log_in(f"http://127.0.0.1:{port}/graphql")
        headers = {"Content-Type": "application/json", "Authorization": token}
        ratios, ours = [], []
        for _ in range(ROUNDS):
            hello = requests_per_second(f"http://127.0.0.1:{hello_port}/", ME, headers, SECONDS, folder)
            mine = requests_per_second(f"http://127.0.0.1:{port}/graphql", ME, headers, SECONDS, folder)
            ratios.append(mine / hello)
            ours.append(mine)
    spread = f"{min(ratios):.3f}..{max(ratios):.3f} over {ROUNDS} rounds, {statistics.median(ours):,.0f} requests/s"
    yield Figure(f"me / hello ({name})", statistics.median(ratios), "", TARGETS[name], beside=spread)
    yield Figure(f"idle memory ({name})", idle, "MiB", at_most=90)
    yield Figure(f"start until /health ({name})", seconds, "s", at_most=2)


def prepare(environ: dict[str, str]) -> None:
    """A brand and a user, made with the command line."""
    keystead(environ, "migrate")
    keystead(environ, "brand", "create", "bench")
    keystead(
        environ,
        *("user", "create", "--brand", "bench", "--email", "luna@bench.example", "--verified", "--password-stdin"),
        text=PASSWORD,
    )


def keystead(environ: dict[str, str], *arguments: str, text: str = "") -> str:
    """Runs the command line; returns what it printed."""
    command = [sys.executable, "-m", "keystead", *arguments, "--json"]
    done = subprocess.run(
        command, env={**os.environ, **environ}, input=text, text=True, check=True, capture_output=True
    )
    return done.stdout


def log_in(url: str) -> str:
    """An access token."""
    query = "mutation($i: AuthRequest!) { login(input: $i) { data { auth_token } } }"
    credentials = {"email": "luna@bench.example", "password": PASSWORD, "pylo_app_id": "bench"}
    body = json.dumps({"query": query, "variables": {"i": credentials}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        token: str = json.load(response)["data"]["login"]["data"]["auth_token"]
        return token
