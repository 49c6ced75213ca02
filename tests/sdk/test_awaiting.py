"""An ``await`` that was forgotten opens no door, and whoever awaits notices nothing."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, cast

import httpx
import pytest
import strawberry
from asgiref.sync import async_to_sync, iscoroutinefunction
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from strawberry.permission import BasePermission

from keystead_client import AsyncClient, auth
from keystead_client.browser import Browser, current_browser
from keystead_client.middleware import KeysteadMiddleware
from keystead_client.unawaited import Unawaited

ANN = {"id": "1", "email": "ann@example.com", "is_anonymous": False}
Ask = Callable[..., Coroutine[Any, Any, object]]
ASKING: list[Ask] = [
    auth.get_user,
    auth.logged_in,
    auth.login,
    auth.logout,
    auth.refresh_tokens,
    auth.require_auth,
]


class Gate:
    is_for_threads = False


class WsgiGate:
    is_for_threads = True


class Anns:
    """The browser of somebody who is logged in, as far as the question goes."""

    gate: Gate | WsgiGate = Gate()

    def __init__(self) -> None:
        self.unawaited = Unawaited()

    async def user(self) -> dict[str, Any]:
        """After a while."""
        await asyncio.sleep(0)
        return ANN


@pytest.fixture(autouse=True)
def served() -> Iterator[None]:
    """A request of hers."""
    token = current_browser.set(cast("Browser", Anns()))
    yield
    current_browser.reset(token)


@pytest.mark.attack("A101")
@pytest.mark.parametrize("ask", ASKING)
async def test_nobody_is_let_in_by_a_forgotten_await(ask: Ask) -> None:
    given = {"email": "ann@example.com", "password": "x"} if ask is auth.login else {}
    forgotten = ask(**given)
    for doubt in (bool, lambda it: not it, lambda it: it or "nobody", lambda it: "secret" if it else ""):
        with pytest.raises(TypeError, match=rf"{ask.__name__}\(\) has not been awaited"):
            doubt(forgotten)
    forgotten.close()


@pytest.mark.attack("A101")
@pytest.mark.parametrize("ask", ASKING)
def test_in_a_wsgi_application_they_cannot_even_be_called(ask: Callable[..., object]) -> None:
    browser = Anns()
    browser.gate = WsgiGate()
    current_browser.set(cast("Browser", browser))
    given = ["ann@example.com", "x"] if ask is auth.login else []
    with pytest.raises(RuntimeError, match=r"use keystead_client\.wsgi\.auth"):
        ask(*given)


@pytest.mark.attack("A101")
@pytest.mark.parametrize("path", ["/auth/careless", "/auth/threaded"])
@pytest.mark.parametrize("is_outside", [False, True])
@pytest.mark.filterwarnings("ignore:.*never awaited")
async def test_what_is_called_and_dropped_makes_the_answer_an_error(path: str, is_outside: bool) -> None:
    async def careless(request: Request) -> Response:
        auth.require_auth()  # type: ignore[unused-coroutine]
        return PlainTextResponse("the secret")

    def threaded(request: Request) -> Response:
        auth.require_auth()  # type: ignore[unused-coroutine]
        return PlainTextResponse("the secret")

    app = Starlette(routes=[Route("/auth/careless", careless), Route("/auth/threaded", threaded)])
    async with AsyncClient("https://auth.example.com") as client:
        if is_outside:
            with pytest.raises(RuntimeError, match=r"require_auth\(\) was called without `await`"):
                await get(KeysteadMiddleware(app, client=client), path)
            return
        app.add_middleware(KeysteadMiddleware, client=client)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as visitor:
            answer = await visitor.get(path)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


@pytest.mark.parametrize("ask", ASKING)
def test_they_pass_for_what_they_are(ask: Ask) -> None:
    assert iscoroutinefunction(ask), "asgiref asks asyncio before Python 3.12, and inspect from then on"
    assert ask.__module__ == "keystead_client.auth"
    assert "return" in inspect.get_annotations(ask)
    assert str(inspect.signature(ask)).startswith("(email" if ask is auth.login else "(")


async def test_what_they_return_is_a_coroutine() -> None:
    made = auth.logged_in()
    assert asyncio.iscoroutine(made)
    assert inspect.isawaitable(made)
    assert isinstance(made, Coroutine)
    assert "logged_in" in repr(made)
    assert await made is True
    with pytest.raises(RuntimeError, match="already awaited"):
        await made


async def test_asyncio_runs_them() -> None:
    assert await asyncio.create_task(auth.logged_in()) is True
    assert await asyncio.gather(auth.get_user(), auth.require_auth()) == [ANN, ANN]
    assert await asyncio.wait_for(auth.get_user(), 5) == ANN
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(auth.get_user(), name="who")
    assert task.result() == ANN


async def test_a_task_of_one_can_be_cancelled() -> None:
    ended: list[str] = []

    class Slow(Anns):
        async def user(self) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("ended")

    current_browser.set(cast("Browser", Slow()))
    task = asyncio.create_task(auth.logged_in())
    await asyncio.sleep(0)
    repr(task), task.get_stack()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["ended"]


def test_asyncio_runs_what_awaits_them() -> None:
    async def main() -> bool:
        return await auth.logged_in()

    assert asyncio.run(main()) is True
    assert async_to_sync(auth.logged_in)() is True


async def get(app: Any, path: str) -> Any:
    """The answer of an application, as JSON."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        return (await browser.get(path)).json()


async def test_fastapi_takes_them_for_dependencies_and_endpoints() -> None:
    app = FastAPI()

    @app.get("/mail")
    def mail(user: dict[str, Any] = Depends(auth.get_user)) -> str:  # noqa: B008
        return str(user["email"])

    app.get("/logged-in")(auth.logged_in)
    assert await get(app, "/mail") == "ann@example.com"
    assert await get(app, "/logged-in") is True


async def test_starlette_calls_an_endpoint_that_awaits_them() -> None:
    async def page(request: Request) -> Response:
        return PlainTextResponse("1" if await auth.logged_in() else "0")

    assert await get(Starlette(routes=[Route("/", page)]), "/") == 1


async def test_strawberry_awaits_a_permission_that_forgot_to() -> None:
    class IsLoggedIn(BasePermission):
        message = "Log in."

        def has_permission(self, source: Any, info: strawberry.Info, **kwargs: Any) -> bool | Awaitable[bool]:
            return auth.logged_in()

    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[IsLoggedIn])  # type: ignore[untyped-decorator]
        async def secret(self) -> str:
            return "tea"

    schema = strawberry.Schema(Query)
    assert (await schema.execute("{ secret }")).data == {"secret": "tea"}

    class Nobodys(Anns):
        async def user(self) -> Any:
            return None

    current_browser.set(cast("Browser", Nobodys()))
    refused = await schema.execute("{ secret }")
    assert refused.data is None
    assert [error.message for error in refused.errors or ()] == ["Log in."]
