"""From the mail server's name to a connected socket, without the event loop's own name lookups.

Those run on a small pool of threads that the database's connections need too, and a lookup that nobody waits for any
more keeps its thread until the resolver gives up, half a minute or more: a few of them hold up everything, and the end
of the process. So names are looked up here one at a time, on a thread that no exit waits for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any, Final

MOST_ADDRESSES: Final = 4
"""Of one server: each that is silent costs a whole wait."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a socket connects to."""

    family: int
    place: tuple[Any, ...]
    """As ``socket.connect`` takes it; the host is an IP address."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    host: str
    port: int
    found: Future[list[Address]] = field(default_factory=Future)

    def run(self) -> None:
        try:
            answers = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except Exception as error:
            self.found.set_exception(error)
        else:
            self.found.set_result([Address(family, place) for family, _, _, _, place in answers])


_turn = Lock()
_under_way: _Lookup | None = None


async def addresses_of(host: str, port: int) -> list[Address]:
    """The addresses of ``host``, the best one first. An IP address is its own, and nobody is asked.

    It waits for the lookup that is under way, whoever began it, and begins another only when that is over.

    :raises OSError: ``socket.gaierror``, when the name was not found.
    :raises ValueError: when it cannot be a name.
    """
    own = _own_address(host, port)
    if own is not None:
        return [own]
    while True:
        lookup = _join(host, port)
        if (lookup.host, lookup.port) == (host, port):
            return await asyncio.wrap_future(lookup.found)
        await asyncio.wait([asyncio.wrap_future(lookup.found)])


async def connect(addresses: Sequence[Address], seconds: float) -> socket.socket:
    """A socket that is connected to the first of ``addresses`` where somebody answers in ``seconds``.

    :raises OSError: when nobody does: what was wrong with the last of them.
    """
    trouble: OSError = ConnectionError()
    for address in addresses[:MOST_ADDRESSES]:
        try:
            async with asyncio.timeout(seconds):
                return await _open(address)
        except OSError as error:  # TimeoutError is one
            trouble = error
    raise trouble


def _own_address(host: str, port: int) -> Address | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return Address(socket.AF_INET, (host, port)) if version == 4 else Address(socket.AF_INET6, (host, port, 0, 0))


def _join(host: str, port: int) -> _Lookup:
    """The lookup that is under way; the one that was asked for, where there is none."""
    global _under_way
    with _turn:
        if _under_way is None or _under_way.found.done():
            _under_way = _Lookup(host, port)
            # From here on nobody who stops waiting can cancel it for the others.
            _under_way.found.set_running_or_notify_cancel()
            Thread(target=_under_way.run, name="keystead-mail-lookup", daemon=True).start()
        return _under_way


async def _open(address: Address) -> socket.socket:
    opened = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, address.place)
    except BaseException:
        opened.close()
        raise
    return opened
