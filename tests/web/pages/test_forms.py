"""Forms and queries: one reading of each, or none."""

from __future__ import annotations

import pytest

from keystead.errors import MalformedRequest
from keystead.web.pages.endpoint import find_once, parse_form, require_form

KNOWN = ("token", "password", "seal")


def test_a_form_is_read() -> None:
    assert parse_form(b"token=a%20b+c&password=%C3%A4%26%3D", KNOWN) == {"token": "a b c", "password": "ä&="}


def test_an_empty_value_and_a_missing_field_are_two_things() -> None:
    assert parse_form(b"token=&seal", KNOWN) == {"token": "", "seal": ""}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"token=a&token=b",
        b"token=a&token=a",
        b"token=a&t%6Fken=b",
        b"token=a&TOKEN=b",
        b"token=a&admin=1",
        b"token[]=a",
        b"token=a&",
        b"&token=a",
        b"token=a;seal=b&x=1",
        b"token=%",
        b"token=%4",
        b"token=%zz",
        b"token=%u0041",
        b"token=%00",
        b"token=a%00b",
        b"token=%ff",
        b"token=%ed%a0%80",
        b"token=%c0%af",
        "token=ä".encode(),
        "token=ä".encode("latin-1"),
        b'{"token": "a"}',
        b"\xff\xfet\0o\0",
    ],
)
def test_what_can_be_read_in_two_ways_is_not_read(body: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_form(body, KNOWN)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLEncoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        'application/x-www-form-urlencoded;charset="UTF-8"',
    ],
)
def test_an_urlencoded_form_is_taken(content_type: str) -> None:
    require_form(content_type, None)
    require_form(content_type, "identity")


@pytest.mark.attack("A80")
@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (None, None),
        ("", None),
        ("text/plain", None),
        ("application/json", None),
        ("multipart/form-data; boundary=x", None),
        ("application/x-www-form-urlencoded, application/x-www-form-urlencoded", None),
        ("application/x-www-form-urlencoded; charset=utf-7", None),
        ("application/x-www-form-urlencoded; charset=latin1", None),
        ("application/x-www-form-urlencodedx", None),
        ("application/x-www-form-urlencoded", "gzip"),
        ("application/x-www-form-urlencoded", "identity, gzip"),
    ],
)
def test_another_body_is_415(content_type: str | None, encoding: str | None) -> None:
    with pytest.raises(MalformedRequest) as caught:
        require_form(content_type, encoding)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (b"token=a", "a"),
        (b"utm_source=x&token=a&redirect=b", "a"),
        (b"utm_source=x&utm_source=y&token=a", "a"),
        (b"token=", ""),
        (b"", None),
        (b"redirect=a", None),
        (b"token=a&token=b", None),
        (b"token=a&tok%65n=b", None),
        (b"token=a&x=%&%=x&%ff=y&redirect=%00", "a"),
        (b"token=%", None),
        (b"token=%ff", None),
    ],
)
def test_a_parameter_of_a_query_is_there_once_or_not_at_all(query: bytes, value: str | None) -> None:
    assert find_once(query, "token") == value
