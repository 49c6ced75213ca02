"""Keep a process's keyring current: by polling, and when a token has an unknown ``kid`` (security §5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from keystead.clock import elapsed
from keystead.context import Server
from keystead.errors import ServiceUnavailable, StartupError
from keystead.installation import service

CHECK_SECONDS = 1.0
"""Requests with unknown keys cost at most one read of the keyring's version per interval."""


async def follow_keyring(server: Server) -> None:
    """Reload the keyring when its version in the database has changed, or a scheduled change is due.

    :raises StartupError: when there is no active key, or one does not decrypt.
    """
    async with server.keyring_lock:
        now = server.clock.now()
        version = await service.keyring_version(server.db)
        if not server.keyring.is_current(version, now):
            server.keyring = await service.load_keyring(server.db, server.master_key, now)


async def sign_with(server: Server, version: int) -> None:
    """Reload the keyring before an access token is signed, unless it has the ``version`` that was just read.

    A revoked key must not sign: other processes reject it already.

    :raises ServiceUnavailable: when the keyring cannot be read.
    """
    if server.keyring.version != version:
        await _available(follow_keyring(server))


async def follow_keyring_for_request(server: Server) -> None:
    """As :func:`follow_keyring`, at most once a second: for a token with an unknown ``kid``.

    Another process may have loaded a new key first and signed with it. All requests within the second share one check,
    which does not depend on the token.

    :raises ServiceUnavailable: when the keyring cannot be read.
    """
    if server.keyring_check is None or elapsed() - server.keyring_check[0] >= CHECK_SECONDS:
        server.keyring_check = elapsed(), asyncio.create_task(follow_keyring(server))
    # Shielded: a client that disconnects does not cancel the check for the others.
    await _available(asyncio.shield(server.keyring_check[1]))


async def _available(check: Awaitable[None]) -> None:
    try:
        await check
    except StartupError as error:
        raise ServiceUnavailable(cause=error.message) from error
