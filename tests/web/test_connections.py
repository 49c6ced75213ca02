"""Admission and timeouts of connections, by a clock of the test (A105 in part)."""

from __future__ import annotations

import resource
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from keystead.settings import Settings
from keystead.web.connection_limits import MAX_DEFAULT_CONNECTIONS, ConnectionLimits, limits_for, raise_descriptor_limit
from keystead.web.connections import LOG_INTERVAL, Connections, Prefix, Queue

LIMITS = ConnectionLimits(connections=8, exempt=(ip_network("10.0.0.0/8"),))


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
        """Let time pass, and the sweep come round."""
        self.now += seconds
        due, self.due = self.due, None
        if due is not None:
            due()


class Client:
    """A connection that notes its end."""

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


class Place:
    """A registry under test and its clients."""

    def __init__(self, limits: ConnectionLimits = LIMITS) -> None:
        self.loop = Loop()
        self.connections = Connections(cast(Any, self.loop), limits)

    def connect(self, peer: str, queue: str = "silent") -> Client:
        """A client whose connection was accepted, and is in this queue, or busy."""
        client = Client(self.connections)
        assert self.connections.admit(client, peer)
        self.connections.move(client, None if queue == "busy" else getattr(self.connections, queue))
        self.loop.now += 0.001
        return client

    def is_refused(self, peer: str) -> bool:
        """Whether one more connection from there is refused."""
        return not self.connections.admit(Client(self.connections), peer)


@pytest.fixture
def place() -> Place:
    return Place()


IDLE = ["silent", "head", "answered", "kept_alive", "lingering"]
AT_WORK = ["busy", "body", "discarding"]


@pytest.mark.parametrize("queue", IDLE)
def test_the_oldest_idle_connection_makes_room(place: Place, queue: str) -> None:
    work = place.connect("192.0.2.0", "busy")
    oldest = place.connect("192.0.2.1", queue)
    others = [place.connect(f"192.0.2.{n}", queue) for n in range(2, 8)]
    place.connect("192.0.2.9")
    assert (oldest.end, work.end, {client.end for client in others}) == ("closed", "", {""})
    assert len(place.connections) == 8


def test_the_oldest_is_found_across_what_they_wait_for(place: Place) -> None:
    clients = [place.connect(f"192.0.2.{n}", queue) for n, queue in enumerate([*IDLE, *AT_WORK])]
    for n in range(5):
        place.connect(f"198.51.100.{n}", "busy")
        assert [client.end for client in clients] == ["closed"] * (n + 1) + [""] * (7 - n)
    assert place.is_refused("198.51.100.9")


@pytest.mark.parametrize("queue", AT_WORK)
def test_a_connection_at_work_makes_no_room(place: Place, queue: str) -> None:
    clients = [place.connect(f"192.0.2.{n}", queue) for n in range(8)]
    assert place.is_refused("192.0.2.9")
    assert {client.end for client in clients} == {""}
    place.connections.forget(clients[3])
    place.connect("192.0.2.9")


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
    ],
    ids=["IPv4", "mapped", "IPv6 /64"],
)
def test_a_prefix_has_a_quarter(place: Place, first: str, same: str, other: str) -> None:
    for _ in range(2):
        place.connect(first, "busy")
    assert place.is_refused(same)
    place.connect(other)


def test_a_prefix_makes_room_for_itself(place: Place) -> None:
    stranger = place.connect("192.0.2.1")
    oldest, newer = place.connect("192.0.2.2"), place.connect("192.0.2.2")
    place.connect("192.0.2.2")
    assert (stranger.end, oldest.end, newer.end) == ("", "closed", "")


def test_a_prefix_that_was_emptied_counts_from_nothing(place: Place) -> None:
    for _ in range(3):
        clients = [place.connect("192.0.2.2", "busy") for _ in range(2)]
        assert place.is_refused("192.0.2.2")
        for client in clients:
            place.connections.forget(client)
            place.connections.forget(client)
    assert len(place.connections) == 0


def test_a_prefix_of_one_connection_replaces_it() -> None:
    place = Place(ConnectionLimits(connections=4, exempt=()))
    before = place.connect("192.0.2.2")
    for _ in range(3):
        after = place.connect("192.0.2.2")
        assert (before.end, after.end, len(place.connections)) == ("closed", "", 1)
        before = after


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", ""])
def test_proxies_and_peers_without_an_address_are_bounded_by_the_total_alone(place: Place, peer: str) -> None:
    for _ in range(8):
        place.connect(peer, "busy")
    assert place.is_refused(peer)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "127.9.9.9"])
def test_the_loopback_is_exempt_from_the_start(peer: str) -> None:
    place = Place(limits_for(Settings(), 10))
    for _ in range(9):
        place.connect(peer, "busy")
    assert place.is_refused(peer)


def test_trusted_proxies_are_exempt() -> None:
    trusted = ip_network("192.0.2.0/24")
    assert trusted in limits_for(Settings(trusted_proxies=(trusted,)), 100).exempt


@pytest.mark.parametrize(
    ("queue", "seconds", "end"),
    [
        ("silent", 5, "closed"),
        ("head", 10, "closed"),
        ("body", 20, "closed"),
        ("discarding", 2, "closed"),
        ("lingering", 2, "closed"),
        ("answered", 75, "closed"),
    ],
)
def test_what_takes_too_long_is_closed(place: Place, queue: str, seconds: float, end: str) -> None:
    client = place.connect("192.0.2.1", queue)
    while place.loop.now < seconds - 0.5:
        place.loop.advance(0.5)
    assert not client.end
    for _ in range(3):
        place.loop.advance(0.5)
    assert client.end == end


@pytest.mark.parametrize("queue", ["silent", "head", "body"])
def test_a_client_that_we_do_not_listen_to_is_not_late(place: Place, queue: str) -> None:
    client = place.connect("192.0.2.1", queue)
    client.is_reading = False
    place.loop.advance(100)
    assert client.queue is not None
    client.is_reading = True
    place.loop.advance(100)
    assert client.end == "closed"


@pytest.mark.parametrize("how", ["answered", "paused", "closing"])
def test_an_answer_that_is_not_read_is_given_up(place: Place, how: str) -> None:
    client = place.connect("192.0.2.1", "answered" if how == "answered" else "busy")
    client.is_unread = True
    if how == "paused":
        place.connections.pause(client)
    elif how == "closing":
        client.hang_up()
    place.loop.advance(29)
    assert client.end != "aborted"
    place.loop.advance(1)
    assert (client.end, len(place.connections)) == ("aborted", 0)


def test_a_client_that_reads_is_not_given_up(place: Place) -> None:
    client = place.connect("192.0.2.1", "busy")
    for _ in range(5):
        place.connections.pause(client)
        place.loop.advance(20)
        place.connections.resume(client)
    assert not client.end


def test_a_short_keep_alive_leaves_the_client_its_time_to_read() -> None:
    place = Place(ConnectionLimits(keep_alive=5))
    client = place.connect("192.0.2.1", "answered")
    client.is_unread = True
    place.loop.advance(6)
    assert client.end == "closed"
    place.loop.advance(31)
    assert client.end == "aborted"


def test_an_idle_connection_that_read_nothing_is_aborted_to_make_room(place: Place) -> None:
    clients = [place.connect(f"192.0.2.{n}", "answered") for n in range(8)]
    clients[0].is_unread = True
    place.connect("198.51.100.1")
    assert clients[0].end == "aborted"


def test_a_sweep_looks_at_the_first_of_each_queue_alone(place: Place) -> None:
    place = Place(ConnectionLimits(connections=1000))
    clients = [place.connect(f"192.0.2.{n % 250}") for n in range(1000)]
    place.loop.advance(5 - place.loop.now + 0.5)
    assert sum(client.end == "closed" for client in clients) == pytest.approx(500, abs=2)


def test_sweeping_stops_with_the_last_connection(place: Place) -> None:
    client = place.connect("192.0.2.1")
    place.loop.advance(1)
    assert place.loop.due is not None
    place.connections.forget(client)
    place.loop.advance(1)
    assert place.loop.due is None


def test_refusals_are_logged_once_a_minute(place: Place) -> None:
    for n in range(8):
        place.connect(f"192.0.2.{n}", "busy")
    with capture_logs() as lines:
        for _ in range(3):
            for _ in range(50):
                assert place.is_refused("198.51.100.1")
                place.loop.advance(LOG_INTERVAL / 50)
        place.loop.advance(LOG_INTERVAL)
    assert {line["event"] for line in lines} == {"connections_refused"}
    assert {line["log_level"] for line in lines} == {"warning"}
    assert len(lines) in (3, 4)
    assert sum(line["full"] for line in lines) == 150


def test_clients_that_are_merely_slow_are_no_warning(place: Place) -> None:
    place.connect("192.0.2.1")
    with capture_logs() as lines:
        place.loop.advance(6)
    assert [(line["log_level"], line["silent"]) for line in lines] == [("info", 1)]


@pytest.mark.parametrize(
    ("descriptors", "setting", "connections", "per_prefix"),
    [
        (1024, None, 921, 230),
        (8000, None, 7200, 1800),
        (1_000_000, None, MAX_DEFAULT_CONNECTIONS, MAX_DEFAULT_CONNECTIONS // 4),
        (1_000_000, 200_000, 200_000, 50_000),
        (1024, 100, 100, 25),
        (1024, 5000, 921, 230),
    ],
)
def test_connections_are_nine_tenths_of_the_descriptors(
    descriptors: int, setting: int | None, connections: int, per_prefix: int
) -> None:
    with capture_logs() as lines:
        limits = limits_for(Settings(max_connections=setting), descriptors)
    assert (limits.connections, limits.per_prefix) == (connections, per_prefix)
    assert bool(lines) is (setting == 5000)


@pytest.mark.parametrize(
    ("limits", "raised", "result"),
    [
        ((1024, 4096), (4096, 4096), 4096),
        ((4096, 4096), None, 4096),
        ((1024, resource.RLIM_INFINITY), (1 << 20, resource.RLIM_INFINITY), 1 << 20),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, 1 << 20),
    ],
)
def test_the_soft_limit_is_raised_to_the_hard_one(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: tuple[int, int] | None, result: int
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: calls.append(wanted))
    assert raise_descriptor_limit() == result
    assert calls == ([] if raised is None else [raised])


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_descriptor_limit() == 256
