"""Where ``require_auth(redirect_to)`` sends a browser, whoever has chosen the place."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request

from keystead_client import AsyncClient, auth
from keystead_client.middleware import KeysteadMiddleware

HOME = "/auth/login?redirect="


def make_shop() -> FastAPI:
    app = FastAPI()

    @app.get("/auth/orders")
    async def orders(user: Any = Depends(auth.require_auth)) -> Any:  # noqa: B008
        return user

    @app.get("/auth/join", name="join")
    async def join(request: Request) -> Any:
        return await auth.require_auth(redirect_to=request.url_for("join"))  # type: ignore[arg-type]

    return app


async def location(path: str, origin: str = "https://shop.example.com", **given: str) -> str:
    """Where a stranger is sent from there."""
    async with AsyncClient("https://id.example.com") as client:
        app = KeysteadMiddleware(make_shop(), client=client, allowed_origins=("https://login.example.com",))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=origin) as visitor:
            answer = await visitor.get(path, params=given)
    assert answer.status_code == 303
    return answer.headers["location"]


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/login",
        "http://evil.example",
        "HTTPS://evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https:///evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/%5cevil.example",
        "https://shop.example.com@evil.example",
        "https://login.example.com\\@evil.example",
        "https://login.example.com.evil.example",
        "https://login.example.com:444/",
        "http://login.example.com/",
        "http://shop.example.com/",
        " https://evil.example",
        "javascript:alert(1)",
        "join",
        "",
    ],
)
async def test_a_request_cannot_choose_another_origin(place: str) -> None:
    assert (await location("/auth/orders", redirect_to=place)).startswith(HOME)


@pytest.mark.parametrize(
    "place",
    [
        "/join",
        "/join?plan=2",
        "https://shop.example.com/join",
        "https://login.example.com",
        "https://login.example.com/in?app=shop",
    ],
)
async def test_a_path_and_a_known_origin_are_taken(place: str) -> None:
    joint = "&" if "?" in place else "?"
    assert (await location("/auth/orders", redirect_to=place)).startswith(f"{place}{joint}redirect=/auth/orders")


async def test_an_address_that_starlette_makes_is_taken() -> None:
    assert await location("/auth/join") == "https://shop.example.com/auth/join?redirect=/auth/join"
