"""What the middleware reads from an environ."""

from __future__ import annotations

import pytest

from keystead_client.protection import Visit
from keystead_client.wsgi import KeysteadMiddleware
from keystead_client.wsgi.environ import strip, visit_of


def test_everything_that_counts() -> None:
    visit = visit_of(
        {
            "wsgi.url_scheme": "https",
            "HTTP_HOST": "app.example.com",
            "HTTP_X_FORWARDED_FOR": "203.0.113.1",
            "HTTP_COOKIE": "a=1; b=2",
            "HTTP_ACCEPT": "text/html",
            "SCRIPT_NAME": "/shop/",
            "PATH_INFO": "/orders/caf\u00c3\u00a9",
            "REQUEST_URI": "/shop/orders/caf%C3%A9?page=%2f",
            "QUERY_STRING": "page=%2f",
            "REMOTE_ADDR": "198.51.100.23",
        }
    )
    assert visit == Visit(
        scheme="https",
        host="app.example.com",
        header_names=frozenset({b"host", b"x-forwarded-for", b"cookie", b"accept"}),
        cookies=["a=1; b=2"],
        accept="text/html",
        path="/orders/caf\u00e9",
        raw_path=b"/shop/orders/caf%C3%A9",
        root="/shop",
        query=b"page=%2f",
        address="198.51.100.23",
    )


def test_the_page_that_asks() -> None:
    visit = visit_of({"HTTP_ORIGIN": "https://app.example.com", "HTTP_REFERER": "https://app.example.com/x"})
    assert (visit.origin, visit.referer) == ("https://app.example.com", "https://app.example.com/x")
    assert (visit_of({}).origin, visit_of({}).referer) == (None, None)


def test_what_a_web_server_may_leave_out() -> None:
    visit = visit_of({"wsgi.url_scheme": "http", "REMOTE_ADDR": ""})
    assert (visit.path, visit.root, visit.raw_path, visit.query, visit.address) == ("/", "", None, b"", None)
    assert (visit.cookies, visit.host, visit.accept) == ([], "", "")


def test_bytes_that_are_no_utf8_are_still_a_path() -> None:
    assert visit_of({"PATH_INFO": "/orders/\xff"}).path == "/orders/\ufffd"


def test_headers_of_ours_are_taken_away_and_nothing_else() -> None:
    environ = {"HTTP_X_KEYSTEAD_USER": "admin", "HTTP_X_OTHER": "", "keystead": "x"}
    strip(environ)
    assert set(environ) == {"HTTP_X_OTHER", "keystead"}


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    "environ",
    [
        {"PATH_INFO": "/auth/../orders"},
        {"PATH_INFO": "//auth/x"},
        {"PATH_INFO": "auth/x"},
        {"PATH_INFO": "/auth;x/y"},
        {"PATH_INFO": "/authors"},
        {"PATH_INFO": "/auth/x", "RAW_URI": "/auth%2fx"},
        {"PATH_INFO": "/auth/x", "REQUEST_URI": "/auth%2Fx?a"},
        {"PATH_INFO": "/auth/x", "REQUEST_URI": "/auth/x", "RAW_URI": "/orders/%2e%2e/auth/x"},
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_never_public(environ: dict[str, str]) -> None:
    protection = KeysteadMiddleware(lambda environ, start_response: [], "https://auth.example.com")._protection
    assert not protection.is_public(visit_of(environ))
    assert protection.is_public(visit_of({"PATH_INFO": "/auth/x", "RAW_URI": "/auth/x?a=%2f"}))
