"""Decimals as text: exact, and in the order of the numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.entities.values import KEY_LENGTH, decode_decimal, encode_decimal, parse_decimal

texts = st.from_regex(r"\A-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?\Z")


def stored(text: str) -> str:
    return encode_decimal(parse_decimal(text))


@given(texts)
def test_a_decimal_comes_back_as_it_was_written(text: str) -> None:
    expected = text.removeprefix("-") if not Decimal(text) else text
    assert decode_decimal(stored(text)) == expected
    assert decode_decimal(stored("-007.50")) == "-7.50"


@given(texts, texts)
def test_the_stored_texts_are_in_the_order_of_the_numbers(one: str, other: str) -> None:
    first, second = (stored(text)[:KEY_LENGTH] for text in (one, other))
    assert (first < second, first == second) == (Decimal(one) < Decimal(other), Decimal(one) == Decimal(other))


@pytest.mark.parametrize(
    "text", ["", ".5", "5.", "1e3", "+1", "0x1", "NaN", "Infinity", "1,5", "1 ", "٣", "9" * 21, "0." + "1" * 19, "-"]
)
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="decimal number"):
        parse_decimal(text)
