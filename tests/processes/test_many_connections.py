"""A real server under connections that want nothing: others are served, and it gets rid of them (A105)."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.databases import SqliteTemplate
from tests.postgres_server import free_port
from tests.processes.node import Node, running
from tests.web.wire import GOOD, START

pytestmark = pytest.mark.attack("A105")

SILENT, SLOW, DEAF = 1200, 500, 500
CLOSED_WITHIN = 15.0
SOFT = 256
"""Fewer descriptors than these connections need: the server raises the limit itself."""


@contextmanager
def soft_limit(descriptors: int) -> Iterator[None]:
    """Another soft limit of descriptors for what is started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(stack: ExitStack, node: Node, sent: bytes = b"", buffer: int = 0) -> socket.socket:
    """A connection that sends this, and is kept open."""
    client = stack.enter_context(socket.socket())
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.connect(("127.0.0.1", node.port))
    client.setblocking(False)
    if sent:
        client.send(sent)
    return client


def is_closed(client: socket.socket) -> bool:
    """Whether the server has ended the connection."""
    try:
        return client.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_idle_connections_do_not_starve_requests(sqlite_template: SqliteTemplate, tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = SILENT + SLOW + DEAF + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the hard limit of descriptors is below {wanted}")
    with ExitStack() as stack:
        with soft_limit(SOFT):
            node = stack.enter_context(running(tmp_path, sqlite_template.copy(tmp_path)))
        stack.enter_context(soft_limit(wanted))
        for _ in range(DEAF):
            connect(stack, node, GOOD * 3, buffer=4096)
        for _ in range(SLOW):
            connect(stack, node, START)
        silent = [connect(stack, node) for _ in range(SILENT)]
        pause = threading.Event()
        for _ in range(10):
            assert node.get("/health")[0] == 200
            pause.wait(0.05)
        for _ in range(int(CLOSED_WITHIN / 0.25)):
            silent = [client for client in silent if not is_closed(client)]
            if not silent:
                break
            assert node.get("/health")[0] == 200
            pause.wait(0.25)
        assert not silent
        lines = [line for line in node.log_lines() if line["event"] == "connections_refused"]
    assert len(lines) == 1
    assert lines[0]["silent"] > 0


def test_settings_limit_connections_and_keep_alive(sqlite_template: SqliteTemplate, tmp_path: Path) -> None:
    metrics = free_port()
    settings = {
        "KEYSTEAD_MAX_CONNECTIONS": "8",
        "KEYSTEAD_KEEP_ALIVE": "1",
        "KEYSTEAD_METRICS_PORT": str(metrics),
    }
    with running(tmp_path, sqlite_template.copy(tmp_path), **settings) as node, ExitStack() as stack:
        kept = connect(stack, node, GOOD)
        kept.settimeout(20)
        assert b" 200 " in kept.recv(4096)
        assert kept.recv(4096) == b"", "closed after a second"
        half = START + b"Content-Length: 9\r\n\r\n{"
        clients = [connect(stack, node, half) for _ in range(20)]
        for client in clients[8:]:
            client.settimeout(20)
            assert client.recv(4096).startswith(b"HTTP/1.1 503 ")
        assert b'keystead_connections_refused_total{reason="full"} 12.0' in scrape(metrics)
        clients[0].close()
        node.wait_until_ready()


def scrape(port: int) -> bytes:
    """The metrics as Prometheus gets them."""
    with socket.create_connection(("127.0.0.1", port), 5) as client, client.makefile("rb") as answer:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return answer.read()
