"""Prometheus metrics, served on a port of their own (``KEYSTEAD_METRICS_PORT``).

With several workers, each writes shared files and the parent process aggregates them; ``PROMETHEUS_MULTIPROC_DIR``
names their folder and must be set before this module is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from keystead.errors import SettingsError

_REQUESTS = Counter("keystead_requests_total", "Answered requests to /graphql, by HTTP status.", ["status"])
_SECONDS = Histogram(
    "keystead_request_seconds",
    "How long requests to /graphql took.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
_MAILS = Counter("keystead_mails_total", "Attempts to deliver a mail, by outcome.", ["outcome"])
_HASHES = Gauge("keystead_password_queue", "Password hashes that wait or run.", multiprocess_mode="livesum")
_CLOCK_OFFSET = Gauge(
    "keystead_clock_offset_seconds",
    "Offset of the database's clock to this machine's.",
    multiprocess_mode="livemostrecent",
)
_MAIL_REQUEST_AGE = Gauge(
    "keystead_mail_request_age_seconds",
    "Age of the oldest unresolved mail request.",
    multiprocess_mode="livemostrecent",
)
_CONNECTIONS = Gauge("keystead_connections", "Open connections of clients.", multiprocess_mode="livesum")
_REFUSED_CONNECTIONS = Counter(
    "keystead_connections_refused_total", "Connections refused or closed by the server, by reason.", ["reason"]
)


class Requests:
    """Counts answered requests; caches the labelled counters."""

    def __init__(self) -> None:
        self._by_status: dict[int, Counter] = {}
        self._observe = _SECONDS.observe

    def add(self, status: int, seconds: float) -> None:
        """Count one response."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = _REQUESTS.labels(str(status))
        counter.inc()
        self._observe(seconds)


def count_mail(outcome: str) -> None:
    """Count one delivery attempt by its outcome: ``delivered``, ``waiting`` (for the next attempt) or ``dead``."""
    _MAILS.labels(outcome).inc()


def set_clock_offset(seconds: float) -> None:
    """Set the seconds by which the database's clock is ahead of this machine's."""
    _CLOCK_OFFSET.set(seconds)


def set_mail_request_age(seconds: float) -> None:
    """Set the age of the oldest unresolved mail request."""
    _MAIL_REQUEST_AGE.set(seconds)


def set_connections(number: int) -> None:
    """Set the number of open connections of this process."""
    _CONNECTIONS.set(number)


def count_refused_connection(reason: str) -> None:
    """Count a connection that was refused or closed, or a request that was rejected for its head."""
    _REFUSED_CONNECTIONS.labels(reason).inc()


def watch_password_queue(depth: Callable[[], float]) -> None:
    """Let the gauge call ``depth()`` when scraped (single process only: shared files hold plain numbers)."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        _HASHES.set_function(depth)


def serve(port: int, host: str) -> None:
    """Start the metrics server in a thread of this process.

    :raises SettingsError: if the port is in use.
    """
    try:
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            start_http_server(port, addr=host, registry=registry)
        else:
            start_http_server(port, addr=host)
    except OSError as error:
        raise SettingsError(f"KEYSTEAD_METRICS_PORT: cannot listen on {host}:{port}: {error.strerror}") from None
