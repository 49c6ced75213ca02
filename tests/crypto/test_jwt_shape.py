"""Hostile shapes and mutations (attacks A11-A14): None, quickly, and never an exception."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from tests.crypto.tokens import GOOD, HEADER, PAYLOAD, flipped, signed, verified


class TestShape:
    # A11
    @pytest.mark.parametrize(
        "raw",
        [
            GOOD + "=",
            GOOD + "==",
            GOOD + "\n",
            GOOD + " ",
            " " + GOOD,
            GOOD + ".",
            "." + GOOD,
            GOOD.replace(".", "..", 1),
            GOOD.replace(".", "=.", 1),
            GOOD + "." + GOOD,
            GOOD.rpartition(".")[0],
            GOOD.rpartition(".")[0] + ".",
            GOOD[:-1],
            GOOD + "A",
            "\ufeff" + GOOD,
            GOOD.replace(".", "\u3002"),
            "",
            "..",
            "a.b.c",
        ],
        ids=lambda raw: str(len(raw)),
    )
    def test_not_three_canonical_parts(self, raw: str) -> None:
        assert verified(raw) is None

    # A11
    def test_the_unused_bits_of_each_last_letter_must_be_zero(self) -> None:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        parts = GOOD.split(".")
        for place, text in enumerate(parts):
            twins = [text[:-1] + letter for letter in alphabet if letter != text[-1]]
            for twin in twins:
                assert verified(".".join([*parts[:place], twin, *parts[place + 1 :]])) is None

    # A13
    @pytest.mark.parametrize("length", [2_049, 65_536, 5_000_000])
    def test_a_long_one_costs_nothing(self, length: int) -> None:
        for raw in ("a" * length, "." * length, GOOD + "A" * (length - len(GOOD)), GOOD * (length // len(GOOD) + 1)):
            begun = time.thread_time()
            assert verified(raw) is None
            assert time.thread_time() - begun < 0.005

    def test_the_shape_is_judged_in_linear_time(self) -> None:
        for raw in ("A" * 2048, "A" * 2046 + ".A", "AAAA." * 400, ("A" * 1000 + ".") * 2, "A" * 1500 + "!"):
            begun = time.thread_time()
            assert verified(raw) is None
            assert time.thread_time() - begun < 0.005

    # A14
    @pytest.mark.parametrize("kind", list(SecretKind))
    def test_an_opaque_secret(self, kind: SecretKind) -> None:
        assert verified(secrets.generate(kind).reveal()) is None

    @pytest.mark.parametrize(
        "raw", [None, 0, b"", GOOD.encode(), [GOOD], {"raw": GOOD}], ids=lambda raw: repr(raw)[:16]
    )
    def test_no_text_at_all(self, raw: Any) -> None:
        assert verified(raw) is None


# A12
class TestMutations:
    def test_every_single_bit_of_the_text(self) -> None:
        for place in range(len(GOOD)):
            for bit in range(7):
                changed = GOOD[:place] + chr(ord(GOOD[place]) ^ (1 << bit)) + GOOD[place + 1 :]
                assert verified(changed) is None

    def test_every_single_bit_of_payload_and_signature(self) -> None:
        head, payload, signature = GOOD.split(".")
        for bit in range(8 * (len(payload) * 3 // 4)):
            assert verified(f"{head}.{flipped(payload, bit)}.{signature}") is None
        for bit in range(512):
            assert verified(f"{head}.{payload}.{flipped(signature, bit)}") is None

    @settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_ten_thousand_mutations(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(GOOD)))
        removed = data.draw(st.integers(0, 4))
        inserted = data.draw(st.text(max_size=4) | st.sampled_from([".", "=", "-", "_", "\n", "A"]))
        changed = GOOD[:place] + inserted + GOOD[place + removed :]
        assert verified(changed) is None or changed == GOOD

    @given(st.text(), st.text(), st.text())
    def test_any_text_in_three_parts(self, first: str, second: str, third: str) -> None:
        assert verified(f"{first}.{second}.{third}") is None

    @given(st.dictionaries(st.sampled_from(list(PAYLOAD)), st.integers() | st.text() | st.booleans() | st.none()))
    def test_any_values_under_a_right_signature(self, values: dict[str, Any]) -> None:
        claims = verified(signed(HEADER, PAYLOAD | values))
        if claims is not None:
            assert all(type(value) is type(PAYLOAD[name]) for name, value in values.items())
