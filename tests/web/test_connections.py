"""Admission and timeouts of connections, with a fake event loop (A105 in part)."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from keystead.settings import Settings
from keystead.web.connection_limits import (
    MAX_DEFAULT_CONNECTIONS,
    ConnectionLimits,
    limits_for,
    raise_descriptor_limit,
)
from keystead.web.connections import LOG_INTERVAL, Connections, Prefix, Queue

LIMITS = ConnectionLimits(connections=8, exempt=(ip_network("10.0.0.0/8"),))
IDLE = ["silent", "head", "answered", "kept_alive", "lingering"]
AT_WORK = ["busy", "body", "discarding"]


class Loop:
    """A clock, and the sweep that is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: Callable[[], None] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, _: float, callback: Callable[[], None]) -> None:
        assert self.due is None, "one sweep at a time"
        self.due = callback

    def advance(self, seconds: float) -> None:
        """Advance the time and run the sweep."""
        self.now += seconds
        due, self.due = self.due, None
        if due is not None:
            due()


class Client:
    """A connection that records how it ended."""

    def __init__(self, connections: Connections) -> None:
        self.queue: Queue | None = None
        self.prefix: Prefix | None = None
        self.is_unread = False
        self.is_reading = True
        self.end = ""
        self._connections = connections

    def hang_up(self) -> None:
        self.end = self.end or "closed"
        self._connections.close(self)

    def abort(self) -> None:
        self.end = "aborted"


class Registry:
    """The connections under test."""

    def __init__(self, limits: ConnectionLimits = LIMITS) -> None:
        self.loop = Loop()
        self.connections = Connections(cast(Any, self.loop), limits)

    def connect(self, peer: str, queue: str = "silent") -> Client:
        """A client whose connection was accepted and is in this queue, or busy."""
        client = Client(self.connections)
        assert self.connections.admit(client, peer)
        self.connections.move(client, None if queue == "busy" else getattr(self.connections, queue))
        self.loop.now += 0.001
        return client

    def is_refused(self, peer: str) -> bool:
        """Whether another connection from there is refused."""
        return not self.connections.admit(Client(self.connections), peer)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_the_oldest_idle_connection_is_evicted_and_none_at_work(registry: Registry) -> None:
    clients = [registry.connect(f"192.0.2.{n}", queue) for n, queue in enumerate([*IDLE, *AT_WORK])]
    for n in range(5):
        registry.connect(f"198.51.100.{n}", "busy")
        assert [client.end for client in clients] == ["closed"] * (n + 1) + [""] * (7 - n)
    assert len(registry.connections) == 8
    assert registry.is_refused("198.51.100.9")
    registry.connections.forget(clients[7])
    registry.connect("198.51.100.9")


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"), ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
    ],
)  # fmt: skip
def test_a_prefix_has_a_quarter_until_its_end(registry: Registry, first: str, same: str, other: str) -> None:
    for _ in range(3):
        clients = [registry.connect(first, "busy") for _ in range(2)]
        assert registry.is_refused(same)
        neighbour = registry.connect(other)
        for client in (*clients, *clients, neighbour):
            registry.connections.forget(client)
    assert len(registry.connections) == 0


def test_a_full_prefix_evicts_its_own_oldest(registry: Registry) -> None:
    stranger = registry.connect("192.0.2.1")
    oldest, newer = registry.connect("192.0.2.2"), registry.connect("192.0.2.2")
    registry.connect("192.0.2.2")
    assert (stranger.end, oldest.end, newer.end) == ("", "closed", "")


def test_a_prefix_with_one_slot_replaces_its_connection() -> None:
    registry = Registry(ConnectionLimits(connections=4, exempt=()))
    before = registry.connect("192.0.2.2")
    for _ in range(3):
        after = registry.connect("192.0.2.2")
        assert (before.end, after.end, len(registry.connections)) == ("closed", "", 1)
        before = after


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "", "127.0.0.1", "::1", "127.9.9.9"])
def test_proxies_loopback_and_peers_without_an_address_have_no_prefix_limit(peer: str) -> None:
    registry = Registry(limits_for(Settings(trusted_proxies=(ip_network("10.0.0.0/8"),)), 10))
    for _ in range(9):
        registry.connect(peer, "busy")
    assert registry.is_refused(peer)


@pytest.mark.parametrize(
    ("queue", "seconds"),
    [("silent", 5), ("head", 10), ("body", 20), ("discarding", 2), ("lingering", 2), ("answered", 75)],
)
def test_a_timeout_closes_the_connection(registry: Registry, queue: str, seconds: float) -> None:
    client = registry.connect("192.0.2.1", queue)
    while registry.loop.now < seconds - 0.5:
        registry.loop.advance(0.5)
    ends = [client.end]
    for _ in range(3):
        registry.loop.advance(0.5)
    assert [*ends, client.end] == ["", "closed"]


@pytest.mark.parametrize("queue", ["silent", "head", "body"])
def test_a_client_that_we_do_not_read_from_has_no_timeout(registry: Registry, queue: str) -> None:
    client = registry.connect("192.0.2.1", queue)
    client.is_reading = False
    registry.loop.advance(100)
    assert client.queue is not None
    client.is_reading = True
    registry.loop.advance(100)
    assert client.end == "closed"


@pytest.mark.parametrize("state", ["answered", "paused", "closing"])
def test_a_client_that_does_not_read_is_aborted(registry: Registry, state: str) -> None:
    client = registry.connect("192.0.2.1", "answered" if state == "answered" else "busy")
    client.is_unread = True
    if state == "paused":
        registry.connections.pause(client)
    elif state == "closing":
        client.hang_up()
    registry.loop.advance(29)
    assert client.end != "aborted"
    registry.loop.advance(1)
    assert (client.end, len(registry.connections)) == ("aborted", 0)


def test_a_client_that_reads_slowly_is_kept(registry: Registry) -> None:
    client = registry.connect("192.0.2.1", "busy")
    for _ in range(5):
        registry.connections.pause(client)
        registry.loop.advance(20)
        registry.connections.resume(client)
    assert not client.end


def test_an_unread_response_outlives_keep_alive_and_is_aborted_when_evicted() -> None:
    registry = Registry(replace(LIMITS, keep_alive=5))
    client = registry.connect("192.0.2.1", "answered")
    client.is_unread = True
    registry.loop.advance(6)
    assert client.end == "closed"
    registry.loop.advance(31)
    assert client.end == "aborted"
    clients = [registry.connect(f"192.0.2.{n}", "answered") for n in range(8)]
    clients[0].is_unread = True
    registry.connect("198.51.100.1")
    assert clients[0].end == "aborted"


def test_a_sweep_stops_at_the_first_that_has_time_and_runs_while_there_are_connections() -> None:
    registry = Registry(ConnectionLimits(connections=1000))
    clients = [registry.connect(f"192.0.2.{n % 250}") for n in range(1000)]
    registry.loop.advance(5 - registry.loop.now + 0.5)
    assert sum(client.end == "closed" for client in clients) == pytest.approx(500, abs=2)
    assert registry.loop.due is not None
    for client in clients:
        registry.connections.forget(client)
    registry.loop.advance(LOG_INTERVAL)
    registry.loop.advance(1)
    assert registry.loop.due is None


def test_refusals_are_logged_once_a_minute(registry: Registry) -> None:
    for n in range(8):
        registry.connect(f"192.0.2.{n}", "busy")
    with capture_logs() as lines:
        for _ in range(3):
            for _ in range(50):
                assert registry.is_refused("198.51.100.1")
                registry.loop.advance(LOG_INTERVAL / 50)
        registry.loop.advance(LOG_INTERVAL)
    assert {(line["event"], line["log_level"]) for line in lines} == {("connections_refused", "warning")}
    assert len(lines) in (3, 4)
    assert sum(line["full"] for line in lines) == 150


def test_slow_clients_are_no_warning(registry: Registry) -> None:
    registry.connect("192.0.2.1")
    with capture_logs() as lines:
        registry.loop.advance(6)
    assert [(line["log_level"], line["silent"]) for line in lines] == [("info", 1)]


@pytest.mark.parametrize(
    ("descriptors", "setting", "connections", "per_prefix"),
    [
        (1024, None, 921, 230), (8000, None, 7200, 1800), (1024, 100, 100, 25), (1024, 5000, 921, 230),
        (1_000_000, None, MAX_DEFAULT_CONNECTIONS, MAX_DEFAULT_CONNECTIONS // 4), (1_000_000, 200_000, 200_000, 50_000),
    ],
)  # fmt: skip
def test_connections_are_nine_tenths_of_the_descriptors(
    descriptors: int, setting: int | None, connections: int, per_prefix: int
) -> None:
    with capture_logs() as lines:
        limits = limits_for(Settings(max_connections=setting), descriptors)
    assert (limits.connections, limits.per_prefix) == (connections, per_prefix)
    assert bool(lines) is (setting == 5000)


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "result"),
    [
        (1024, 4096, [(4096, 4096)], 4096), (4096, 4096, [], 4096), (256, 1, [], 256),
        (1024, resource.RLIM_INFINITY, [(1 << 20, resource.RLIM_INFINITY)], 1 << 20),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, [], 1 << 20),
    ],
)  # fmt: skip
def test_the_soft_limit_is_raised_to_the_hard_one_if_the_kernel_permits(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: list[tuple[int, int]], result: int
) -> None:
    calls: list[tuple[int, int]] = []

    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        if hard == 1:
            raise ValueError
        calls.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY if hard == 1 else hard))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert raise_descriptor_limit() == result
    assert calls == raised
