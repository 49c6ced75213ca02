"""The rules for passwords: length, characters, common ones, context words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.crypto.password_rules import check_new, common_passwords, normalise
from keystead.errors import BadUserInput

BRAND, LOCAL_PART = "rainbowMakers", "somewhere.over"
GOOD = "xylophone-Quartz-17"


def rejection(password: str, minimum: int = 8) -> BadUserInput | None:
    try:
        check_new(password, minimum=minimum, context_words=(BRAND, LOCAL_PART), field="newPassword")
    except BadUserInput as error:
        return error
    return None


def reason(password: str, minimum: int = 8) -> str | None:
    error = rejection(password, minimum)
    return str(error.extensions["reason"]) if error else None


def test_a_rejection_names_the_field_and_never_the_password() -> None:
    for password in ("x7", "xylophone\0", "sunshine1", "rainbowMakers9", "q" * 300):
        error = rejection(password)
        assert error is not None
        assert error.code == "BAD_USER_INPUT"
        assert error.extensions["field"] == "newPassword"
        assert password not in error.message


@pytest.mark.parametrize("password", ["rainbow123", "Rainbows123"])
def test_the_examples_of_the_published_documentation_are_accepted(password: str) -> None:
    assert reason(password) is None


class TestLength:
    @pytest.mark.parametrize(
        ("password", "expected"),
        [
            ("", "length"), ("xyloph7", "length"), ("xyloph78", None), ("x" * 256, None), ("x" * 257, "length"),
            ("🔑" * 256, None), ("🔑" * 257, "length"), ("x" * 2**20, "length"), ("e\u0301" * 256, None),
            ("a" + "\u0301" * 1000, "length"), ("\u0327\u0301" * 512, "length"),
        ],
        ids=lambda value: repr(value)[:12],
    )  # fmt: skip
    def test_8_to_256_code_points_of_nfc(self, password: str, expected: str | None) -> None:
        """A42."""
        assert reason(password) == expected

    @pytest.mark.parametrize(("minimum", "expected"), [(8, None), (14, None), (15, "length"), (1, None)])
    def test_the_minimum_of_the_brand(self, minimum: int, expected: str | None) -> None:
        assert reason("fourteen chars", minimum=minimum) == expected


class TestCharacters:
    @pytest.mark.parametrize("password", ["xylophone\0", "\0" * 10, "xylophone\ud800", "\udfffxylophone"], ids=repr)
    def test_nul_and_lone_surrogates_are_refused(self, password: str) -> None:
        assert reason(password) == "character"

    def test_composed_and_decomposed_are_one_password(self) -> None:
        """A44."""
        composed = "pässwörter sind schön"
        assert normalise(unicodedata.normalize("NFD", composed)) == normalise(composed) == composed

    def test_compatibility_forms_are_not_one_password(self) -> None:
        assert normalise("ﬁnal answer") != normalise("final answer")

    def test_spaces_count(self) -> None:
        """A44."""
        assert normalise(f" {GOOD} ") == f" {GOOD} "

    @given(st.text())
    def test_any_text_is_accepted_or_rejected_with_its_field(self, raw: str) -> None:
        error = rejection(raw)
        if error is None:
            assert 8 <= len(check_new(raw)) <= 256
        else:
            assert error.extensions["field"] == "newPassword"

    @given(st.text(max_size=300))
    def test_every_spelling_of_up_to_256_code_points_is_accepted(self, text: str) -> None:
        composed = unicodedata.normalize("NFC", text)[:256].replace("\0", "")
        decomposed = unicodedata.normalize("NFD", composed)
        if len(unicodedata.normalize("NFC", decomposed).encode()) <= 1024:
            assert normalise(decomposed) == unicodedata.normalize("NFC", composed)


class TestCommon:
    """A45."""

    def test_there_are_10_000_and_none_that_must_be_accepted(self) -> None:
        words = common_passwords()
        assert len(words) == 10_000
        assert not {"rainbow123", "rainbows123"} & words
        assert all(word == word.casefold() and len(word) >= 7 for word in words)

    @pytest.mark.parametrize(
        "password", ["password", "12345678", "qwertyuiop", "iloveyou", "1q2w3e4r", "sunshine", "password123"]
    )
    def test_well_known_passwords_are_rejected(self, password: str) -> None:
        assert [reason(form) for form in (password, password.upper(), password.title())] == ["common"] * 3

    def test_common_with_a_1_appended_or_reversed(self) -> None:
        assert [reason(form) for form in ("sunshine1", "drowssap", "letmein1")] == ["common"] * 3


class TestContext:
    @pytest.mark.parametrize(
        "password",
        [
            "rainbowMakers", "RAINBOWMAKERS", "rainbowmakers1", "rainbowMakers2026", "srekamwobniar",
            "somewhere.over", "Somewhere.Over99",
        ],
    )  # fmt: skip
    def test_brand_name_and_local_part_are_rejected(self, password: str) -> None:
        assert reason(password) == "context"

    @pytest.mark.parametrize("password", ["rainbowMakers!", "my rainbowMakers", "rainbow 4711", "over.somewhere"])
    def test_passwords_that_only_contain_them_are_accepted(self, password: str) -> None:
        assert reason(password) is None

    def test_context_words_of_digits_reject_only_themselves(self) -> None:
        assert check_new("73019284650", context_words=("", "4711")) == "73019284650"
        with pytest.raises(BadUserInput):
            check_new("73019284650", context_words=("73019284650",))
