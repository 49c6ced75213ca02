"""Which languages a reader asks for, and which wording that gives them."""

from __future__ import annotations

import pytest

from keystead.errors import BadUserInput
from keystead.mail.request_headers import MOST_LANGUAGES, preferred_languages
from keystead.mail.templates.model import lookup_order, parse_language


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        ("", ()), ("de", ("de",)), ("de-AT,de;q=0.9,en;q=0.8", ("de-at", "de", "en")),
        ("en;q=0.1, de;q=0.9, fr", ("fr", "de", "en")), ("en;q=0.5,de;q=0.5", ("en", "de")), ("DE", ("de",)),
        (" de ; q=1.0 , en ;q=0", ("de",)), ("zh-Hant-TW", ("zh-hant-tw",)), ("de,de;q=0.5,DE", ("de",)),
    ],
)  # fmt: skip
def test_the_most_wanted_comes_first(header: str, languages: tuple[str, ...]) -> None:
    assert preferred_languages(header) == languages


@pytest.mark.parametrize(
    "header",
    [
        "*", "*;q=0.5", "d", "german-very-much-so", "de_AT", "../../etc/passwd", "en/../de",
        "de\r\nBcc: eve@example.com", "{{ 7 * 7 }}", "<script>", "dé", "de;q=2", "de;q=", "de;q=1e9", "de;q=nan",
        "de;level=1", ",;,;q=1,,",
    ],
)  # fmt: skip
def test_what_is_no_tag_is_passed_over(header: str) -> None:
    assert preferred_languages(header) == ()
    assert preferred_languages(f"{header}, fr") in {("fr",), ()}


@pytest.mark.parametrize("unit", ["de,", "a", ";", "de;q=0.5,", "aa-", " "])
def test_a_long_header_is_read_to_a_few_languages(unit: str) -> None:
    assert len(preferred_languages(unit * 8000)) <= MOST_LANGUAGES


def test_at_most_five_are_kept() -> None:
    assert preferred_languages("aa,bb,cc,dd,ee,ff,gg") == ("aa", "bb", "cc", "dd", "ee")


@pytest.mark.parametrize(
    ("languages", "order"),
    [
        ((), ("en",)), (("de-at",), ("de-at", "de", "en")),
        (("zh-hant-tw", "en"), ("zh-hant-tw", "zh-hant", "zh", "en")),
        (("fr", "de-at", "de"), ("fr", "de-at", "de", "en")), (("en-gb", "de"), ("en-gb", "en", "de")),
    ],
)  # fmt: skip
def test_wording_is_looked_for_from_the_exact_tag_down(languages: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert lookup_order(languages) == order


@pytest.mark.parametrize("raw", ["de", "de-AT", "zh-Hant-TW", "PT-br"])
def test_a_tag_of_a_template_is_kept_in_small_letters(raw: str) -> None:
    assert parse_language(raw) == raw.lower()


@pytest.mark.parametrize("raw", ["", "d", "de_AT", "de-", "../de", "de\n", "german", "dé", "de-AT-x", "de" * 500])
def test_a_template_needs_a_tag(raw: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        parse_language(raw)
    assert refused.value.extensions == {"field": "language"}
