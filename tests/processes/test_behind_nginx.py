"""Two nodes behind Debian's nginx: rejections reach the client, and nginx takes no node for dead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.nginx import KEEPALIVE, nginx
from tests.processes.conftest import Nodes

pytestmark = pytest.mark.attack("A105")

LARGE = b"x" * 900_000
HEALTH = {"query": "{ health { data { up } } }"}
JSON = {"content-type": "application/json"}


@pytest.fixture(params=[("", ""), KEEPALIVE], ids=["defaults", "keepalive"])
def proxy(nodes: Nodes, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """nginx in front of both nodes."""
    with nginx(tmp_path, [node.port for node in nodes[:2]], request.param) as url:
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
