"""Registry of a process's open connections: admission, timeouts, and counts of refusals.

Each timeout is a constant, so connections that wait for the same thing expire in FIFO order: one queue per timeout,
one periodic sweep that reads the head of each queue, and no timer per request.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from functools import lru_cache
from ipaddress import ip_address
from typing import Protocol

import structlog

from keystead.web import metrics
from keystead.web.connection_limits import ConnectionLimits
from keystead.web.request_headers import locate_peer

LOG_INTERVAL = 60.0
_SWEEPS_PER_TIMEOUT = 4
_MAX_SWEEP_INTERVAL = 0.5

_log = structlog.get_logger("keystead.connections")


class Connection(Hashable, Protocol):
    """The interface that this module needs of a connection."""

    queue: Queue | None
    prefix: Prefix | None

    @property
    def is_unread(self) -> bool:
        """Whether bytes of a response wait for the client to read."""

    @property
    def is_reading(self) -> bool:
        """Whether we read from the connection: while we do not, its client is not late."""

    def hang_up(self) -> None:
        """Close as soon as everything is written."""

    def abort(self) -> None:
        """Close immediately."""


class Queue:
    """Connections with the same timeout, the oldest first, each with its start time."""

    def __init__(self, seconds: float, reason: str | None = None, *, is_idle: bool = False) -> None:
        self.seconds = seconds
        self.reason = reason
        self.is_idle = is_idle
        self.since: dict[Connection, float] = {}


class Prefix:
    """The connections of one address prefix: their number, and the idle ones, the oldest first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.idle: dict[Connection, None] = {}


class Connections:
    """Admits, times out and counts the connections of a process.

    A connection is idle while no request on it has a complete head. Idle connections may be evicted for new ones.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: ConnectionLimits) -> None:
        self._loop = loop
        self._limits = limits
        self._open: set[Connection] = set()
        self.unparsed_bytes = 0
        """Received in all connections and waiting for earlier requests."""
        self._prefixes: dict[str, Prefix] = {}
        self._prefix_of = lru_cache(maxsize=4096)(self._find_prefix)
        self.silent = Queue(limits.first_byte, "silent", is_idle=True)
        self.head = Queue(limits.head, "slow_head", is_idle=True)
        self.body = Queue(limits.body, "slow_body")
        self.answered = Queue(min(limits.response, limits.keep_alive), is_idle=True)
        self.kept_alive = Queue(max(limits.keep_alive - limits.response, 0.0), is_idle=True)
        self.discarding = Queue(limits.discard)
        self.lingering = Queue(limits.discard, is_idle=True)
        self._paused = Queue(limits.response, "unread")
        self._closing = Queue(limits.response, "unread")
        self._timeouts = (self.silent, self.head, self.body, self.kept_alive, self.discarding, self.lingering)
        self._idle = tuple(queue for queue in (*self._timeouts, self.answered) if queue.is_idle)
        shortest = min(queue.seconds for queue in (*self._timeouts, self.answered) if queue.seconds)
        self._interval = min(_MAX_SWEEP_INTERVAL, shortest / _SWEEPS_PER_TIMEOUT)
        self._is_sweeping = False
        self._refused: Counter[str] = Counter()
        self._logged = float("-inf")

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection, peer: str) -> bool:
        """Admit the connection, if need be by evicting the oldest idle one; start its first timeout.

        :returns: False if every connection is busy.
        """
        name = self._prefix_of(peer)
        prefix = None if name is None else self._prefixes.get(name) or Prefix(name)
        if prefix is not None and prefix.size >= self._limits.per_prefix:
            is_admitted = self._evict(next(iter(prefix.idle), None), "prefix_full")
        elif len(self._open) >= self._limits.connections:
            is_admitted = self._evict(self._oldest_idle(), "full")
        else:
            is_admitted = True
        if not is_admitted:
            return False
        self._open.add(connection)
        if prefix is not None:
            # An evicted connection may have been the last of this prefix.
            prefix = self._prefixes.setdefault(prefix.name, prefix)
            prefix.size += 1
            connection.prefix = prefix
        self.move(connection, self.silent)
        self._sweep_later()
        return True

    def move(self, connection: Connection, queue: Queue | None) -> None:
        """Restart the timeout in another queue, or stop it."""
        before = connection.queue
        if before is not None:
            del before.since[connection]
        connection.queue = queue
        if queue is not None:
            queue.since[connection] = self._loop.time()
        if connection.prefix is not None:
            if queue is not None and queue.is_idle:
                connection.prefix.idle.setdefault(connection)
            else:
                connection.prefix.idle.pop(connection, None)

    def pause(self, connection: Connection) -> None:
        """Start the timeout of a client that does not read."""
        self._paused.since[connection] = self._loop.time()

    def resume(self, connection: Connection) -> None:
        """Stop the timeout of a client that reads again."""
        self._paused.since.pop(connection, None)

    def close(self, connection: Connection) -> None:
        """Start the timeout of a connection that closes when everything is written."""
        if connection in self._open:
            self.move(connection, None)
            self._closing.since.setdefault(connection, self._loop.time())

    def forget(self, connection: Connection) -> None:
        """Remove a closed connection."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self.move(connection, None)
        self._paused.since.pop(connection, None)
        self._closing.since.pop(connection, None)
        prefix, connection.prefix = connection.prefix, None
        if prefix is not None:
            prefix.size -= 1
            if not prefix.size:
                del self._prefixes[prefix.name]

    def count(self, reason: str) -> None:
        """Count a refused connection or request."""
        self._refused[reason] += 1
        metrics.count_refused_connection(reason)

    def sweep(self) -> None:
        """Close the connections that timed out; log the refusals, at most once a minute."""
        now = self._loop.time()
        for queue in self._timeouts:
            for connection in _expired(queue, now):
                if queue.reason is not None and not connection.is_reading:
                    self.move(connection, None)
                    self.move(connection, queue)
                    continue
                if queue.reason is not None:
                    self.count(queue.reason)
                connection.hang_up()
        for connection in _expired(self.answered, now):
            if not connection.is_unread:
                self.move(connection, self.kept_alive)
            elif self.answered.seconds < self._limits.response:
                connection.hang_up()
            else:
                self._abort(connection)
        for queue in (self._paused, self._closing):
            for connection in _expired(queue, now):
                self._abort(connection)
        metrics.set_connections(len(self._open))
        if self._refused and now - self._logged >= LOG_INTERVAL:
            is_full = "full" in self._refused or "prefix_full" in self._refused
            (_log.warning if is_full else _log.info)("connections_refused", open=len(self._open), **self._refused)
            self._refused.clear()
            self._logged = now

    def _sweep_later(self) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            self._loop.call_later(self._interval, self._sweep_again)

    def _sweep_again(self) -> None:
        self._is_sweeping = False
        self.sweep()
        if self._open or self._refused:
            self._sweep_later()

    def _abort(self, connection: Connection) -> None:
        self.count("unread")
        self.forget(connection)
        connection.abort()

    def _oldest_idle(self) -> Connection | None:
        oldest = [next(iter(queue.since.items())) for queue in self._idle if queue.since]
        return min(oldest, key=lambda entry: entry[1])[0] if oldest else None

    def _evict(self, idle: Connection | None, reason: str) -> bool:
        self.count(reason if idle is None else "made_room")
        if idle is None:
            return False
        # Forgotten first: its slot is given away now.
        self.forget(idle)
        (idle.abort if idle.is_unread else idle.hang_up)()
        return True

    def _find_prefix(self, peer: str) -> str | None:
        """The peer's prefix; None if it is exempt or has no address."""
        address, prefix = locate_peer(peer)
        if not address or any(ip_address(address) in network for network in self._limits.exempt):
            return None
        return prefix


def _expired(queue: Queue, now: float) -> list[Connection]:
    found = []
    for connection, since in queue.since.items():
        if now - since < queue.seconds:
            break
        found.append(connection)
    return found
