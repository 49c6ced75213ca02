"""Which paths are public, and where a browser is sent after it has logged in."""

from __future__ import annotations

import pytest

from keystead_client.answers import redirect
from keystead_client.asgi import Message, Scope
from keystead_client.paths import PathRules, login_location, path_within, redirect_target
from tests.sdk.site import Site

OPEN = ["/auth", "/auth/", "/auth/login", "/auth/a/b", "/auth/caf\u00e9", "/auth/.well-known", "/auth/..a"]
CLOSED = [
    ("/authors", None),
    ("/auth.json", None),
    ("/AUTH/login", None),
    ("/", None),
    ("", None),
    ("//auth", None),
    ("/auth//x", None),
    ("/auth/../orders", None),
    ("/auth/./x", None),
    ("/auth/..", None),
    ("/auth/../orders", b"/auth%2f..%2forders"),
    ("/auth/../orders", b"/auth/%2e%2e/orders"),
    ("/auth/x", b"/auth%2Fx"),
    ("/auth/%2e%2e/orders", b"/auth/%252e%252e/orders"),
    ("/auth\\..\\orders", None),
    ("/auth/\\..", b"/auth/%5c.."),
    ("/auth;/../orders", None),
    ("/auth/x\x00", None),
    ("/auth/\n", None),
    ("/x/auth", None),
    ("auth", None),
]


@pytest.mark.parametrize("path", OPEN)
def test_a_public_path_opens_what_is_below_it(path: str) -> None:
    assert PathRules(("/auth",)).hold(path, path.encode())


def test_a_query_that_a_server_leaves_on_the_raw_path_does_not_count() -> None:
    assert PathRules(("/auth",)).hold("/auth/login", b"/auth/login?redirect=%2Forders")


@pytest.mark.parametrize(("path", "raw"), CLOSED)
def test_nothing_else_is_opened(path: str, raw: bytes | None) -> None:
    assert not PathRules(("/auth",)).hold(path, raw)


@pytest.mark.parametrize(("path", "raw"), CLOSED)
async def test_the_middleware_keeps_them_closed(site: Site, path: str, raw: bytes | None) -> None:
    sent: list[Message] = []
    scope: Scope = {"type": "http", "method": "GET", "path": path, "raw_path": raw, "query_string": b"", "headers": []}

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await site.middleware(scope, receive, send)
    assert sent[0]["status"] == 303


def test_the_root_is_one_page_and_not_everything() -> None:
    rules = PathRules(("/",))
    assert rules.hold("/")
    assert not rules.hold("/orders")
    assert PathRules(("/auth/",)).hold("/auth/x")


@pytest.mark.parametrize("prefix", ["auth", "", "/auth/*", "/a//b", "/a/../b", "/a%20", "/a?x"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        PathRules((prefix,))


def test_one_string_in_place_of_several_is_refused() -> None:
    with pytest.raises(TypeError):
        PathRules("/auth")


@pytest.mark.parametrize(
    ("path", "root", "within"),
    [("/shop/x", "/shop", "/x"), ("/shop", "/shop", "/"), ("/shopping", "/shop", "/shopping"), ("/x", "", "/x")],
)
def test_the_prefix_of_a_mount_does_not_count(path: str, root: str, within: str) -> None:
    assert path_within(path, root) == within


@pytest.mark.parametrize("target", ["/", "/orders", "/orders?page=2#top", "/a%20b", "/x?next=https://else.example"])
def test_a_path_of_this_origin_is_gone_back_to(target: str) -> None:
    assert redirect_target(target, "/home") == target


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "orders",
        "https://else.example",
        "HTTPS:else.example",
        "//else.example",
        "///else.example",
        "/\\else.example",
        "\\\\else.example",
        "/\t/else.example",
        "/\n/else.example",
        "\t//else.example",
        " //else.example",
        "/%2f/else.example",
        "/%5celse.example",
        "/%09/else.example",
        "/.//else.example",
        "/..//else.example",
        "/x/../..//else.example",
        "/%2e//else.example",
        "/x\r\nSet-Cookie: a=b",
        "/x%0d%0aSet-Cookie:a=b",
        "javascript:alert(1)",
        "data:text/html,x",
        "@else.example",
        "/" + "x" * 3000,
    ],
)
def test_no_redirect_leads_elsewhere(target: str | None) -> None:
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
async def test_a_mount_point_taken_from_the_request_leads_nowhere_else(site: Site, root: str, page: str) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": f"{root}/orders", "root_path": root, "headers": []}
    await site.middleware(scope, _nothing, send)
    headers = dict(sent[0]["headers"])
    assert headers[b"location"].startswith(f"{page}?redirect=/".encode())


def test_a_location_stays_in_its_line() -> None:
    location = "/auth\r\nX: y\u2028\x7f?a=%2f&b=[1]#c"
    assert redirect(location).headers[1] == (b"location", b"/auth%0D%0AX:%20y%E2%80%A8%7F?a=%2f&b=[1]#c")


async def _nothing() -> Message:
    return {}


def test_a_login_path_may_have_a_query() -> None:
    assert login_location("/auth?step=1", "/x", b"") == "/auth?step=1&redirect=/x"
