"""A48: clients that hang up while their password is hashed free nothing early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import msgspec
import pytest

from keystead.context import Server
from keystead.crypto import argon2id
from keystead.crypto.passwords import PasswordPool, Profile
from keystead.users.model import User
from tests.api import Api, listening
from tests.attacks.operations import LOGIN, log_in, send_login
from tests.make import PASSWORD

CAP = 2
DISCONNECTS = 200
_LONGEST_HASH = 20.0
"""Seconds after which a held hash continues: a failing test must end."""


class HeldHashes:
    """Argon2 that takes as long as the test wants, and counts how many ran concurrently."""

    def __init__(self, matches: Callable[[Profile, str | None, bytes], bool]) -> None:
        self._matches = matches
        self._lock = threading.Lock()
        self.may_continue = threading.Event()
        self.running = self.most_concurrent = self.begun = 0

    def __call__(self, profile: Profile, stored: str | None, password: bytes) -> bool:
        with self._lock:
            self.begun += 1
            self.running += 1
            self.most_concurrent = max(self.most_concurrent, self.running)
        try:
            self.may_continue.wait(_LONGEST_HASH)
            return self._matches(profile, stored, password)
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture
async def held(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HeldHashes]:
    """Hashes of a server whose pool has ``CAP`` threads."""
    hashes = HeldHashes(argon2id.matches)
    monkeypatch.setattr(argon2id, "matches", hashes)
    server.passwords = PasswordPool(Profile.for_tests(), CAP)
    yield hashes
    hashes.may_continue.set()
    server.passwords.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LONGEST_HASH / 2):
        while not condition():  # noqa: ASYNC110 - what threads do sets no event of the loop's
            await asyncio.sleep(0)


async def _hang_up(tasks: list[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.attack("A48")
async def test_a_slot_belongs_to_the_thread_that_hashes(server: Server, api: Api, ann: User, held: HeldHashes) -> None:
    """Two hundred requests end in mid-hash; those who come after them wait for the threads, not for the requests."""

    def log_in_task() -> asyncio.Task[object]:
        return asyncio.create_task(send_login(api, "ann@example.com", PASSWORD))

    for round_ in range(DISCONNECTS // CAP):
        held.may_continue.clear()
        hashing = [log_in_task() for _ in range(CAP)]
        await _until(lambda: held.running == CAP)
        await _hang_up(hashing)
        assert server.passwords.load.running == CAP, "what was begun continues"
        if round_ % 10 == 0:
            newcomers = [log_in_task() for _ in range(3 * CAP)]
            await _until(lambda: server.passwords.load.waiting == 3 * CAP)
            assert held.running == CAP
            await _hang_up(newcomers)
            assert server.passwords.load.waiting == 0, "who hangs up in the queue leaves it"
        held.may_continue.set()
        await _until(lambda: server.passwords.load == (0, 0, server.passwords.load.begun))
    assert held.begun == DISCONNECTS
    assert held.most_concurrent == CAP
    assert await log_in(api, "ann@example.com", PASSWORD)


@pytest.mark.attack("A48")
async def test_closed_connections_free_no_slot_early(server: Server, ann: User, held: HeldHashes) -> None:
    """The same with sockets: two hundred clients that send a login and hang up without waiting for the answer."""
    body = msgspec.json.encode(
        {"query": LOGIN, "variables": {"input": {"email": "ann@example.com", "password": PASSWORD}}}
    )
    async with listening(server.settings, server) as url:
        address = urlsplit(url)
        head = f"POST /graphql HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        for _ in range(DISCONNECTS):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request)
            await writer.drain()
            writer.close()
        await _until(lambda: held.running == CAP)
        held.may_continue.set()
        # Until the last of the others have left the queue, a newcomer may be told to come again.
        answer = b""
        while not answer or b" 503 " in answer.splitlines()[0]:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
    assert b" 200 " in answer.splitlines()[0]
    assert b"auth_token" in answer
    assert held.most_concurrent == CAP
