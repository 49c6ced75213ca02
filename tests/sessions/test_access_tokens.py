"""Access tokens of sessions: what they say, how long, and what the cache still checks."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from keystead.context import Server
from keystead.crypto.keyring import Keyring
from keystead.crypto.master_key import MasterKey
from keystead.crypto.passwords import PasswordPool, Profile
from keystead.crypto.signing import SigningKey
from keystead.crypto.token_cache import TokenCache
from keystead.ids import new_id
from keystead.sessions import access_tokens
from keystead.settings import Settings
from tests.clocks import ManualClock

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BRAND, USER, SESSION = (new_id(NOW) for _ in range(3))


@pytest.fixture
def server(clock: ManualClock) -> Server:
    """A process without a database: tokens need none."""
    keyring = Keyring.of(1, SigningKey.generate())
    master_key = MasterKey.from_text(b"a master key that only tests may use")
    pool = PasswordPool(Profile.for_tests(), 1)
    nothing: object = None
    return Server(Settings(), clock, nothing, master_key, pool, keyring, TokenCache())  # type: ignore[arg-type]


def issue(server: Server, lifetime: int = 3600, *, not_after: datetime | None = None) -> str:
    return access_tokens.issue(server, BRAND, USER, SESSION, lifetime, server.clock.now(), not_after=not_after)


def payload(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    assert not set("-_") & set(part)
    decoded: dict[str, object] = json.loads(base64.b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def test_the_claims_are_the_documented_ones_only(server: Server) -> None:
    said = payload(issue(server, 900))
    assert said.pop("jti")
    assert said == {
        "iss": "http://localhost:4000",
        "aud": f"urn:keystead:brand:{BRAND}",
        "sub": USER,
        "sid": SESSION,
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 900,
    }


def test_it_does_not_outlive_its_refresh_token(server: Server) -> None:
    said = payload(issue(server, 900, not_after=NOW + timedelta(seconds=100.9)))
    assert said["exp"] == int(NOW.timestamp()) + 100


@pytest.mark.parametrize(("seconds", "is_enough"), [(None, True), (2, True), (1, True), (0.9, False), (-1, False)])
def test_a_second_must_be_left(seconds: float | None, is_enough: bool) -> None:
    not_after = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert access_tokens.has_time_left(not_after, NOW) is is_enough


def test_a_cached_token_expires(server: Server, clock: ManualClock) -> None:
    token = issue(server, 60)
    assert access_tokens.verify(server, token, clock.now())
    clock.advance(seconds=59)
    assert access_tokens.verify(server, token, clock.now())
    clock.advance(seconds=1)
    assert access_tokens.verify(server, token, clock.now()) is None


@pytest.mark.attack("A18")
def test_a_cached_token_is_rejected_once_its_key_is_revoked(server: Server, clock: ManualClock) -> None:
    token = issue(server)
    assert access_tokens.verify(server, token, clock.now())
    old = server.keyring.active
    server.keyring = Keyring.of(2, SigningKey.generate(), [old.verification])
    assert access_tokens.verify(server, token, clock.now())
    server.keyring = replace(server.keyring, verifying=MappingProxyType({}))
    assert access_tokens.verify(server, token, clock.now()) is None
