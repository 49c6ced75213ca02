"""The cache of verified tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from keystead.crypto import jwt
from keystead.crypto.jwt import Claims
from keystead.crypto.signing import SigningKey
from keystead.crypto.token_cache import TokenCache

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ISSUER = "https://auth.example.com"
KEY = SigningKey.generate()
KEYS = {KEY.kid: KEY.verification}


def token(name: str = "one") -> str:
    return jwt.sign(KEY, Claims("brand", "user", "session", SECONDS, SECONDS + 900, name), ISSUER)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every raw token whose signature was really looked at."""
    seen: list[str] = []
    check = jwt.check

    def counted(raw: str, *rest: Any) -> jwt.Verified | None:
        seen.append(raw)
        return check(raw, *rest)

    monkeypatch.setattr(jwt, "check", counted)
    return seen


def test_a_good_token_is_checked_once_and_not_held(checks: list[str]) -> None:
    cache, raw = TokenCache(), token()
    first = cache.verify(raw, KEYS, ISSUER, NOW)
    assert first is not None
    assert cache.verify(raw, KEYS, ISSUER, NOW) == first
    assert checks == [raw]
    assert raw not in repr(vars(cache))


def test_a_bad_token_is_not_kept(checks: list[str]) -> None:
    cache = TokenCache()
    bad = token()[:-4] + "AAAA"
    assert cache.verify(bad, KEYS, ISSUER, NOW) is None
    assert cache.verify(bad, KEYS, ISSUER, NOW) is None
    assert len(cache) == 0
    assert len(checks) == 2


def test_it_is_bounded_and_forgets_what_was_used_least_recently(checks: list[str]) -> None:
    cache = TokenCache(maxsize=2)
    one, two, three = token("one"), token("two"), token("three")
    for raw in (one, two, one, three):
        assert cache.verify(raw, KEYS, ISSUER, NOW) is not None
    assert len(cache) == 2
    checks.clear()
    cache.verify(one, KEYS, ISSUER, NOW)
    assert checks == []
    cache.verify(two, KEYS, ISSUER, NOW)
    assert checks == [two]
