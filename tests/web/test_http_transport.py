"""Write coalescing: one write per connection and iteration of the event loop, in order."""

from __future__ import annotations

import asyncio
from typing import Any

from keystead.web.http_transport import MAX_BUFFERED, CoalescingTransport, WriteCoalescer


class Wire(asyncio.Transport):
    """Records its calls in a log that several wires may share."""

    def __init__(self, name: str, log: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.name, self.log, self.is_gone = name, log, False

    def is_closing(self) -> bool:
        return self.is_gone

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_gone:
            raise RuntimeError("unable to perform operation; the handler is closed")  # as uvloop does
        self.log.append((self.name, bytes(data)))

    def close(self) -> None:
        self.log.append((self.name, "closed"))

    def abort(self) -> None:
        self.log.append((self.name, "aborted"))

    def get_write_buffer_size(self) -> int:
        return 0


Log = list[tuple[str, Any]]


def connections(names: str) -> tuple[Log, list[Wire], list[CoalescingTransport]]:
    """Some wires with their log and their transports."""
    log: Log = []
    wires, coalescer = [Wire(name, log) for name in names], WriteCoalescer(asyncio.get_running_loop())
    return log, wires, [CoalescingTransport(wire, coalescer) for wire in wires]


async def test_head_and_body_are_one_write() -> None:
    log, _, [transport] = connections("a")
    transport.write(b"head ")
    transport.write(b"")
    transport.write(b"body")
    assert (log, transport.get_write_buffer_size()) == ([], 9)
    await asyncio.sleep(0)
    assert (log, transport.get_write_buffer_size()) == ([("a", b"head body")], 0)


async def test_each_connection_is_written_once_per_iteration_in_order() -> None:
    log, _, [first, second] = connections("ab")
    first.write(b"1")
    second.write(b"2")
    first.write(b"3")
    await asyncio.sleep(0)
    first.write(b"4")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == [("a", b"13"), ("b", b"2"), ("a", b"4")]


async def test_a_large_response_is_written_immediately() -> None:
    log, _, [transport] = connections("a")
    transport.write(b"head")
    transport.write(b"x" * MAX_BUFFERED)
    assert [len(data) for _, data in log] == [MAX_BUFFERED + 4]
    await asyncio.sleep(0)
    assert len(log) == 1


async def test_close_flushes_and_abort_does_not() -> None:
    log, _, [closing, aborting] = connections("ab")
    closing.write(b"last words")
    aborting.write(b"never heard")
    closing.close()
    aborting.abort()
    await asyncio.sleep(0)
    assert log == [("a", b"last words"), ("a", "closed"), ("b", "aborted")]


async def test_a_disconnected_client_does_not_affect_other_responses() -> None:
    log, wires, transports = connections("abc")
    for transport in transports:
        transport.write(b"answer")
    wires[1].is_gone = True
    await asyncio.sleep(0)
    assert log == [("a", b"answer"), ("c", b"answer")]
    assert [transport.get_write_buffer_size() for transport in transports] == [0, 0, 0]
    transports[0].write(b"next")
    await asyncio.sleep(0)
    assert log[2:] == [("a", b"next")]
