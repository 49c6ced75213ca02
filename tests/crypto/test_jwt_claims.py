"""Hostile claims under a right signature (attacks A08-A10): None, and never an exception."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.crypto.tokens import BRAND, HEADER, MISSING, PAYLOAD, SECONDS, as_json, signed, verified, with_change


class TestClaims:
    # A08
    @pytest.mark.parametrize("name", list(PAYLOAD))
    def test_each_is_required(self, name: str) -> None:
        assert verified(signed(HEADER, with_change(PAYLOAD, name, MISSING))) is None
        assert verified(signed(HEADER, with_change(PAYLOAD, name, None))) is None

    # A08
    @pytest.mark.parametrize(
        "extra", [{"nbf": SECONDS - 60}, {"nbf": SECONDS + 60}, {"admin": True}, {"scope": "admin"}], ids=str
    )
    def test_no_others_are_taken(self, extra: dict[str, Any]) -> None:
        assert verified(signed(HEADER, PAYLOAD | extra)) is None

    # A08
    @pytest.mark.parametrize(
        "times",
        [
            {"exp": SECONDS},
            {"exp": SECONDS - 1, "iat": SECONDS - 900},
            {"iat": SECONDS + 6},
            {"iat": SECONDS + 900},
            {"iat": SECONDS + 901},
        ],
        ids=str,
    )
    def test_times_that_have_passed_or_not_come(self, times: dict[str, int]) -> None:
        assert verified(signed(HEADER, PAYLOAD | times)) is None

    # A09
    @pytest.mark.parametrize("name", ["exp", "iat"])
    @pytest.mark.parametrize(
        "text",
        [
            f'"{SECONDS + 5}"',
            f"{SECONDS + 5}.0",
            f"{SECONDS + 5}e0",
            "1e400",
            "-1e400",
            "-1",
            str(2**63),
            str(2**53 + 1),
            "9" * 900,
            "NaN",
            "Infinity",
            "-Infinity",
            "true",
            "[]",
            "{}",
            "null",
        ],
        ids=lambda text: text[:20],
    )
    def test_times_of_another_type(self, name: str, text: str) -> None:
        payload = json.dumps(PAYLOAD | {name: "HERE"}).replace('"HERE"', text).encode()
        assert verified(signed(HEADER, payload)) is None

    # A10
    @pytest.mark.parametrize(
        "aud",
        [
            [PAYLOAD["aud"]],
            [PAYLOAD["aud"], "urn:keystead:brand:other"],
            {"0": PAYLOAD["aud"]},
            BRAND,
            "urn:keystead:brand:",
            "urn:keystead:brand",
            "URN:keystead:brand:" + BRAND,
            " " + PAYLOAD["aud"],
            PAYLOAD["aud"] + "\n",
            PAYLOAD["aud"] + " urn:keystead:brand:other",
            "x" + PAYLOAD["aud"],
            "urn:keystead:brand:" + PAYLOAD["aud"],
            1,
            "",
        ],
        ids=str,
    )
    def test_aud(self, aud: Any) -> None:
        assert verified(signed(HEADER, PAYLOAD | {"aud": aud})) is None

    # A10
    def test_another_brands_aud_is_another_brand(self) -> None:
        claims = verified(signed(HEADER, PAYLOAD | {"aud": "urn:keystead:brand:other"}))
        assert claims is not None
        assert claims.brand_id == "other"

    @pytest.mark.parametrize("name", ["sub", "sid", "jti", "iss"])
    @pytest.mark.parametrize("value", ["", 1, True, [], {}, "a\0b", "\ud800", "' OR 1=1--", "a" * 65, "é"], ids=repr)
    def test_ids_of_another_shape(self, name: str, value: Any) -> None:
        assert verified(signed(HEADER, PAYLOAD | {name: value})) is None

    @pytest.mark.parametrize(
        "payload",
        [
            b"{}",
            b"[]",
            b"null",
            b"\xff",
            b"[" * 1100,
            as_json(PAYLOAD)[:-1] + b',"sub":"someone"}',
            b'{"sub":"someone",' + as_json(PAYLOAD)[1:],
            b"\xef\xbb\xbf" + as_json(PAYLOAD),
            json.dumps(PAYLOAD).encode("utf-16"),
        ],
        ids=lambda payload: repr(payload)[:24],
    )
    def test_what_is_no_payload(self, payload: bytes) -> None:
        assert verified(signed(HEADER, payload)) is None
