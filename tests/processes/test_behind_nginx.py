"""Two nodes behind Debian's nginx: what the server refuses reaches the client, and no node passes for dead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.databases import SqliteTemplate
from tests.nginx import KEEPALIVE, nginx
from tests.processes.node import Node, running

pytestmark = pytest.mark.attack("A105")

LARGE = b"x" * 900_000
HEALTH = {"query": "{ health { data { up } } }"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def pair(sqlite_template: SqliteTemplate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    """Two nodes on one database."""
    folder = tmp_path_factory.mktemp("behind-nginx")
    url = sqlite_template.copy(folder)
    with ExitStack() as stack:
        here, there = (stack.enter_context(running(folder, url)) for _ in range(2))
        yield here, there


@pytest.fixture(params=[("", ""), KEEPALIVE], ids=["defaults", "keepalive"])
def proxy(pair: tuple[Node, Node], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """nginx before both of them."""
    with nginx(tmp_path, [node.port for node in pair], request.param) as url:
        yield url


# One for each way in which a request is refused before its body is read.
REFUSALS = [
    ("POST", "/graphql", JSON, 413),
    ("POST", "/graphql", {"content-type": "text/plain"}, 415),
    ("PUT", "/graphql", JSON, 405),
    ("POST", "/nowhere", JSON, 404),
    ("POST", "/health", JSON, 405),
    ("POST", "/link/verify", {"content-type": "application/x-www-form-urlencoded"}, 413),
    ("POST", "/link/verify", JSON, 415),
    ("POST", "/link/nowhere", JSON, 404),
    ("POST", "/graphql", {**JSON, **{f"x-{n}": "1" for n in range(100)}}, 431),
]


async def test_rejected_large_bodies_do_not_mark_a_node_as_failed(proxy: str) -> None:
    async with httpx.AsyncClient(base_url=proxy, trust_env=False, timeout=30) as client:
        for method, path, headers, status in [*REFUSALS[:1] * 2, *REFUSALS]:
            refused = [client.request(method, path, headers=headers, content=LARGE) for _ in range(4)]
            *answers, other = await asyncio.gather(*refused, client.post("/graphql", json=HEALTH))
            assert [answer.status_code for answer in answers] == [status] * 4, (method, path, headers)
            assert other.status_code == 200
