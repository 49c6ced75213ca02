"""The dependencies of ``keystead_client.fastapi``, with the middleware added to the application or around it."""

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
from keystead_client._request import retry_after
from keystead_client.async_client import AsyncClient
from keystead_client.errors import ServerBusy
from keystead_client.fastapi import CurrentUser, OptionalUser, PageUser, redirect_back
from keystead_client.middleware import KeysteadMiddleware
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.sdk.site import Wire, set_cookies

ANN = {"email": "ann@example.com", "password": PASSWORD}


def make_shop() -> FastAPI:
    app = FastAPI()

    @app.post("/auth/login")
    async def login(request: Request) -> Response:
        result = await auth.login(**await request.json())
        return redirect_back(request) if result.success else Response(status_code=403)

    @app.get("/api/open/me")
    @app.get("/orders")
    async def me(user: CurrentUser) -> str:
        return str(user["id"])

    @app.get("/open/greeting")
    def greeting(user: OptionalUser) -> str:
        return str(user["email"]) if user else "stranger"

    @app.get("/open/page")
    async def page(user: PageUser) -> str:
        return str(user["id"])

    return app


@pytest.fixture(params=["added", "around"])
async def visitor(
    request: pytest.FixtureRequest, wire: Wire, clock: ManualClock, ann: User
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in the shop, not logged in."""
    async with AsyncClient("https://auth.example.com", transport=wire, retries=0) as client:
        options: dict[str, Any] = {"client": client, "clock": lambda: clock.now().timestamp()}
        options["public_paths"] = ("/auth", "/open", "/api/open")
        shop: Any = make_shop()
        if request.param == "added":
            shop.add_middleware(KeysteadMiddleware, **options)
        else:
            shop = KeysteadMiddleware(shop, **options)
        transport = httpx.ASGITransport(app=shop)
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.example.com") as browser:
            yield browser


async def test_login_and_pages(visitor: httpx.AsyncClient, wire: Wire, clock: ManualClock, ann: User) -> None:
    assert (await visitor.get("/open/greeting")).json() == "stranger"
    rejected = await visitor.get("/api/open/me")
    assert (rejected.status_code, rejected.headers["www-authenticate"]) == (401, 'Cookie realm="keystead"')
    page = await visitor.get("/open/page")
    assert (page.status_code, page.headers["location"]) == (303, "/auth/login?redirect=/open/page")
    location = (await visitor.get("/orders?page=2")).headers["location"]
    login = await visitor.post(location, json=ANN)
    assert (login.status_code, login.headers["location"], len(set_cookies(login))) == (303, "/orders?page=2", 2)
    for path in ("/orders?page=2", "/open/page", "/api/open/me"):
        assert (await visitor.get(path)).json() == ann.id
    assert (await visitor.get("/open/greeting")).json() == "ann@example.com"

    clock.advance(seconds=2)
    wire.is_cut = True
    for path in ("/orders", "/open/page", "/api/open/me"):
        response = await visitor.get(path)
        assert (response.status_code, int(response.headers["retry-after"]) > 0) == (503, True)
    assert (await visitor.get("/open/greeting")).json() == "stranger"
    assert len(visitor.cookies) == 2


@pytest.mark.attack("A101")
@pytest.mark.parametrize("target", ["//else.example", "https://else.example", "/%5celse.example"])
async def test_the_login_is_no_open_redirect(visitor: httpx.AsyncClient, target: str) -> None:
    login = await visitor.post("/auth/login", params={"redirect": target}, json=ANN)
    assert login.headers["location"] == "/"


@pytest.mark.parametrize(("asked", "sent"), [(None, "5"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (2.4, "3")])
def test_retry_after_is_at_least_what_the_server_asks_for(asked: float | None, sent: str) -> None:
    assert retry_after(ServerBusy("busy", {} if asked is None else {"retryAfter": asked})) == sent


def test_the_middleware_imports_no_framework() -> None:
    program = """
import sys
import keystead_client.middleware, keystead_client.auth, keystead_client.cookies, keystead_client.wsgi
assert not {"fastapi", "starlette", "flask", "django", "keystead", "joserfc"} & set(sys.modules)
"""
    checked = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": "sdk/src"}, capture_output=True)
    assert checked.returncode == 0, checked.stderr
