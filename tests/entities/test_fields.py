"""Rules of fields: the value that passes beside the one that does not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from time import perf_counter
from typing import Any

import pytest

from keystead.entities.fields import compile_pattern, make_check
from keystead.entities.model import Field, FieldType
from keystead.errors import ValidationError


def check(raw: Any, type_name: str, **rules: Any) -> Any:
    return make_check("it", Field(type=FieldType(type_name), **rules))(raw)


@pytest.mark.parametrize(
    ("type_name", "rules", "good", "bad"),
    [
        ("string", {}, "x" * 255, "x" * 256), ("string", {"max_length": 3}, "äöü", "abcd"),
        ("string", {"min_length": 2}, "ab", "a"), ("string", {"required": True}, "", None),
        ("string", {"pattern": "[a-z]+"}, "abc", "abc1"), ("string", {"pattern": "^a|b$"}, "b", "xb"),
        ("string", {}, "tab\t", "nul\0"), ("string", {}, "\U0001f600", "\ud83d"), ("string", {}, "1", 1),
        ("text", {}, "x" * 65_536, "x" * 65_537), ("integer", {}, 2**31 - 1, 2**31),
        ("integer", {}, -(2**31), -(2**31) - 1), ("integer", {}, 0, True), ("integer", {"min": 1, "max": 3}, 3, 4),
        ("integer", {"min": 1}, 1, 0), ("float", {}, 1, float("nan")), ("float", {}, 1e308, 10**400),
        ("float", {"max": 1.5}, 1.5, 1.6), ("decimal", {}, "12.50", "12,50"), ("decimal", {"min": 0}, "0.00", "-0.01"),
        ("boolean", {}, False, 0), ("date", {}, "2024-02-29", "2023-02-29"),
        ("date", {}, date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
        ("date", {"max": "2024-01-01"}, "2024-01-01", "2024-01-02"),
        ("datetime", {}, "2024-01-01T00:00:00Z", "2024-01-01T00:00:00"),
        ("datetime", {}, "2024-01-01T00:00:00+02:00", "0001-01-01T00:00:00+02:00"),
        ("datetime", {}, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"),
        ("email", {}, "ann@example.com", "ann@example.com, ben@example.com"),
        ("url", {}, "https://example.com/a?b=1#c", "javascript:alert(1)"),
        ("url", {}, "http://[::1]:8080/", "https:///path"),
        ("url", {}, "https://example.com/", "https://example.com/\n"),
        ("url", {}, "https://example.com/", "https://example.com:99999/"),
        ("url", {}, f"https://example.com/{'x' * 1980}", "https://" + "\u0327\u0301" * 30_000),
        ("enum", {"values": ("a", "b")}, "b", "B"),
        ("uuid", {}, "01900000-0000-7000-8000-00000000000a", "01900000000070008000000000000000000a"),
        ("json", {}, {"a": [1, None, "x"]}, {"a": 2**63}), ("json", {}, [0.5], [float("inf")]),
        ("json", {}, ["x" * 65_000], ["x" * 65_536]), ("json", {}, "a", "\ud800"), ("json", {}, {"a": {}}, {1: 2}),
    ],
)  # fmt: skip
def test_a_value_passes_or_is_refused_with_its_field(
    type_name: str, rules: dict[str, Any], good: Any, bad: Any
) -> None:
    check(good, type_name, **rules)
    with pytest.raises(ValidationError) as refused:
        check(bad, type_name, **rules)
    assert refused.value.extensions["field"] == "it"


def test_what_is_stored_is_the_same_for_every_spelling() -> None:
    assert check(None, "integer", min=3) is None
    assert check("2024-01-01T02:00:00+02:00", "datetime") == datetime(2024, 1, 1, tzinfo=UTC)
    assert check("01900000-0000-7000-8000-00000000000A", "uuid") == "01900000-0000-7000-8000-00000000000a"
    assert str(check("12.50", "decimal")) == "12.50"
    assert check(0.1, "decimal") == Decimal("0.1")
    assert str(check(-0.0, "float")) == "0.0"


@pytest.mark.parametrize(
    "almost",
    [
        "urn:0190000000007000800000000000000a", "0190000-00000-7000-8000-00000000000a",
        "0_900000-0000-7000-8000-00000000000a", " 1900000-0000-7000-8000-00000000000a",
        "\u0660\u0661900000-0000-7000-8000-00000000000a", "01900000-0000-7000-8000-00000000000a\n",
    ],
)  # fmt: skip
def test_what_is_almost_a_uuid_is_not_made_into_one(almost: str) -> None:
    with pytest.raises(ValidationError):
        check(almost, "uuid")


def test_json_is_not_nested_without_end() -> None:
    deep: Any = 1
    for _ in range(32):
        deep = [deep]
    with pytest.raises(ValidationError, match="nested"):
        check(deep, "json")
    assert check(deep[0], "json") == deep[0]


@pytest.mark.attack("A96")
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+", "(.*)*x", "([a-zA-Z]+)*0"])
def test_no_pattern_stalls_the_server(pattern: str) -> None:
    begun = perf_counter()
    with pytest.raises(ValidationError):
        check("a" * 50_000 + "!", "text", pattern=pattern)
    assert perf_counter() - begun < 0.5


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing )"),
        ("*a", "no argument for repetition operator"),
        ("a{1001}", "invalid repetition size"),
        ("[z-a]", "invalid character class range"),
        ("(?=a)", "invalid perl operator; look-around and back-references are not supported"),
        (r"(a)\1", "invalid escape sequence; look-around and back-references are not supported"),
        ("\x01[\x1b", "missing ]"),
    ],
)
def test_a_refused_pattern_has_re2s_own_reason(pattern: str, reason: str) -> None:
    """And nothing of the pattern, which the reason quotes."""
    with pytest.raises(ValueError, match="RE2") as refused:
        compile_pattern(pattern)
    assert str(refused.value) == f"is not a pattern of RE2: {reason}"
