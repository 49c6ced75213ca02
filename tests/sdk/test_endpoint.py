"""Where requests go, and what they show there."""

from __future__ import annotations

import pytest

from keystead_client._endpoint import Endpoint, endpoint_from, graphql_url
from keystead_client.errors import Unauthenticated

ENDPOINT = Endpoint("https://id.example.com/graphql", api_key="the key", brand_token="the brand token")


@pytest.mark.parametrize(
    "url", ["https://id.example.com", "https://id.example.com/", "https://id.example.com/graphql/"]
)
def test_root_and_door_are_the_same_endpoint(url: str) -> None:
    assert graphql_url(url) == "https://id.example.com/graphql"


NO_ENDPOINTS = [
    "",
    "id.example.com",
    "ftp://a",
    "https://",
    "https://u:p@a",
    "https://a?b",
    "https://a#b",
    "https://a b",
]
NO_ENDPOINTS += [
    "https://a:99999",
    "https://a:x",
    "http://localhost\\@a",
    "http://ｌocalhost",
    "\nhttps://a",
    "https://a/\0",
]


@pytest.mark.parametrize("url", NO_ENDPOINTS)
def test_an_endpoint_is_a_plain_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"endpoint|URL|Port"):
        endpoint_from(url)


HERE = ["localhost", "LOCALHOST:4000", "localhost.", "127.0.0.1:4000", "127.9.9.9", "[::1]:4000"]
ELSEWHERE = ["id.example.com", "keystead:4000", "10.0.0.7", "localhost.example.com", "127.0.0.1.example.com", "[::2]"]
ELSEWHERE += ["ks.localhost"]  # which many systems ask the network for


@pytest.mark.parametrize("host", HERE)
def test_plain_http_stays_on_this_computer(host: str) -> None:
    assert graphql_url(f"http://{host}") == f"http://{host}/graphql"


@pytest.mark.parametrize("host", ELSEWHERE)
def test_plain_http_to_another_computer_is_refused_unless_it_is_meant(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYSTEAD_ENDPOINT", f"http://{host}")
    with pytest.raises(ValueError, match="Use https, or set allow_http=True"):
        endpoint_from(None)
    assert endpoint_from(None, allow_http=True).url == f"http://{host}/graphql"


@pytest.mark.parametrize("secret", ["a b", "a\r\nHost: evil.example.com", "schlüssel", "a\x00"])
def test_what_no_header_can_carry_is_not_sent(secret: str) -> None:
    with pytest.raises(Unauthenticated):
        ENDPOINT.headers(secret)
    with pytest.raises(ValueError, match="API key"):
        endpoint_from("https://id.example.com", api_key=secret)


@pytest.mark.parametrize("address", ["192.0.2.1\r\nHost: evil.example.com", "ünicode", "\x00"])
def test_an_address_that_no_header_can_carry_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="forwarded_for"):
        ENDPOINT.headers(forwarded_for=address)
