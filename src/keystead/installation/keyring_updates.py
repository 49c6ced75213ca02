"""Keeping a process's keyring current: by polling, and when a token names a key that is not in it (security §5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from keystead.clock import elapsed
from keystead.context import Server
from keystead.errors import ServiceUnavailable, StartupError
from keystead.installation import service

CHECK_SECONDS = 1.0
"""Requests with made-up keys cost one read of the keyring's version in this time, not more."""


async def follow_keyring(server: Server) -> None:
    """Load the keyring again if its version in the database is another one, or if its schedule has moved on.

    :raises StartupError: when there is no key to sign with, or one does not open.
    """
    async with server.keyring_lock:
        now = server.clock.now()
        version = await service.keyring_version(server.db)
        if not server.keyring.is_current(version, now):
            server.keyring = await service.load_keyring(server.db, server.master_key, now)


async def sign_with(server: Server, version: int) -> None:
    """Load the keyring again before an access token is signed, unless it has the ``version`` that was just read.

    A key that was revoked a moment ago must sign nothing: the other processes refuse it already.

    :raises ServiceUnavailable: when the keyring cannot be read.
    """
    if server.keyring.version != version:
        await _available(follow_keyring(server))


async def follow_keyring_for_request(server: Server) -> None:
    """As :func:`follow_keyring`, at most once a second: for a token whose key is not in the keyring.

    Another process may have seen a new key first, and signed with it. Concurrent requests, and those of the rest of
    the second, share one check. What the token says takes no part in it.

    :raises ServiceUnavailable: when the keyring cannot be read.
    """
    if server.keyring_check is None or elapsed() - server.keyring_check[0] >= CHECK_SECONDS:
        server.keyring_check = elapsed(), asyncio.create_task(follow_keyring(server))
    # Shielded: a client that disconnects does not end the check for the others.
    await _available(asyncio.shield(server.keyring_check[1]))


async def _available(check: Awaitable[None]) -> None:
    try:
        await check
    except StartupError as error:
        raise ServiceUnavailable(cause=error.message) from error
