"""Public paths, origins, open redirects, and the options of both middlewares."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request

from keystead_client import AsyncClient, Client, auth
from keystead_client._access_rules import OriginRules, PathRules, login_location, redirect_target
from keystead_client._request import RedirectToLogin
from keystead_client.middleware import KeysteadMiddleware, Message, Scope
from keystead_client.verify import Verifier
from keystead_client.wsgi import KeysteadMiddleware as WsgiMiddleware
from tests.sdk.site import Site

ENDPOINT = "https://auth.example.com"

# -------------------------------------------------------------------------------------------------------- public paths

OPEN = ["/auth", "/auth/", "/auth/login", "/auth/a/b", "/auth/caf\u00e9", "/auth/.well-known", "/auth/..a"]
CLOSED: list[tuple[str, bytes | None]] = [
    *((path, None) for path in "/authors /auth.json /AUTH/login / //auth /auth//x /auth/../orders /auth/./x".split()),
    *((path, None) for path in (*"/auth/.. /auth;/../orders /x/auth auth".split(), "", "/auth/x\x00", "/auth/\n")),
    ("/auth\\..\\orders", None),
    ("/auth/../orders", b"/auth%2f..%2forders"),
    ("/auth/../orders", b"/auth/%2e%2e/orders"),
    ("/auth/x", b"/auth%2Fx"),
    ("/auth/%2e%2e/orders", b"/auth/%252e%252e/orders"),
    ("/auth/\\..", b"/auth/%5c.."),
]


@pytest.mark.parametrize("path", OPEN)
def test_a_public_path_opens_what_is_below_it(path: str) -> None:
    assert PathRules(("/auth",)).match(path, path.encode())


def test_the_query_on_a_raw_path_does_not_count() -> None:
    assert PathRules(("/auth",)).match("/auth/login", b"/auth/login?redirect=%2Forders")


async def get(site: Site, scope: Scope) -> Message:
    """The start of the response."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await site.middleware({"type": "http", "method": "GET", "query_string": b"", "headers": [], **scope}, receive, send)
    return sent[0]


async def test_the_middleware_opens_nothing_else(site: Site) -> None:
    for path, raw in CLOSED:
        assert not PathRules(("/auth",)).match(path, raw), path
        assert (await get(site, {"path": path, "raw_path": raw}))["status"] == 303, path


def test_the_root_is_one_page() -> None:
    rules = PathRules(("/",))
    assert rules.match("/")
    assert not rules.match("/orders")
    assert PathRules(("/auth/",)).match("/auth/x")


@pytest.mark.parametrize("prefix", ["auth", "", "/auth/*", "/a//b", "/a/../b", "/a%20", "/a?x"])
def test_a_prefix_that_is_no_path_is_rejected(prefix: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        PathRules((prefix,))


@pytest.mark.parametrize("rules", [PathRules, OriginRules])
def test_one_string_instead_of_several_is_rejected(rules: Callable[[str], object]) -> None:
    with pytest.raises(TypeError):
        rules("/auth")


# ------------------------------------------------------------------------------------------------------------- origins

APP, EXTENSION = "capacitor://localhost", "safari-web-extension://E4F0C1B0-7A2D"
RULES = OriginRules(("https://www.example.com", "HTTPS://partner.example:8443", APP, EXTENSION))


OWN = """
https://App.Example.Com wss app.example.com:443
https://app.example.com ws app.example.com
http://localhost:8000 ws localhost:8000
http://[::1]:8000 ws [::1]:8000
http://app.example.com ws app.example.com:80
https://www.example.com:443 wss app.example.com
https://partner.example:8443 wss app.example.com
capacitor://localhost wss app.example.com
safari-web-extension://e4f0c1b0-7a2d https app.example.com
"""
OTHER = """
https://evil.example.com wss app.example.com
https://app.example.com.evil.example wss app.example.com
https://app.example.com@evil.example wss app.example.com@evil.example
https://app.example.com:8443 wss app.example.com
https://partner.example wss app.example.com
http://app.example.com wss app.example.com
http://app.example.com wss app.example.com:80
http://www.example.com ws app.example.com
http://localhost:3000 ws localhost:8000
https://app.example.com,https://app.example.com wss app.example.com
null wss null
https:// wss none
https://app.example.com:x wss app.example.com:x
https://[ wss [
file://app.example.com wss app.example.com
ionic://localhost http localhost
capacitor://localhost:8000 http localhost:8000
capacitor://app.example.com ws app.example.com
http://localhost https app.example.com
safari-web-extension://another wss app.example.com
"""


def test_own_and_allowed_origins_may() -> None:
    assert RULES.allow(None, "wss", "app.example.com")
    for row in OWN.strip().splitlines():
        assert RULES.allow(*row.split()), row


@pytest.mark.attack("A101")
def test_other_origins_may_not() -> None:
    for row in OTHER.strip().splitlines():
        assert not RULES.allow(*row.split()), row
    for origin, host in (("", ""), ("https://", ""), ("https://app.example.com", "")):
        assert not RULES.allow(origin, "wss", host)


@pytest.mark.parametrize(
    "origin",
    [
        *"* www.example.com https://*.example.com https://www.example.com/ null wss://a.example file://a".split(),
        *("capacitor://", "capacitor://*", "a b://c", "://c"),
    ],
)
def test_text_that_is_no_origin_is_rejected(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        OriginRules((origin,))


# ----------------------------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("target", ["/", "/orders", "/orders?page=2#top", "/a%20b", "/x?next=https://else.example"])
def test_a_path_of_this_origin_is_a_redirect_target(target: str) -> None:
    assert redirect_target(target, "/home") == target


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    "target",
    [
        *"orders https://else.example HTTPS:else.example //else.example ///else.example /\\else.example".split(),
        *"\\\\else.example /%2f/else.example /%5celse.example /%09/else.example /.//else.example".split(),
        *"/..//else.example /x/../..//else.example /%2e//else.example /x%0d%0aSet-Cookie:a=b @else.example".split(),
        *"javascript:alert(1) data:text/html,x".split(),
        *(None, "", "/\t/else.example", "/\n/else.example", "\t//else.example", " //else.example"),
        *("/x\r\nSet-Cookie: a=b", "/" + "x" * 3000),
    ],
)
def test_there_is_no_open_redirect(target: str | None) -> None:
    assert redirect_target(target, "/home") == "/home"


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/orders", b"", "/auth/login?redirect=/orders"),
        ("//else.example", b"", "/auth/login?redirect=/"),
        ("/a b/\u00e9", b"", "/auth/login?redirect=/a%2520b/%25C3%25A9"),
        ("/x", b"a=1&redirect=//else.example", "/auth/login?redirect=/x%3Fa%3D1%26redirect%3D//else.example"),
        ("/x\r\ny", b"", "/auth/login?redirect=/"),
        ("/x", b"q=" + b"y" * 5000, "/auth/login?redirect=/x"),
    ],
)
def test_the_login_page_learns_where_to_go_back_to(path: str, query: bytes, location: str) -> None:
    assert login_location("/auth/login", path, query) == location
    assert login_location("/auth?step=1", "/x", b"") == "/auth?step=1&redirect=/x"


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    ("root", "page"),
    [
        ("/shop", "/shop/auth/login"),
        ("/caf\u00e9", "/caf%C3%A9/auth/login"),
        ("/\\else.example", "/auth/login"),
        ("//else.example", "/auth/login"),
        ("/x\r\nSet-Cookie: a=b", "/auth/login"),
        ("/\t/else.example", "/auth/login"),
        ("else.example", "/auth/login"),
    ],
)
async def test_a_mount_prefix_of_the_request_is_no_open_redirect(site: Site, root: str, page: str) -> None:
    headers = dict((await get(site, {"path": f"{root}/orders", "root_path": root}))["headers"])
    assert headers[b"location"].startswith(f"{page}?redirect=/".encode())


@pytest.mark.attack("A101")
async def test_a_location_cannot_inject_headers(site: Site) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RedirectToLogin("/auth\r\nX: y\u2028\x7f?a=%2f&b=[1]#c")

    site.middleware.app = app
    start = await get(site, {"path": "/auth/x"})
    assert (b"location", b"/auth%0D%0AX:%20y%E2%80%A8%7F?a=%2f&b=[1]#c") in start["headers"]


def make_shop() -> KeysteadMiddleware:
    app = FastAPI()

    @app.get("/auth/orders")
    async def orders(user: Any = Depends(auth.require_auth)) -> Any:  # noqa: B008
        return user

    @app.get("/auth/join", name="join")
    async def join(request: Request) -> Any:
        return await auth.require_auth(redirect_to=request.url_for("join"))  # type: ignore[arg-type]

    return KeysteadMiddleware(app, ENDPOINT, brand="shop", allowed_origins=("https://login.example.com",))


SHOP = make_shop()


async def redirected(path: str, **query: str) -> str:
    """Where ``require_auth(redirect_to)`` sends a stranger, who may choose the place."""
    transport = httpx.ASGITransport(app=SHOP)
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.example.com") as visitor:
        answer = await visitor.get(path, params=query)
    assert answer.status_code == 303
    return answer.headers["location"]


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    "place",
    [
        *"https://evil.example/login HTTPS://evil.example https:evil.example https:/evil.example join".split(),
        *"https:///evil.example //evil.example /\\evil.example /%5cevil.example javascript:alert(1)".split(),
        *"https://shop.example.com@evil.example https://login.example.com\\@evil.example".split(),
        *"https://login.example.com.evil.example https://login.example.com:444/ http://login.example.com/".split(),
        *("http://shop.example.com/", "/\t/evil.example", " https://evil.example", ""),
    ],
)
async def test_a_request_cannot_choose_a_login_page_of_another_origin(place: str) -> None:
    assert (await redirected("/auth/orders", redirect_to=place)).startswith("/auth/login?redirect=")


@pytest.mark.parametrize(
    "place", ["/join", "/join?plan=2", "https://shop.example.com/join", "https://login.example.com/in?app=shop"]
)
async def test_a_login_page_of_a_known_origin_is_used(place: str) -> None:
    joint = "&" if "?" in place else "?"
    assert (await redirected("/auth/orders", redirect_to=place)).startswith(f"{place}{joint}redirect=/auth/orders")
    assert await redirected("/auth/join") == "https://shop.example.com/auth/join?redirect=/auth/join"


# ------------------------------------------------------------------------------------------------------------- options

WARNING = "Without a brand, users of every brand are accepted. Pass `brand`, or set KEYSTEAD_BRAND."
VERIFIER = Verifier(ENDPOINT, "019b796d-d600-7000-be72-e1bcd08bca13")
Make = Callable[..., Any]


@pytest.fixture(params=["asgi", "wsgi"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes the middleware in an empty environment; ``client`` is a dict of the options of one that is given."""
    for name in ("KEYSTEAD_ENDPOINT", "KEYSTEAD_API_KEY", "KEYSTEAD_BRAND", "KEYSTEAD_BRAND_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def make(endpoint: str | None = None, *, client: dict[str, Any] | None = None, **options: Any) -> Any:
        middleware, kind = {"asgi": (KeysteadMiddleware, AsyncClient), "wsgi": (WsgiMiddleware, Client)}[request.param]
        given: Any = None if client is None else kind(ENDPOINT, **client)
        made: Any = middleware(None, endpoint, client=given, **options)
        return made

    return make


def client_of(middleware: Any) -> Any:
    server = middleware._checks._server
    return getattr(server, "blocking", None) if isinstance(middleware, WsgiMiddleware) else server


@pytest.mark.parametrize(
    ("option", "value"),
    [("timeout", 5.0), ("brand_token", "ks_bt_x"), ("allow_http", True), ("endpoint", "https://else.example.com")],
)
def test_an_option_that_a_given_client_would_ignore_is_rejected(make: Make, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"`{option}` conflicts with `client`"):
        make(client={"brand": "A"}, **{option: value})


def test_two_brands_are_rejected(make: Make) -> None:
    make(client={"brand": "A"}, brand="A")
    make(client={"brand_token": "ks_bt_x"}, brand="A")
    with pytest.raises(ValueError, match=r"conflicts with `client\.brand`"):
        make(client={"brand": "A"}, brand="B")
    with pytest.raises(ValueError, match="needs a client of that brand"):
        make(client={}, brand="A")


def test_accepting_users_of_every_brand_is_logged(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for endpoint, client in ((ENDPOINT, None), (None, {})):
        make(endpoint, client=client)
        assert caplog.record_tuples == [("keystead_client", logging.WARNING, WARNING)]
        caplog.clear()
    make(ENDPOINT, brand="A")
    make(ENDPOINT, brand_token="ks_bt_x")
    make(ENDPOINT, verifier=VERIFIER, allow_anonymous=True)
    for options in ({"brand": "A"}, {"brand_token": "ks_bt_x"}, {"api_key": "ks_sk_x"}):
        make(client=options)
    monkeypatch.setenv("KEYSTEAD_BRAND", "A")
    make(ENDPOINT)
    make(client={})
    assert caplog.records == []


def test_the_environment_gives_the_brand_and_never_the_key_of_a_program(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old key would make every login fail."""
    monkeypatch.setenv("KEYSTEAD_BRAND", "A")
    monkeypatch.setenv("KEYSTEAD_API_KEY", "ks_sk_of_a_script")
    assert client_of(make(ENDPOINT)).brand == "A"
    assert client_of(make(ENDPOINT))._endpoint.api_key == ""
    assert client_of(make(client={})).brand == "A"
    assert client_of(make(client={}))._endpoint.api_key == "ks_sk_of_a_script"
    assert client_of(make(ENDPOINT, brand="B")).brand == "B"
    assert client_of(make(ENDPOINT, brand_token="ks_bt_x")).brand is None, "the token is of a brand"


def test_options_that_cannot_be_right_are_rejected(make: Make) -> None:
    with pytest.raises(ValueError, match="no endpoint"):
        make()
    with pytest.raises(ValueError, match="http"):
        make("http://auth.example.com")
    assert client_of(make("http://auth.example.com", allow_http=True)).url == "http://auth.example.com/graphql"
    with pytest.raises(ValueError, match="not a path"):
        make(ENDPOINT, public_paths=("auth",))
    with pytest.raises(ValueError, match="allow_anonymous=True"):
        make(ENDPOINT, verifier=VERIFIER)
