"""How long one input keeps the event loop, and whether twice the input costs about twice as much.

Counted in CPU time of the loop's own thread, between two turns of the loop, so that neither other threads nor other
processes of a busy machine are in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import graphql

from keystead.web.app import Application

LONGEST = 0.050
"""Seconds that one request may keep the loop (security §12), on a machine that does the reference in ``QUICK``."""
QUICK = 0.0045
"""Seconds for ``reference``: about what the slower of the machines takes that the bound was set on."""
NEGLIGIBLE = 0.004
"""Below this nothing is compared: it is noise, and no quadratic input that matters is so cheap at its full size."""
SUSPICIOUS = 0.002
"""A quarter of an input that takes this long is measured at all sizes: 50 ms are 12 ms of it if the cost is linear, and
3 ms if it is quadratic."""
MOST_GROWTH = 2.5
TRIES = 6

_NUMBERS = count(1)
_REFERENCE = "{ me {" + " ".join(f"field{number}" for number in range(480)) + "} }"

Probe = Callable[[int], Callable[[], Awaitable[object]]]
"""From a size to what is done with an input of that size; the input itself is made before the clock runs."""


@dataclass
class Watch:
    """The longest turn of the loop, in seconds of CPU."""

    longest: float = 0.0


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    """Look at the clock in every turn of the loop."""
    loop, watch = asyncio.get_running_loop(), Watch()
    last = time.thread_time()

    def turn() -> None:
        nonlocal last
        now = time.thread_time()
        watch.longest = max(watch.longest, now - last)
        last = now
        if not is_over:
            loop.call_soon(turn)

    is_over = False
    loop.call_soon(turn)
    try:
        yield watch
        await asyncio.sleep(0)
    finally:
        is_over = True


async def held(work: Callable[[], Awaitable[object]]) -> float:
    """The seconds of CPU that ``work`` keeps the loop at most."""
    async with watching() as watch:
        await work()
    return watch.longest


def reference() -> float:
    """How many times slower this machine is, at this moment, than the one that the bound was set on; at least 1."""
    best = float("inf")
    for _ in range(5):
        started = time.thread_time()
        graphql.parse(_REFERENCE)
        best = min(best, time.thread_time() - started)
    return max(1.0, best / QUICK)


async def faults(probe: Probe, size: int) -> str | None:
    """What is wrong with an input of ``size``, a half and a quarter of it; None where it is cheap. At size 1, which has
    no half, the time alone counts.

    The least of several counts decides, and it is counted again only as long as something is wrong.
    """
    first = await held(probe(max(1, size // 4)))
    if first < SUSPICIOUS:
        return None
    whole = await held(probe(size)) if size > 1 else first
    if whole < LONGEST and (size == 1 or whole < MOST_GROWTH**2 * first):
        return None
    half = quarter = float("inf")
    for _ in range(TRIES):
        whole = min(whole, await held(probe(size)))
        if size > 1:
            half = min(half, await held(probe(size // 2)))
            quarter = min(quarter, await held(probe(size // 4)))
        is_linear = size == 1 or all(
            larger < NEGLIGIBLE or larger < MOST_GROWTH * smaller + NEGLIGIBLE / 2
            for larger, smaller in ((whole, half), (half, quarter))
        )
        if is_linear and (whole < LONGEST or whole < LONGEST * reference()):
            return None
    return f"{quarter * 1000:.1f}, {half * 1000:.1f}, {whole * 1000:.1f} ms"


@dataclass(frozen=True)
class Call:
    """One HTTP request, as the ASGI application gets it."""

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    query: bytes = b""
    received: list[bytes] = field(default_factory=list)

    async def send_to(self, application: Application) -> int:
        """The status of the answer."""
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": self.query,
            "headers": list(self.headers),
            "client": ("192.0.2.7", 4711),
            "server": ("auth.example.com", 80),
            "state": {},
        }
        status = 0
        self.received.clear()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": self.body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            self.received.append(message.get("body", b""))

        await application(scope, receive, send)
        assert status
        return status


def fill(filler: str, size: int) -> str:
    """A filler as often as it fits into ``size`` characters; never a part of it, which could be refused early."""
    return filler * (size // len(filler))


def fresh(filler: str, size: int) -> str:
    """The same with another end each time: what was read once may be read from a cache (``urlsplit`` has one)."""
    return f"{fill(filler, size)}~{next(_NUMBERS)}"


def each(fillers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each filler with a name that a failure can show."""
    return ((ascii(filler), filler) for filler in fillers)
