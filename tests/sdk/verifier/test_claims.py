"""What a good token says, and until when."""

from __future__ import annotations

import asyncio
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from math import inf, nan

import pytest

from keystead.context import ActiveBrand, Server
from keystead.sessions.model import Opened
from keystead_client.errors import TokenExpired, TokenInvalid
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_access_token, make_session, make_user
from tests.sdk.verifier.conftest import Make
from tests.sdk.verifier.passage import InProcess

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2, 2.4.2)."""


async def test_a_token_of_the_server_is_read(verifier: Verifier, server: Server, opened: Opened) -> None:
    """By a task and by a thread alike."""
    token = make_access_token(server, opened, lifetime=900)
    claims = await verifier.verify_async(token)
    assert claims == await asyncio.to_thread(verifier.verify, token)
    assert (claims.user_id, claims.session_id, claims.brand_id) == (
        opened.user_id,
        opened.session_id,
        opened.brand_id,
    )
    now = int(server.clock.now().timestamp())
    assert (claims.issued_at, claims.expires_at) == (now, now + 900)
    assert claims.token_id


async def test_the_leeway_ends_with_its_second(verifier: Verifier, forge: Forge, clock: ManualClock) -> None:
    """Thirty seconds after the expiry, whether the token is known or new."""
    known, new = forge.with_payload(jti="known"), forge.with_payload(jti="new")
    await verifier.verify_async(known)
    clock.advance(seconds=900 + 29.999)
    await verifier.verify_async(known)
    clock.advance(seconds=0.001)
    for token in (known, new):
        with pytest.raises(TokenExpired):
            await verifier.verify_async(token)


async def test_clocks_may_differ_by_the_leeway(verifier: Verifier, forge: Forge) -> None:
    """A token from half a minute ahead is taken, one from beyond is not."""
    now = forge.payload["iat"]
    await verifier.verify_async(forge.with_payload(iat=now + 30))
    with pytest.raises(TokenInvalid):
        await verifier.verify_async(forge.with_payload(iat=now + 31))


async def test_an_expired_forgery_is_a_forgery(verifier: Verifier, forge: Forge, clock: ManualClock) -> None:
    """Only of a token that was good once it is said that it has expired."""
    clock.advance(days=1)
    other = forge.good[:-4] + "AAAA"
    with pytest.raises(TokenInvalid):
        await verifier.verify_async(other)


async def test_another_brand_of_the_same_keys_is_refused(
    verifier: Verifier, make: Make, server: Server, brand: ActiveBrand, other_brand: ActiveBrand, issuer: InProcess
) -> None:
    """Before any key is fetched for it; its own verifier takes it."""
    eve = await make_user(server, other_brand, "eve@example.com")
    token = make_access_token(server, await make_session(server, other_brand, eve.id))
    with pytest.raises(TokenInvalid) as caught:
        await verifier.verify_async(token)
    assert str(caught.value) == f"an access token of another brand: '{other_brand.id}', expected '{brand.id}'"
    assert issuer.asked == []
    assert (await make(brand=other_brand.id).verify_async(token)).user_id == eve.id


async def test_another_issuer_is_refused(make: Make, forge: Forge) -> None:
    """Though it publishes the same keys."""
    with pytest.raises(TokenInvalid) as caught:
        await make(issuer="https://other.example.com").verify_async(forge.good)
    found = "an access token of another issuer: 'https://auth.example.com', expected 'https://other.example.com'"
    assert str(caught.value) == found
    await make(issuer="https://auth.example.com/").verify_async(forge.good)


@pytest.mark.parametrize("claim", ["iss", "aud"])
async def test_what_a_forgery_names_is_quoted_in_bounds(verifier: Verifier, forge: Forge, claim: str) -> None:
    for named in ("a" * 1000, "ü\r\n\x1b[31m", "", ["a"], None, 7):
        with pytest.raises(TokenInvalid) as caught:
            await verifier.verify_async(forge.with_payload(**{claim: named}))
        assert len(str(caught.value)) < 250
        assert str(caught.value).isascii()
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("named", ["rainbowMakers", "0197", "", "a b", "01970000-0000-7000-8000-00000000000G", 7, None])
def test_the_brand_is_given_by_its_id(make: Make, named: object) -> None:
    with pytest.raises(ValueError, match="not its name"):
        make(brand=named)


def test_keys_do_not_come_in_clear_text(make: Make) -> None:
    """Except from this very computer; and an issuer is no more than an origin."""
    for good in ("http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000", "https://id.example.com"):
        make(issuer=good)
    for bad in (
        "http://id.example.com", "http://localhost.example.com", "ftp://localhost", "id.example.com", "", "https://",
        "https://user@id.example.com", "https://id.example.com?x", "https://id.example.com#x", "file:///etc/passwd",
        "https://id.example.com?", "https://id.example.com#", "https://id.example.com/?", "https://id.example.com/;",
        "https://id.example.com:", "https://@id.example.com", "https://id.example.com/a", "http://ks.localhost",
    ):  # fmt: skip
        with pytest.raises(ValueError, match="issuer"):
            make(issuer=bad)


def test_invalid_arguments_are_rejected_at_the_start(make: Make) -> None:
    """Not at the first token."""
    wrong: list[dict[str, object]] = [{"leeway": -1}, {"jwks_ttl": -1}, {"max_stale": 1}]
    wrong += [{name: value} for name in ("leeway", "jwks_ttl", "max_stale") for value in (nan, inf, -inf)]
    for choices in wrong:
        with pytest.raises(ValueError):
            make(**choices)


def test_without_the_extra_it_says_how_to_install_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joserfc", None)
    with pytest.raises(ImportError, match=r"pip install keystead-client\[verify\]"):
        make()


async def test_either_signature_of_a_token_is_good(verifier: Verifier, forge: Forge) -> None:
    """Anybody can make (r, n - s) of (r, s), and the server signs with either: no text is a token's identity."""
    signing_input, _, signature = forge.good.rpartition(".")
    raw = urlsafe_b64decode(signature + "==")
    s = int.from_bytes(raw[32:], "big")
    other = urlsafe_b64encode(raw[:32] + (_ORDER - s).to_bytes(32, "big")).decode().rstrip("=")
    assert await verifier.verify_async(f"{signing_input}.{other}") == await verifier.verify_async(forge.good)
