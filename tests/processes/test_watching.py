"""What an operator watches: whether it is up, whether it is ready, how much it does."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import SqliteTemplate
from tests.postgres_server import free_port
from tests.processes.node import Node, RemoteApi, running
from tests.use_cases.people import ME


@pytest.fixture
def metrics_port() -> int:
    """A free port for the metrics."""
    return free_port()


@pytest.fixture(params=["1", "2"], ids=["one worker", "two workers"])
def node(
    request: pytest.FixtureRequest, sqlite_template: SqliteTemplate, tmp_path: Path, metrics_port: int
) -> Iterator[Node]:
    """A server with metrics."""
    url = sqlite_template.copy(tmp_path)
    settings = {"KEYSTEAD_METRICS_PORT": str(metrics_port), "TMPDIR": str(tmp_path)}
    with running(tmp_path, url, "--workers", request.param, **settings) as node:
        yield node
    assert list(tmp_path.glob("keystead-metrics-*")) == [], "nothing is left behind"


async def test_health_readiness_and_metrics(node: Node, metrics_port: int) -> None:
    assert node.get("/health") == (200, {"up": True})
    assert node.get("/ready") == (200, {"ready": True})
    async with RemoteApi(node) as api:
        for _ in range(3):
            assert (await api.send(ME)).status == 200
        assert (await api.send(ME, token="nonsense")).status == 401
        jwks = await api.http.get("/.well-known/jwks.json")
    assert jwks.headers["content-type"] == "application/jwk-set+json"
    assert len(jwks.json()["keys"]) == 1
    assert samples(metrics_port) == {"200": 3.0, "401": 1.0}
    assert node.get("/metrics")[0] == 404, "not on the public port"


def samples(port: int) -> dict[str, float]:
    """Answered requests by status, as a Prometheus server reads them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        text = response.read().decode()
    assert re.search(r"^keystead_request_seconds_count 4\.0$", text, re.MULTILINE), text
    found = re.findall(r'^keystead_requests_total\{status="(\d+)"\} ([\d.]+)$', text, re.MULTILINE)
    return {status: float(number) for status, number in found}
