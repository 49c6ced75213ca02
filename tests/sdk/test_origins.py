"""Whose pages may open a WebSocket with a browser's cookies."""

from __future__ import annotations

from typing import Any

import pytest

from keystead_client.origins import OriginRules

APP, EXTENSION = "capacitor://localhost", "safari-web-extension://E4F0C1B0-7A2D"
RULES = OriginRules(("https://www.example.com", "HTTPS://partner.example:8443", APP, EXTENSION))


@pytest.mark.parametrize(
    ("origin", "scheme", "host"),
    [
        (None, "wss", "app.example.com"),
        ("https://app.example.com", "wss", "app.example.com"),
        ("https://App.Example.Com", "wss", "app.example.com:443"),
        ("https://app.example.com", "ws", "app.example.com"),
        ("http://localhost:8000", "ws", "localhost:8000"),
        ("http://[::1]:8000", "ws", "[::1]:8000"),
        ("http://app.example.com", "ws", "app.example.com:80"),
        ("https://www.example.com", "wss", "app.example.com"),
        ("https://www.example.com:443", "wss", "app.example.com"),
        ("https://partner.example:8443", "wss", "app.example.com"),
        (APP, "wss", "app.example.com"),
        (EXTENSION, "wss", "app.example.com"),
        (EXTENSION.lower(), "https", "app.example.com"),
    ],
)
def test_the_applications_own_pages_and_those_that_are_named_may(origin: str | None, scheme: str, host: str) -> None:
    assert RULES.allow(origin, scheme, host)


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    ("origin", "scheme", "host"),
    [
        ("https://evil.example", "wss", "app.example.com"),
        ("https://evil.example.com", "wss", "app.example.com"),
        ("https://app.example.com.evil.example", "wss", "app.example.com"),
        ("https://app.example.com@evil.example", "wss", "app.example.com@evil.example"),
        ("https://app.example.com:8443", "wss", "app.example.com"),
        ("https://partner.example", "wss", "app.example.com"),
        ("http://app.example.com", "wss", "app.example.com"),
        ("http://app.example.com", "wss", "app.example.com:80"),
        ("http://www.example.com", "ws", "app.example.com"),
        ("http://localhost:3000", "ws", "localhost:8000"),
        ("https://app.example.com,https://app.example.com", "wss", "app.example.com"),
        ("null", "wss", "null"),
        ("", "wss", ""),
        ("https://", "wss", ""),
        ("https://app.example.com:x", "wss", "app.example.com:x"),
        ("https://[", "wss", "["),
        ("file://app.example.com", "wss", "app.example.com"),
        ("ionic://localhost", "http", "localhost"),
        ("capacitor://localhost:8000", "http", "localhost:8000"),
        ("capacitor://app.example.com", "ws", "app.example.com"),
        ("http://localhost", "https", "app.example.com"),
        ("safari-web-extension://another", "wss", "app.example.com"),
        ("https://app.example.com", "wss", ""),
    ],
)
def test_all_others_may_not(origin: str, scheme: str, host: str) -> None:
    assert not RULES.allow(origin, scheme, host)


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "www.example.com",
        "https://*.example.com",
        "https://www.example.com/",
        "null",
        "wss://a.example",
        "file://",
        "file://a",
        "capacitor://",
        "capacitor://*",
        "a b://c",
        "://c",
    ],
)
def test_what_is_no_origin_is_refused_at_once(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        OriginRules((origin,))


def test_one_string_is_not_many() -> None:
    given: Any = "https://www.example.com"
    with pytest.raises(TypeError):
        OriginRules(given)
