"""The examples of docs/sdk.md and docs/sdk-web.md do what they say, against a real server."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import httpx
import pytest
from django.test import override_settings
from django.urls import path

from keystead.context import ActiveBrand, Server
from keystead_client import AsyncClient, Client
from tests.api import listening
from tests.house_rules.source import page
from tests.make import make_api_key, make_brand, make_entity, make_user
from tests.sdk.wsgi.django_shop import make_django

EMAIL = "ann@example.com"
PASSWORD = "rainbow123"
ADDRESS = "https://id.example.com"


def example(says: str) -> str:
    """The one example that contains ``says``."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page("sdk.md") + page("sdk-web.md"), re.MULTILINE | re.DOTALL)
    (found,) = [str(block) for block in blocks if says in block]
    return found


def run(code: str, **given: object) -> dict[str, Any]:
    """The names that the code leaves; it begins with those that are given. A module, since Strawberry looks for one."""
    module = sys.modules["sdk_example"] = ModuleType("sdk_example")
    vars(module).update(given)
    exec(code, vars(module))
    return vars(module)


async def against(server: Server, act: Callable[[str], object]) -> None:
    """``act`` in a thread, with the address of the listening server."""
    async with listening(server.settings, server) as url:
        await asyncio.to_thread(act, url)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """``rainbowMakers``, where Ann can log in."""
    brand = await make_brand(server)
    await make_user(server, brand, EMAIL, password=PASSWORD)
    return brand


async def test_a_program(server: Server, brand: ActiveBrand, capsys: pytest.CaptureFixture[str]) -> None:
    code = example("client.logout()")
    await against(server, lambda url: run(code.replace(ADDRESS, url)))
    assert capsys.readouterr().out.splitlines()[-1] == EMAIL


async def test_records(server: Server, brand: ActiveBrand, capsys: pytest.CaptureFixture[str]) -> None:
    _, key = await make_api_key(server, await make_entity(server, brand), "admin")
    code = example('entity("customer")').replace("ks_sk_...", key.reveal())
    await against(server, lambda url: run(code.replace(ADDRESS, url)))
    assert capsys.readouterr().out.splitlines()[-1] == "1 ['Ann']"


async def test_a_web_application(server: Server, brand: ActiveBrand) -> None:
    async with listening(server.settings, server) as url:
        app = run(example("CurrentUser").replace(ADDRESS, url))["app"]
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
            assert (await browser.get("/orders")).headers["location"] == "/auth/login?redirect=/orders"
            assert (await browser.get("/api/me")).status_code == 401
            refused = await browser.post("/auth/login", data={"email": EMAIL, "password": "wrong"})
            assert set(refused.json()) == {"error"}
            let_in = await browser.post("/auth/login", data={"email": EMAIL, "password": PASSWORD})
            assert let_in.status_code == 303
            assert (await browser.get("/api/me")).json()["email"] == EMAIL


async def test_flask(server: Server, brand: ActiveBrand) -> None:
    def visit(url: str) -> None:
        app = run(example("from flask import").replace(ADDRESS, url))["app"]
        with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://localhost") as browser:
            assert browser.get("/orders").headers["location"] == "/auth/login?redirect=/orders"
            assert browser.get("/api/me").status_code == 401
            assert browser.post("/auth/login", data={"email": EMAIL, "password": "wrong"}).status_code == 401
            let_in = browser.post("/auth/login?redirect=/orders", data={"email": EMAIL, "password": PASSWORD})
            assert (let_in.status_code, let_in.headers["location"]) == (303, "/orders")
            assert browser.get("/api/me").json()["email"] == EMAIL

    await against(server, visit)


async def test_django(server: Server, brand: ActiveBrand) -> None:
    make_django()
    pages = ModuleType("pages")

    def visit(url: str) -> None:
        with Client(url, brand=brand.name) as client:
            token = client.login(EMAIL, PASSWORD).auth_token
        views = run(example("from django.http"))
        vars(pages)["urlpatterns"] = [path("me", views["me"]), path("auth/whoami", views["whoami"])]
        app = run(example("get_wsgi_application").replace(ADDRESS, url))["application"]
        with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://localhost") as browser:
            assert browser.get("/me").headers["location"] == "/auth/login?redirect=/me"
            assert browser.get("/auth/whoami").json() == {"logged_in": False}
            cookie = {"Cookie": f"keystead_auth_token={token}"}
            assert browser.get("/me", headers=cookie).json()["email"] == EMAIL
            assert browser.get("/auth/whoami", headers=cookie).json() == {"logged_in": True}

    with override_settings(ROOT_URLCONF=pages):
        await against(server, visit)


PEOPLE = {
    "rob@example.com": ("read", "write"),
    "bea@example.com": ("order:create", "order:read:own"),
    "tim@example.com": ("customer:read",),
}
ORDERS = "{ motto orders }"


@pytest.fixture
async def shop(server: Server, brand: ActiveBrand) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str]]]:
    """A browser at the Strawberry API, and the access tokens of people with and without permissions."""
    async with listening(server.settings, server) as url, AsyncClient(url) as client:
        tokens = {}
        for email, permissions in PEOPLE.items():
            await make_user(server, brand, email, password=PASSWORD, permissions=permissions)
            tokens[email[:3]] = (await client.login_with(email, PASSWORD, brand=brand.name)).auth_token or ""
        elsewhere = await make_brand(server, "elsewhere")
        await make_user(server, elsewhere, "eve@example.com", password=PASSWORD, permissions=("admin",))
        tokens["eve"] = (await client.login_with("eve@example.com", PASSWORD, brand="elsewhere")).auth_token or ""
        names = run(example("import strawberry").replace(ADDRESS, url))
        transport = httpx.ASGITransport(app=names["app"], client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
            yield browser, tokens
        await names["keystead"].close()


@pytest.mark.parametrize("way", ["cookie", "bearer"])
async def test_strawberry(shop: tuple[httpx.AsyncClient, dict[str, str]], way: str) -> None:
    browser, tokens = shop

    async def asked(document: str, who: str) -> Any:
        token = tokens.get(who, "")
        shown = {"Cookie": f"keystead_auth_token={token}"} if way == "cookie" else {"Authorization": f"bearer {token}"}
        answer = (await browser.post("/graphql", json={"query": document}, headers=shown if token else {})).json()
        return answer["errors"][0]["extensions"] if "errors" in answer else answer["data"]

    assert await asked("{ motto }", "nobody") == {"motto": "for everybody"}
    for who in ("nobody", "eve"):
        assert await asked(ORDERS, who) == {"code": "UNAUTHENTICATED"}
    assert await asked(ORDERS, "tim") == {"code": "FORBIDDEN", "permission": "order:read:own"}
    assert await asked('mutation { order(what: "tea") }', "tim") == {"code": "FORBIDDEN", "permission": "order:create"}
    assert await asked('mutation { order(what: "paint") }', "bea") == {"order": True}
    assert await asked('mutation { order(what: "brushes") }', "rob") == {"order": True}
    assert await asked(ORDERS, "bea") == {"motto": "for everybody", "orders": ["paint"]}
    assert await asked(ORDERS, "rob") == {"motto": "for everybody", "orders": ["paint", "brushes"]}


@pytest.mark.parametrize("header", ["Cookie", "Authorization"])
async def test_strawberry_without_the_server_lets_nobody_in(server: Server, header: str) -> None:
    async with listening(server.settings, server) as url:
        pass
    names = run(example("import strawberry").replace(ADDRESS, url))
    shown = {"Cookie": "keystead_auth_token=a.b.c", "Authorization": "Bearer a.b.c"}
    transport = httpx.ASGITransport(app=names["app"], client=("127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        answer = await browser.post("/graphql", json={"query": ORDERS}, headers={header: shown[header]})
        assert answer.status_code == 503


async def test_a_bad_bearer_token_is_not_made_good_by_a_cookie(
    shop: tuple[httpx.AsyncClient, dict[str, str]],
) -> None:
    browser, tokens = shop
    shown = {"Cookie": f"keystead_auth_token={tokens['rob']}", "Authorization": "Bearer not-one"}
    answer = (await browser.post("/graphql", json={"query": ORDERS}, headers=shown)).json()
    assert answer["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_checking_tokens(server: Server, brand: ActiveBrand) -> None:
    def check(url: str) -> None:
        with Client(url, brand=brand.name) as client:
            tokens = client.login(EMAIL, PASSWORD)
            user_id = client.me(["id"])["id"]
        issuer, brand_id = server.settings.base_url, brand.id
        code = example("Verifier(").replace(ADDRESS, issuer).replace("<id of the brand>", brand_id)
        # The issuer of the tests is a name without a host and has a clock of its own: ask where the server listens.
        code = code.replace('brand="', f'mode="online", endpoint="{url}", clock=now, brand="')
        names = run(code, now=lambda: server.clock.now().timestamp())
        assert names["user_id_of"](tokens.auth_token) == user_id

    await against(server, check)
