"""FastAPI behind the middleware: its dependencies, from inside and from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from keystead.users.model import User
from keystead_client import auth
from keystead_client.async_client import AsyncClient
from keystead_client.fastapi import CurrentUser, OptionalUser, PageUser
from keystead_client.middleware import KeysteadMiddleware
from keystead_client.starlette import redirect_back
from tests.clocks import ManualClock
from tests.sdk.conftest import PASSWORD
from tests.sdk.site import Wire, set_cookies

PUBLIC = ("/auth", "/open", "/api/open")


@pytest.fixture(params=["added", "around"])
async def shop(request: pytest.FixtureRequest, wire: Wire, clock: ManualClock, ann: User) -> AsyncIterator[Any]:
    """A FastAPI application with the middleware added to it, or wrapped around it."""
    client = AsyncClient("https://auth.example.com", transport=wire, retries=0)
    options: dict[str, Any] = {
        "public_paths": PUBLIC,
        "client": client,
        "clock": lambda: clock.now().timestamp(),
    }
    app = make_shop()
    if request.param == "added":
        app.add_middleware(KeysteadMiddleware, **options)
        yield app
    else:
        yield KeysteadMiddleware(app, **options)
    await client.close()


@pytest.fixture
async def visitor(shop: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in the shop, not logged in."""
    transport = httpx.ASGITransport(app=shop)
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.example.com") as browser:
        yield browser


def make_shop() -> FastAPI:
    app = FastAPI()

    @app.post("/auth/login")
    async def login(request: Request) -> Response:
        given = await request.json()
        result = await auth.login(given["email"], given["password"])
        return redirect_back(request) if result.success else Response(status_code=403)

    @app.get("/api/open/me")
    async def me(user: CurrentUser) -> str:
        return str(user["id"])

    @app.get("/open/greeting")
    def greeting(user: OptionalUser) -> str:
        return str(user["email"]) if user else "stranger"

    @app.get("/open/page")
    async def page(user: PageUser) -> str:
        return str(user["id"])

    @app.get("/orders")
    async def orders(user: CurrentUser) -> str:
        return str(user["id"])

    return app


async def test_the_journey_of_a_visitor(visitor: httpx.AsyncClient, ann: User) -> None:
    assert (await visitor.get("/open/greeting")).json() == "stranger"
    sent_away = await visitor.get("/orders?page=2")
    assert sent_away.status_code == 303
    location = sent_away.headers["location"]
    login = await visitor.post(location, json={"email": "ann@example.com", "password": PASSWORD})
    assert (login.status_code, login.headers["location"]) == (303, "/orders?page=2")
    assert len(set_cookies(login)) == 2
    assert (await visitor.get("/orders?page=2")).json() == ann.id
    assert (await visitor.get("/open/page")).json() == ann.id
    assert (await visitor.get("/open/greeting")).json() == "ann@example.com"


async def test_the_dependencies_refuse_on_public_paths_too(visitor: httpx.AsyncClient) -> None:
    refused = await visitor.get("/api/open/me")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Cookie realm="keystead"')
    page = await visitor.get("/open/page")
    assert (page.status_code, page.headers["location"]) == (303, "/auth/login?redirect=/open/page")


@pytest.mark.attack("A101")
@pytest.mark.parametrize("target", ["//else.example", "https://else.example", "/%5celse.example"])
async def test_the_login_redirects_to_no_other_origin(visitor: httpx.AsyncClient, target: str) -> None:
    given = {"email": "ann@example.com", "password": PASSWORD}
    login = await visitor.post("/auth/login", params={"redirect": target}, json=given)
    assert login.headers["location"] == "/"


async def test_an_outage_is_503_everywhere(visitor: httpx.AsyncClient, wire: Wire, clock: ManualClock) -> None:
    await visitor.post("/auth/login", json={"email": "ann@example.com", "password": PASSWORD})
    clock.advance(seconds=2)
    wire.is_cut = True
    for path in ("/orders", "/open/page", "/api/open/me"):
        response = await visitor.get(path)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
    assert (await visitor.get("/open/greeting")).json() == "stranger"
    assert len(visitor.cookies) == 2


@pytest.mark.parametrize("module", ["middleware", "auth", "cookies"])
def test_the_middleware_imports_no_framework(module: str) -> None:
    program = f"""
import sys
import keystead_client.{module}
assert not {{"fastapi", "starlette", "keystead", "joserfc"}} & set(sys.modules)
"""
    checked = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": "sdk/src"}, capture_output=True)
    assert checked.returncode == 0, checked.stderr
