"""Keyring updates: on the first token with an unknown ``kid``, and before signing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from keystead.authentication.authenticate import Credentials, authenticate
from keystead.authentication.refresh import refresh_pair
from keystead.context import ActiveBrand, Server, UserPrincipal
from keystead.crypto.keyring import Keyring
from keystead.crypto.signing import SigningKey
from keystead.db.interface import Database
from keystead.errors import AccessTokenRefused, ServiceUnavailable
from keystead.installation import keyring_updates, service, store
from keystead.policy import SessionKind
from keystead.sessions.model import Opened
from keystead.users.model import User
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import REQUEST, make_access_token, make_context, make_server, make_session


@pytest.fixture
def watched(db: Database) -> WatchedDatabase:
    """The database as the other process reads it."""
    return WatchedDatabase(db)


@pytest.fixture
async def other(server: Server, watched: WatchedDatabase, clock: ManualClock) -> Server:
    """Another process on the same database."""
    made = await make_server(cast(Database, watched), clock)
    watched.forget()
    return made


async def is_accepted(server: Server, token: str) -> bool:
    try:
        ctx = await authenticate(server, REQUEST, Credentials(token))
    except AccessTokenRefused:
        return False
    return isinstance(ctx.principal, UserPrincipal)


async def revoke_active(server: Server) -> None:
    """As the command line does, and this process has seen it."""
    await service.revoke(make_context(server), server.keyring.active.kid)
    await keyring_updates.follow_keyring(server)


async def test_a_token_of_a_new_key_is_accepted_on_the_first_request(
    server: Server, other: Server, opened: Opened
) -> None:
    await revoke_active(server)
    tokens = [make_access_token(server, opened) for _ in range(5)]
    assert await asyncio.gather(*(is_accepted(other, token) for token in tokens)) == [True] * 5
    assert other.keyring.version == server.keyring.version


async def test_unknown_keys_cost_one_read_per_second(
    server: Server, other: Server, opened: Opened, watched: WatchedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0.0
    monkeypatch.setattr(keyring_updates, "elapsed", lambda: passed)
    own, forged = server.keyring, []
    for _ in range(20):
        server.keyring = Keyring.of(own.version, SigningKey.generate())
        forged.append(make_access_token(server, opened))
    server.keyring = own
    for second in range(3):
        passed = float(second)
        watched.forget()
        assert not any([await is_accepted(other, token) for token in forged])
        assert [asked.values for asked in watched.asked] == [{"named": store.KEYRING_VERSION}]
    assert await is_accepted(other, make_access_token(server, opened))


async def test_malformed_tokens_cost_no_read(
    server: Server, other: Server, opened: Opened, watched: WatchedDatabase
) -> None:
    good = make_access_token(server, opened)
    watched.forget()
    for token in ("x", good[:-10], f"{good}.x", "a.b.c"):
        assert not await is_accepted(other, token)
    assert watched.asked == []


async def test_a_process_reloads_the_keyring_before_it_signs(
    server: Server, other: Server, brand: ActiveBrand, opened: Opened
) -> None:
    revoked = other.keyring.active.kid
    await revoke_active(server)
    pair = await refresh_pair(make_context(other, brand), opened.refresh_token.reveal())
    assert other.keyring.active.kid != revoked
    assert await is_accepted(server, pair.auth_token)


@pytest.mark.parametrize("kind", list(SessionKind))
async def test_opening_a_session_reads_the_keyring_version(
    server: Server, brand: ActiveBrand, ann: User, kind: SessionKind
) -> None:
    await revoke_active(server)
    made = await make_session(server, brand, ann.id, kind)
    assert made.keyring_version == server.keyring.version == 2


async def test_an_unreadable_keyring_is_503_not_401(server: Server, other: Server, opened: Opened) -> None:
    """The token may be good: 401 would say that it is dead."""
    await revoke_active(server)
    token = make_access_token(server, opened)
    broken = replace(other, db=cast(Any, _Away()), keyring_lock=asyncio.Lock(), keyring_check=None)
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            await authenticate(broken, REQUEST, Credentials(token))


class _Away:
    """A database that answers nothing."""

    def __getattr__(self, name: str) -> object:
        raise ServiceUnavailable
