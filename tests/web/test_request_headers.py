"""Request headers: one credential of each kind, a client address that cannot be forged (A16, A39)."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from keystead.authentication.authenticate import Credentials
from keystead.errors import MalformedRequest
from keystead.mail.request_headers import preferred_languages
from keystead.settings import load_settings
from keystead.web.pages.endpoint import require_form
from keystead.web.request_headers import HeaderReader


def reader(**environ: str) -> HeaderReader:
    return HeaderReader(load_settings(environ))


def headers(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]


def test_each_credential_is_read_under_every_alias() -> None:
    for key in ("keystead-api-key", "pylo-api-key", "x-api-key"):
        for brand in ("keystead-brand-authorization", "yoli-brand-authorization"):
            values = reader().read(headers(("authorization", "a"), (key, "k"), (brand, "b")))
            assert values.require_single() == Credentials("a", "k", "b")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("authorization", "authorization"), ("keystead-api-key", "pylo-api-key"), ("x-api-key", "x-api-key"),
        ("keystead-brand-authorization", "yoli-brand-authorization"),
    ],
)  # fmt: skip
def test_a_repeated_credential_is_400(first: str, second: str) -> None:
    values = reader().read(headers((first, "a"), (second, "a")))
    with pytest.raises(MalformedRequest) as caught:
        values.require_single()
    assert caught.value.status == 400
    assert caught.value.extensions == {"field": second}


def test_a_content_length_is_a_number_of_any_size() -> None:
    for value in ("x", "-1", "1e3", ""):
        with pytest.raises(MalformedRequest):
            reader().read(headers(("content-length", value)))
    for value in ("1" + "0" * 12, "9" * 40):
        assert (reader().read(headers(("content-length", value))).content_length or 0) >= 10**12


def test_repeated_plain_headers_are_joined() -> None:
    for name in ("content-type", "content-encoding", "accept", "origin"):
        values = reader().read(headers((name, "one"), (name, "two")))
        assert getattr(values, name.replace("-", "_")) == "one,two"


def test_headers_that_are_not_read_are_not_kept_and_each_request_has_its_own_id() -> None:
    here = reader()
    assert {b"authorization", b"x-api-key", b"yoli-brand-authorization", b"accept"} <= here.names
    assert b"cookie" not in here.names
    many = [(b"x-%d" % number, b"x") for number in range(1000)] + [(b"origin", b"a")] * 1000
    assert here.read(many).origin == ",".join("a" * 1000)
    assert len({here.details({}, here.read([])).id for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("accept", "asks"),
    [
        ("application/graphql-response+json", True),
        ("Application/GraphQL-Response+JSON ; charset=utf-8", True),
        ("text/html, application/graphql-response+json;q=0.9, */*", True),
        ("application/graphql-response+json; q=0.001", True),
        ("application/graphql-response+json;q=0", False),
        ("application/graphql-response+json; q=0.000, application/json", False),
        ("application/graphql-response+json; charset=utf-8 ;\tQ = 0. ", False),
        ("application/graphql-response+json; q=0; q=1", False),
        ("application/graphql-response+json; q=00", True),
        ("application/graphql-response+json; xq=0; q", True),
        ("application/graphql-response+jsonx", False), ("application/json", False), ("*/*", False), ("", False),
    ],
)  # fmt: skip
def test_accept_selects_the_media_type_of_graphql(accept: str, asks: bool) -> None:
    assert reader().read(headers(("accept", accept))).asks_for_graphql_json is asks


def place(peer: str, forwarded: str | None, trusted: str = "") -> tuple[str, str]:
    here = reader(**({"KEYSTEAD_TRUSTED_PROXIES": trusted} if trusted else {}))
    values = here.read(headers(("x-forwarded-for", forwarded)) if forwarded else [])
    scope: dict[str, Any] = {"client": (peer, 1)}
    details = here.details(scope, values)
    return details.address, details.address_prefix


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address", "prefix"),
    [
        ("192.0.2.1", None, "", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", "", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.9", "10.0.0.0/8", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.9, 10.0.0.2", "10.0.0.0/8", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "6.6.6.6, nonsense", "10.0.0.0/8", "10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.0/8", "10.0.0.3", "10.0.0.3"),
        ("2001:db8:1:2:3::9", None, "", "2001:db8:1:2:3::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", None, "", "192.0.2.1", "192.0.2.1"),
        ("testclient", None, "", "", ""),
    ],
)
def test_the_client_address_comes_from_trusted_proxies_only(
    peer: str, forwarded: str | None, trusted: str, address: str, prefix: str
) -> None:
    assert place(peer, forwarded, trusted) == (address, prefix)


OTHER_SPACES = [chr(code) for code in range(256) if chr(code).isspace() and chr(code) not in " \t\r\n"]


@pytest.mark.parametrize("space", OTHER_SPACES)
def test_only_the_white_space_of_http_is_stripped(space: str) -> None:
    """RFC 9110 §5.6.3: space and tab."""
    accept = f"text/html,{space}application/graphql-response+json"
    assert not reader().read(headers(("accept", accept))).asks_for_graphql_json
    assert reader().read(headers(("accept", accept.replace(space, " \t")))).asks_for_graphql_json
    trusted = "192.0.2.0/24"
    assert place("192.0.2.1", f"198.51.100.7{space}", trusted) == place("192.0.2.1", None, trusted)
    assert place("192.0.2.1", "198.51.100.7 \t", trusted)[0] == "198.51.100.7"
    with pytest.raises(MalformedRequest):
        require_form(f"application/x-www-form-urlencoded{space}", None)
    require_form("application/x-www-form-urlencoded \t", None)
    assert preferred_languages(f"{space}de") == ()
    assert preferred_languages(" \tde") == ("de",)


@pytest.mark.parametrize("trusted", ["", "192.0.2.0/24"])
def test_a_long_forwarded_for_is_not_cached(trusted: str) -> None:
    """X-Forwarded-For is a cache key: its length is limited."""
    tracemalloc.start()
    for number in range(200):
        chain = f"198.51.100.{number}, " * 2_000 + "203.0.113.9"
        assert place("192.0.2.1", chain, trusted)[0] == ("203.0.113.9" if trusted else "192.0.2.1")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000
