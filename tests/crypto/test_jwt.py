"""Valid access tokens: their form, and interoperability with joserfc."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey

from keystead.crypto import jwt
from keystead.crypto.jwt import Claims
from keystead.crypto.signing import SigningKey
from keystead.errors import SettingsError
from keystead.ids import new_id

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ISSUER = "https://auth.example.com"
KEY = SigningKey.generate()
KEYS = {KEY.kid: KEY.verification}
CLAIMS = Claims(new_id(NOW), new_id(NOW), new_id(NOW), SECONDS, SECONDS + 900, new_id(NOW))

hosts = st.from_regex(r"[a-z0-9-]{1,40}(\.[a-z]{2,8})?(:[0-9]{1,5})?", fullmatch=True)
paths = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7F), max_size=60)


def part(token: str, place: int) -> str:
    return token.split(".")[place]


def plain_base64(text: str) -> Any:
    """As existing clients decode it: the standard alphabet, padding added, nothing replaced."""
    return json.loads(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))


def test_the_form() -> None:
    token = jwt.sign(KEY, CLAIMS, ISSUER)
    assert json.loads(base64.urlsafe_b64decode(part(token, 0) + "==")) == {
        "alg": "ES256",
        "typ": "at+jwt",
        "kid": KEY.kid,
    }
    assert plain_base64(part(token, 1)) == {
        "iss": ISSUER, "aud": f"urn:keystead:brand:{CLAIMS.brand_id}", "sub": CLAIMS.user_id,
        "sid": CLAIMS.session_id, "iat": SECONDS, "exp": SECONDS + 900, "jti": CLAIMS.token_id,
    }  # fmt: skip
    assert len(token) <= 768


@given(st.builds("https://{}/{}".format, hosts, paths), st.integers(0, 2), st.integers(1, 3600))
def test_the_payload_decodes_with_plain_base64_for_every_issuer(issuer: str, shift: int, life: int) -> None:
    claims = Claims("b" * (shift + 1), CLAIMS.user_id, CLAIMS.session_id, SECONDS, SECONDS + life, "t")
    token = jwt.sign(KEY, claims, issuer)
    assert re.fullmatch("[A-Za-z0-9+/]+", part(token, 1))
    assert plain_base64(part(token, 1))["iss"] == issuer
    assert jwt.verify(token, KEYS, issuer, NOW) == claims


def test_an_issuer_outside_ascii_still_gives_ascii() -> None:
    issuer = "https://bücher.example/~\U0001f511"
    token = jwt.sign(KEY, CLAIMS, issuer)
    assert base64.b64decode(part(token, 1) + "==").isascii()
    assert jwt.verify(token, KEYS, issuer, NOW) == CLAIMS


def test_an_issuer_is_too_long_at_start_exactly_when_it_is_for_a_token() -> None:
    for letter in "a~":
        fitting = [n for n in range(1, 300) if fits(f"https://{letter * n}")]
        assert fitting == list(range(1, max(fitting) + 1))
        jwt.require_usable_issuer(f"https://{letter * (max(fitting) - 16)}")
        with pytest.raises(SettingsError, match="KEYSTEAD_BASE_URL"):
            jwt.require_usable_issuer(f"https://{letter * (max(fitting) + 1)}")


def fits(issuer: str) -> bool:
    try:
        return len(jwt.sign(KEY, CLAIMS, issuer)) <= 768
    except ValueError:
        return False


@pytest.mark.parametrize(
    "broken",
    [
        {"user_id": ""}, {"user_id": "a b"}, {"user_id": "a" * 65}, {"session_id": "ümlaut"}, {"brand_id": "x:y"},
        {"token_id": "line\n"}, {"issued_at": True}, {"expires_at": float(SECONDS + 900)}, {"expires_at": SECONDS},
        {"issued_at": -1}, {"expires_at": 2**53 + 1},
    ],
    ids=str,
)  # fmt: skip
def test_nothing_is_signed_that_would_not_be_accepted(broken: dict[str, Any]) -> None:
    fields = {name: getattr(CLAIMS, name) for name in Claims.__slots__}
    with pytest.raises(ValueError):
        jwt.sign(KEY, Claims(**(fields | broken)), ISSUER)


def test_joserfc_verifies_ours_and_we_its() -> None:
    token = jwt.sign(KEY, CLAIMS, ISSUER)
    theirs = joserfc_jwt.decode(token, ECKey.import_key(dict(KEY.verification.jwk)), algorithms=["ES256"])
    assert theirs.claims["sub"] == CLAIMS.user_id
    header = {"kid": KEY.kid, "typ": "at+jwt", "alg": "ES256"}
    raw = joserfc_jwt.encode(header, plain_base64(part(token, 1)), ECKey.import_key(KEY.private), algorithms=["ES256"])
    assert jwt.verify(raw, KEYS, ISSUER, NOW) == CLAIMS


def test_tokens_of_another_issuer_or_a_dropped_key_are_rejected() -> None:
    token, other = jwt.sign(KEY, CLAIMS, ISSUER), SigningKey.generate().verification
    for keys, issuer in ((KEYS, ISSUER + "/"), (KEYS, ISSUER.upper()), ({}, ISSUER), ({KEY.kid: other}, ISSUER)):
        assert jwt.verify(token, keys, issuer, NOW) is None
