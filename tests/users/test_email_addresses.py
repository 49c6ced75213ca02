"""Parse e-mail addresses and usernames."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from keystead.errors import BadUserInput
from keystead.users.email_addresses import parse
from keystead.users.model import parse_username


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann.B+news@Example.COM", "ann.b+news@example.com"),
        ("o'neil@example.com", "o'neil@example.com"),
        ("jörg@münchen.de", "jörg@xn--mnchen-3ya.de"),
        ("jo\u0308rg@mu\u0308nchen.de", "jörg@xn--mnchen-3ya.de"),
        ("a@XN--MNCHEN-3YA.de", "a@xn--mnchen-3ya.de"),
        ("a@straße.de", "a@xn--strae-oqa.de"),
        ("a@" + "b" * 63 + ".de", "a@" + "b" * 63 + ".de"),
        ("a" * 64 + "@example.com", "a" * 64 + "@example.com"),
    ],
)
def test_an_address_has_one_canonical_form(raw: str, canonical: str) -> None:
    assert parse(raw).canonical == canonical


def test_mail_goes_to_the_address_as_it_was_written() -> None:
    assert parse("Ann@Example.COM").display == "Ann@Example.COM"


@pytest.mark.attack("A52")
@pytest.mark.parametrize(
    "raw",
    [
        "",
        "@",
        "ann",
        "ann@",
        "@example.com",
        "ann@@example.com",
        "ann@example.com,bob@example.com",
        "ann@example.com;bob@example.com",
        "ann@example.com bob@example.com",
        "ann@example.com\r\nBcc: bob@example.com",
        "=?utf-8?q?bob=40example.org=3e?=ann@example.com",
        "ann@example.com\n",
        " ann@example.com",
        "an n@example.com",
        "ann\u00a0@example.com",
        "ann\u200b@example.com",
        "ann\u202e@example.com",
        "ann\u3164@example.com",
        "ann\0@example.com",
        "ann\x7f@example.com",
        "ann\ud800@example.com",
        "ann@exa\ud800mple.com",
        '"ann"@example.com',
        "<ann@example.com>",
        "Ann <ann@example.com>",
        "ann(comment)@example.com",
        "ann\\@example.com",
        ".ann@example.com",
        "ann.@example.com",
        "an..n@example.com",
        "\u2474ann@example.com",
        "\u0301ann@example.com",
        "ann\uff20example.com@example.com",
        "ann@localhost",
        "ann@example.com.",
        "ann@.example.com",
        "ann@example..com",
        "ann@-example.com",
        "ann@example-.com",
        "ann@ex_ample.com",
        "ann@ex--ample.com",
        "ann@xn--a.com",
        "ann@[192.0.2.1]",
        "ann@192.0.2.1",
        "ann@exam\u3002ple.com",
        "ann@\uff45xample.com",
        "ann@" + "b" * 64 + ".de",
        "a" * 65 + "@example.com",
        "ä" * 33 + "@example.com",
        "a@" + "b." * 130 + "de",
        "a" * 1_000_000,
        ["ann@example.com"],
        {"email": "ann@example.com"},
        None,
        7,
    ],
)
def test_text_that_is_not_one_address_is_rejected(raw: object) -> None:
    with pytest.raises(BadUserInput) as refused:
        parse(raw, field="newEmail")
    assert refused.value.extensions == {"field": "newEmail"}


@pytest.mark.attack("A53")
@pytest.mark.parametrize(
    "look_alike",
    [
        "MIKE@EXAMPLE.COM",
        "mıke@example.com",
        "mi\uff4be@example.com",
        "\U0001d426ike@example.com",
        "mi\u212ae@example.com",
    ],
)
def test_look_alikes_have_one_skeleton(look_alike: str) -> None:
    assert parse(look_alike).skeleton == parse("mike@example.com").skeleton
    assert parse("mika@example.com").skeleton != parse("mike@example.com").skeleton


@pytest.mark.attack("A53")
def test_no_two_spellings_of_a_letter_make_two_owners() -> None:
    """Every letter there is, beside what the Unicode tables of case and compatibility turn it into."""
    apart = []
    assigned = (c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) not in ("Cn", "Co", "Cs"))
    for character in assigned:
        compatible = unicodedata.normalize("NFKC", character)
        spellings = {character.upper(), character.lower(), character.title(), character.casefold(), compatible}
        spellings |= {compatible.casefold(), character.upper().lower(), unicodedata.normalize("NFD", character)}
        if spellings == {character}:
            continue
        try:
            skeleton = parse(f"x{character}y@example.com").skeleton
        except BadUserInput:
            continue
        if {parse(f"x{spelling}y@example.com").skeleton for spelling in spellings} != {skeleton}:
            apart.append(character)
    assert apart == []


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("  Ann \u00a0", "Ann"),
        ("Ann Bo", "Ann Bo"),
        ("Jo\u0308rg", "Jörg"),
        ("x" * 100, "x" * 100),
        ("e\u0301" * 100, "é" * 100),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_a_name_is_kept_without_the_space_around_it(raw: str, name: str) -> None:
    assert parse_username(raw) == name


@pytest.mark.parametrize(
    "raw",
    ["", "  ", "x" * 101, "\u0327\u0301" * 30_000, "a\nb", "\tAnn", "a\0b", "a\x1bb", "a\u2028b", "a\u202eb", "\ud800"],
)
def test_control_characters_and_bad_lengths_are_refused(raw: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        parse_username(raw, field="username")
    assert refused.value.extensions == {"field": "username"}
