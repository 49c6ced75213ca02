"""One client on several event loops: of threads, and of programs that call ``asyncio.run`` more than once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keystead_client import AsyncClient


class Answering(BaseHTTPRequestHandler):
    """Answers each question over a connection that it keeps open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"data": {"me": {"id": "ann"}}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Of a server on a real socket: only there is a connection one of an event loop."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_each_event_loop_has_connections_of_its_own(url: str) -> None:
    client = AsyncClient(url, api_key="ks_sk_x", retries=0)
    for _ in range(3):
        assert asyncio.run(client.me(["id"])) == {"id": "ann"}
    assert len(client._http._clients) == 1, "what ended loops have left is forgotten"
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(client.me(["id"])))) for _ in range(3)]
    found: list[object] = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"id": "ann"}] * 3


def test_a_client_that_is_closed_leaves_nothing_open(url: str) -> None:
    async def ask() -> None:
        async with client:
            await client.me(["id"])
            assert client._http._clients

    client = AsyncClient(url, api_key="ks_sk_x", retries=0)
    for _ in range(2):
        asyncio.run(ask())
        assert not client._http._clients
