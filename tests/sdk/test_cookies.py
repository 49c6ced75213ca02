"""The session cookies: attributes, strict reading, and the headers around them."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from keystead_client._access_rules import AccessRules, IncomingRequest
from keystead_client.cookies import (
    CookieOptions,
    RawHeaders,
    clear_cookies,
    private,
    read_cookies,
    set_cookies,
    with_cookies,
)
from keystead_client.middleware import KeysteadMiddleware
from keystead_client.tokens import Tokens
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.sdk import site as web
from tests.sdk.site import AUTH, REFRESH, Site

TOKENS = Tokens("a.b.c", "ks_rt_x")
RULES: AccessRules = KeysteadMiddleware(None, "https://auth.example.com")._rules  # type: ignore[arg-type]


def is_local(scheme: str, host: str, header: bytes = b"host", **pages: Any) -> bool:
    """Whether a request counts as local development."""
    headers = frozenset({b"host", header})
    request = IncomingRequest(scheme, host, headers, [], "", "/", None, "", b"", None, **pages)
    return RULES.is_local_development(request)


@pytest.mark.attack("A101")
def test_every_attribute_is_the_contracts() -> None:
    assert set_cookies(TOKENS) == [
        f"{AUTH}=a.b.c; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure",
        f"{REFRESH}=ks_rt_x; Max-Age=604800; Path=/; HttpOnly; SameSite=Lax; Secure",
    ]
    assert clear_cookies() == [
        f"{AUTH}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure",
        f"{REFRESH}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure",
    ]


def test_only_local_development_goes_without_secure() -> None:
    assert all("Secure" not in cookie for cookie in set_cookies(TOKENS, is_local=True))
    assert all("Secure" in cookie for cookie in set_cookies(TOKENS, CookieOptions(secure=True), is_local=True))
    assert all("Secure" not in cookie for cookie in set_cookies(TOKENS, CookieOptions(secure=False)))


@pytest.mark.parametrize(
    ("scheme", "host", "header", "expected"),
    [
        *(("http", host, b"accept", True) for host in ("localhost", "localhost:8000", "[::1]:8000", "app.localhost")),
        ("ws", "127.0.0.1:8000", b"accept", True),
        ("https", "localhost", b"accept", False),
        *(("http", "localhost:8000", header, False) for header in (b"x-forwarded-for", b"x-forwarded-proto")),
        *(("http", host, b"accept", False) for host in ("localhost.example.com", "127.0.0.1.example.com", "")),
        *(("http", host, b"accept", False) for host in ("app.example.com", "192.168.1.7")),
    ],
)
def test_local_development_is_plain_http_to_a_loopback_name(
    scheme: str, host: str, header: bytes, expected: bool
) -> None:
    assert is_local(scheme, host, header) is expected


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000/auth/login?redirect=/a", True),
        ("http://[::1]:8000/", True),
        ("https://app.example.com", False),
        ("http://app.example.com/auth/login", False),
        ("https://localhost", False),
        ("http://localhost@app.example.com/", False),
        ("null", False),
    ],
)
def test_origin_and_referer_show_a_proxy_without_headers(page: str, expected: bool) -> None:
    assert is_local("http", "127.0.0.1:8000", origin=page) is expected
    assert is_local("http", "127.0.0.1:8000", origin="", referer=page) is expected


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    ("headers", "auth", "refresh"),
    [
        ([f"{AUTH}=a; {REFRESH}=b"], "a", "b"),
        ([f"x=1; {AUTH}=a", f"{REFRESH}=b"], "a", "b"),
        ([f"{AUTH}=a; {AUTH}=a; {REFRESH}=b"], None, "b"),
        ([f"{AUTH}=a", f"{REFRESH}=b; {AUTH}=c"], None, "b"),
        ([f"{AUTH}=a; {AUTH} =; {REFRESH}=b"], None, "b"),
        ([f"{AUTH}=a; {AUTH}; {REFRESH}=b"], None, "b"),
        ([f"{AUTH.upper()}=a; x{REFRESH}=b"], None, None),
        ([f'{AUTH}="a"; {REFRESH}=b c'], None, None),
        ([f"{AUTH}=; {REFRESH}={'b' * 4097}"], None, None),
        ([f"{AUTH}=a\r\nX: y; {REFRESH}=b\x00"], None, None),
        ([], None, None),
    ],
)
def test_cookies_are_read_strictly(headers: list[str], auth: str | None, refresh: str | None) -> None:
    read = read_cookies(headers)
    assert (read.auth_token, read.refresh_token) == (auth, refresh)
    assert repr(read) == "CookieTokens()"


# What Python takes for white space and a header can hold: text in Latin-1.
OTHER_SPACES = [chr(code) for code in range(256) if chr(code).isspace() and chr(code) not in " \t"]


@pytest.mark.parametrize("space", OTHER_SPACES)
def test_names_and_values_lose_space_and_tab_only(space: str) -> None:
    """RFC 6265 §5.2. A neighbour that can set ``\\xa0name`` sets a cookie of another name."""
    assert {"\x0b", "\x0c", "\x1c", "\x85", "\xa0"} <= set(OTHER_SPACES)
    for name in (f"{space}{AUTH}", f"{AUTH}{space}", f" {space}{AUTH}"):
        assert read_cookies([f"{name}=a; {REFRESH}=b"]).auth_token is None
        assert read_cookies([f"{name}=x; {AUTH}=a"]).auth_token == "a"
    for value in (f"{space}a", f"a{space}", f"\t{space}a"):
        assert read_cookies([f"{AUTH}={value}"]).auth_token is None
    assert read_cookies([f"\t {AUTH} \t= \ta \t;{REFRESH}=b"]).auth_token == "a"


@pytest.mark.parametrize("token", ["a; Domain=example.com", "a\r\nX: y", "a b", 'a"'])
def test_text_that_would_add_attributes_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        set_cookies(Tokens(token, None))


@pytest.mark.parametrize("options", [{"auth_name": "a=b"}, {"auth_name": REFRESH}, {"same_site": "None"}])
def test_options_that_make_no_safe_cookie_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        CookieOptions(**options)  # type: ignore[arg-type]


@pytest.mark.attack("A101")
async def test_every_response_that_sets_a_cookie_sets_it_so(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    """Login, refresh, logout, session over: each ``Set-Cookie`` of the use case."""
    login = {"email": "ann@example.com", "password": PASSWORD}
    responses = [await browser.post("/auth/login", json=login)]
    clock.advance(hours=1)
    responses.append(await browser.get("/orders"))
    responses.append(await browser.post("/auth/logout"))
    browser.cookies.update({REFRESH: "ks_rt_unknown"})
    responses.append(await browser.get("/orders"))
    for response in responses:
        assert response.headers["cache-control"] == "no-store"
        cookies = web.set_cookies(response)
        assert set(cookies) == {AUTH, REFRESH}
        for cookie in cookies.values():
            assert re.fullmatch(r"[a-z_]+=\S*; Max-Age=\d+; Path=/; HttpOnly; SameSite=Lax; Secure", cookie)


@pytest.mark.attack("A101")
@pytest.mark.parametrize(("page", "is_secure"), [("http://localhost:8000/", False), ("https://app.example.com", True)])
async def test_local_development_over_http_keeps_its_cookies(site: Site, page: str, is_secure: bool) -> None:
    async with site.browser("http://localhost:8000", address="127.0.0.1") as browser:
        login = {"email": "ann@example.com", "password": PASSWORD}
        response = await browser.post("/auth/login", json=login, headers={"Referer": page})
        assert all(("; Secure" in cookie) is is_secure for cookie in web.set_cookies(response).values())
        assert (await browser.get("/orders")).status_code == (303 if is_secure else 200)


OF_CACHES = (b"CDN-Cache-Control", b"cloudflare-cdn-cache-control", b"Surrogate-Control", b"Expires", b"Pragma")
OURS = (b"cache-control", b"private, no-cache")


@pytest.mark.parametrize(
    ("given", "marked"),
    [
        ([], [(b"vary", b"Cookie"), OURS]),
        ([(b"vary", b"Accept , Origin,")], [(b"vary", b"Accept, Origin, Cookie"), OURS]),
        ([(b"vary", b"")], [(b"vary", b"Cookie"), OURS]),
        ([(b"vary", b"Origin, cookie")], [(b"vary", b"Origin, cookie"), OURS]),
        ([(b"vary", b"*")], [(b"vary", b"*"), OURS]),
        ([(b"vary", b"A"), (b"Vary", b"B")], [(b"vary", b"A, Cookie"), (b"Vary", b"B"), OURS]),
        ([(b"vary", b"X-Cookie")], [(b"vary", b"X-Cookie, Cookie"), OURS]),
    ],
)
def test_a_response_for_one_user_varies_by_cookie(given: RawHeaders, marked: RawHeaders) -> None:
    assert private(given) == marked


@pytest.mark.parametrize("said", [b"no-store", b"public, max-age=600"])
def test_the_applications_own_cache_control_stays(said: bytes) -> None:
    given = [(b"Cache-Control", said), (b"content-type", b"text/html")]
    assert private(given) == [*given, (b"vary", b"Cookie")]


@pytest.mark.attack("A101")
def test_responses_with_tokens_are_never_cached() -> None:
    given = [(b"Cache-Control", b"public"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2")]
    given += [(name, b"max-age=600") for name in OF_CACHES]
    written = with_cookies(given, ["a=3; Path=/"], ("a",))
    assert written == [(b"set-cookie", b"b=2"), (b"cache-control", b"no-store"), (b"set-cookie", b"a=3; Path=/")]
