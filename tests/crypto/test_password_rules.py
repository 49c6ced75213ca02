"""What may be a password."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.crypto.password_rules import check_new, common_passwords, normalise
from keystead.errors import BadUserInput

BRAND, LOCAL_PART = "rainbowMakers", "somewhere.over"
GOOD = "xylophone-Quartz-17"


def refusal(password: str, minimum: int = 8) -> BadUserInput | None:
    try:
        check_new(password, minimum=minimum, context_words=(BRAND, LOCAL_PART), field="newPassword")
    except BadUserInput as error:
        return error
    return None


def reason(password: str, minimum: int = 8) -> str | None:
    error = refusal(password, minimum)
    return str(error.extensions["reason"]) if error else None


def test_a_refusal_names_the_field_and_never_the_password() -> None:
    for password in ("x7", "xylophone\0", "sunshine1", "rainbowMakers9", "q" * 300):
        error = refusal(password)
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
            ("", "length"),
            ("xyloph7", "length"),
            ("xyloph78", None),
            ("x" * 256, None),
            ("x" * 257, "length"),
            ("🔑" * 256, None),
            ("🔑" * 257, "length"),
            ("x" * 2**20, "length"),
            ("e\u0301" * 256, None),
            ("a" + "\u0301" * 1000, "length"),
            ("\u0327\u0301" * 512, "length"),
        ],
        ids=lambda value: repr(value)[:12],
    )
    def test_8_to_256_code_points_of_nfc(self, password: str, expected: str | None) -> None:
        """A42."""
        assert reason(password) == expected

    def test_1024_bytes(self) -> None:
        assert len(("🔑" * 256).encode()) == 1024
        assert normalise("🔑" * 256) == "🔑" * 256

    @pytest.mark.parametrize(("minimum", "expected"), [(8, None), (14, None), (15, "length"), (1, None)])
    def test_the_brands_minimum(self, minimum: int, expected: str | None) -> None:
        assert reason("fourteen chars", minimum=minimum) == expected

    def test_no_minimum_goes_below_8(self) -> None:
        assert reason("short", minimum=1) == "length"

    @pytest.mark.parametrize("password", ["x" * 5_000_000, "\u0301" * 1_000_000, "a" + "\u0327\u0301" * 500], ids=len)
    def test_long_ones_are_refused_quickly(self, password: str) -> None:
        begun = time.thread_time()
        with pytest.raises(BadUserInput):
            normalise(password)
        assert time.thread_time() - begun < 0.01


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

    def test_case_is_kept(self) -> None:
        assert check_new("Xylophone-Q") == "Xylophone-Q"

    @given(st.text())
    def test_any_text_is_taken_or_refused_by_name(self, raw: str) -> None:
        error = refusal(raw)
        if error is None:
            assert 8 <= len(check_new(raw)) <= 256
        else:
            assert error.extensions["field"] == "newPassword"

    @given(st.text(max_size=300))
    def test_every_spelling_of_up_to_256_code_points_is_taken(self, text: str) -> None:
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
    def test_the_well_known_ones(self, password: str) -> None:
        assert reason(password) == "common"
        assert reason(password.upper()) == "common"
        assert reason(password.title()) == "common"

    def test_with_a_1_behind_or_backwards(self) -> None:
        assert reason("sunshine1") == "common"
        assert reason("drowssap") == "common"
        assert reason("letmein1") == "common"

    def test_every_word_of_the_list_is_refused(self) -> None:
        assert all(reason(word) in ("common", "length") for word in common_passwords())


class TestContext:
    @pytest.mark.parametrize(
        "password",
        [
            "rainbowMakers",
            "RAINBOWMAKERS",
            "rainbowmakers1",
            "rainbowMakers2026",
            "srekamwobniar",
            "somewhere.over",
            "Somewhere.Over99",
        ],
    )
    def test_the_brands_name_and_the_local_part(self, password: str) -> None:
        assert reason(password) == "context"

    @pytest.mark.parametrize("password", ["rainbowMakers!", "my rainbowMakers", "rainbow 4711", "over.somewhere"])
    def test_equality_only(self, password: str) -> None:
        assert reason(password) is None

    def test_digits_at_the_end_of_the_word_itself(self) -> None:
        for password in ("maker1985", "maker1234567"):
            with pytest.raises(BadUserInput):
                check_new(password, context_words=("maker1985",))

    def test_words_of_digits_or_nothing_refuse_only_themselves(self) -> None:
        assert check_new("73019284650", context_words=("", "4711")) == "73019284650"
        with pytest.raises(BadUserInput):
            check_new("73019284650", context_words=("73019284650",))
