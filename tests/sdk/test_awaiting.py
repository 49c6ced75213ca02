"""Guard against a forgotten ``await``: a condition raises, and the response fails unless it is an error page."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
import pytest
import strawberry
from asgiref.sync import async_to_sync, iscoroutinefunction
from fastapi import Depends, FastAPI
from starlette.responses import PlainTextResponse
from strawberry.permission import BasePermission

from keystead_client import AsyncClient, Client, auth, wsgi
from keystead_client._request import RequestState, current_request
from keystead_client.middleware import KeysteadMiddleware, Receive, Scope, Send

ANN = {"id": "1", "email": "ann@example.com", "is_anonymous": False}
LOGGED = "auth.get_user() was called without `await`, so it did nothing"
REJECTED = r"auth\.get_user\(\) was called without `await`"
FUNCTIONS: list[Callable[..., Coroutine[Any, Any, object]]] = [
    auth.get_user,
    auth.logged_in,
    auth.login,
    auth.logout,
    auth.refresh_tokens,
    auth.require_auth,
]

pytestmark = pytest.mark.filterwarnings("ignore:.*never awaited")


class AnnsRequest:
    """A request of a user who is logged in."""

    def __init__(self) -> None:
        self.unawaited: list[str] = []

    async def user(self) -> Any:
        await asyncio.sleep(0)
        return ANN


@pytest.fixture
def served() -> Iterator[None]:
    token = current_request.set(cast("RequestState", AnnsRequest()))
    yield
    current_request.reset(token)


@pytest.mark.attack("A101")
@pytest.mark.parametrize("function", FUNCTIONS)
async def test_a_condition_on_an_unawaited_call_raises(served: None, function: Callable[..., Any]) -> None:
    call = function(**({"email": "ann@example.com", "password": "x"} if function is auth.login else {}))
    for condition in (bool, lambda it: not it, lambda it: it or "stranger", lambda it: "secret" if it else ""):
        with pytest.raises(TypeError, match=rf"{function.__name__}\(\) has not been awaited"):
            condition(call)
    call.close()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_frameworks_see_coroutine_functions(function: Callable[..., Any]) -> None:
    assert iscoroutinefunction(function), "asgiref asks asyncio before Python 3.12, and inspect from then on"
    assert function.__module__ == "keystead_client.auth"
    assert str(inspect.signature(function)).startswith("(email" if function is auth.login else "(")


async def test_asyncio_runs_the_calls(served: None) -> None:
    assert asyncio.iscoroutine(call := auth.logged_in())
    assert await call is True
    assert await asyncio.create_task(auth.logged_in()) is True
    assert await asyncio.gather(auth.get_user(), auth.require_auth()) == [ANN, ANN]
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(auth.get_user(), name="who")
    assert task.result() == ANN
    cancelled = asyncio.create_task(auth.logged_in())
    assert repr(cancelled), "before it runs: Python 3.13 tests its coroutine"
    await asyncio.sleep(0)
    assert repr(cancelled)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled


def test_async_to_sync_runs_the_calls(served: None) -> None:
    assert async_to_sync(auth.logged_in)() is True


async def test_fastapi_and_strawberry_await_the_calls(served: None) -> None:
    app = FastAPI()

    @app.get("/mail")
    def mail(user: dict[str, Any] = Depends(auth.get_user)) -> str:  # noqa: B008
        return str(user["email"])

    class IsLoggedIn(BasePermission):
        message = "Log in."

        def has_permission(self, source: Any, info: strawberry.Info, **kwargs: Any) -> bool | Awaitable[bool]:
            return auth.logged_in()

    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[IsLoggedIn])  # type: ignore[untyped-decorator]
        async def secret(self) -> str:
            return "tea"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as browser:
        assert (await browser.get("/mail")).json() == "ann@example.com"
    assert (await strawberry.Schema(Query).execute("{ secret }")).data == {"secret": "tea"}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Forgets to await, in the way that the path says."""
    held: list[Any] = []
    match scope["path"].removeprefix("/auth/"):
        case "dropped":
            auth.get_user()  # type: ignore[unused-coroutine]
        case "thread":
            await asyncio.to_thread(auth.get_user)  # type: ignore[unused-coroutine]
        case "doubted":
            with suppress(TypeError):
                bool(auth.get_user())
        case "stream":
            pass
        case _:
            held.append(auth.get_user())
    if scope["path"] == "/auth/later":
        assert await held.pop() is None
    if scope["path"] == "/auth/guarded":
        await auth.require_auth()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    status = 404 if scope["path"] == "/auth/missing" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    if scope["path"] == "/auth/stream":
        held += [auth.get_user(), auth.get_user()]
    await send({"type": "http.response.body", "body": b"secret"})


async def answer(path: str, app: Any = app) -> httpx.Response:
    """What a visitor without a session gets."""
    async with AsyncClient("https://id.example.com", brand="shop") as client:
        transport = httpx.ASGITransport(app=KeysteadMiddleware(app, client=client))
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.example.com") as visitor:
            return await visitor.get(path)


@pytest.mark.attack("A101")
@pytest.mark.parametrize("path", ["/auth/dropped", "/auth/thread", "/auth/held", "/auth/doubted"])
async def test_an_unawaited_call_fails_the_response(path: str) -> None:
    with pytest.raises(RuntimeError, match=REJECTED):
        await answer(path)


@pytest.mark.attack("A101")
async def test_a_framework_cannot_save_the_response() -> None:
    inside = FastAPI()

    @inside.get("/auth/dependency")
    async def dependency(user: Any = Depends(lambda: auth.get_user())) -> str:  # noqa: B008
        return "secret" if user is not None else "stranger"

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await inside(scope, receive, send)
        except RuntimeError:
            await PlainTextResponse("secret")(scope, receive, send)

    for around in (inside, stubborn):
        with pytest.raises(RuntimeError, match=REJECTED):
            await answer("/auth/dependency", around)


@pytest.mark.attack("A101")
async def test_an_unawaited_call_keeps_a_websocket_from_being_accepted() -> None:
    async def nothing(message: Any = None) -> Any:
        raise AssertionError(message)

    async with AsyncClient("https://id.example.com", brand="shop") as client:
        scope = {"type": "websocket", "path": "/auth/held", "scheme": "wss", "headers": [], "query_string": b""}
        with pytest.raises(RuntimeError, match=REJECTED):
            await KeysteadMiddleware(app, client=client)(scope, nothing, nothing)


@pytest.mark.parametrize(
    ("path", "status", "logged"),
    [("/auth/later", 200, 0), ("/auth/missing", 404, 1), ("/auth/guarded", 303, 1), ("/auth/stream", 200, 1)],
)
async def test_error_pages_and_begun_streams_are_sent_and_the_call_is_logged(
    path: str, status: int, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await answer(path)).status_code == status
    assert caplog.record_tuples == [("keystead_client", logging.ERROR, LOGGED)] * logged


@pytest.mark.attack("A101")
@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_unawaited_call_fails_a_wsgi_response(is_lazy: bool, is_async: bool) -> None:
    async def view() -> bytes:
        auth.get_user()  # type: ignore[unused-coroutine]
        return b"secret"

    def make() -> Iterable[bytes]:
        if is_async:
            yield asyncio.run(view())
        else:
            auth.get_user()  # type: ignore[unused-coroutine]
            yield b"secret"

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = make() if is_lazy else list(make())
        start_response("200 OK", [])
        return body

    with Client("https://id.example.com", brand="shop") as client:
        transport = httpx.WSGITransport(app=wsgi.KeysteadMiddleware(app, client=client))
        with (
            httpx.Client(transport=transport, base_url="https://shop.example.com") as visitor,
            pytest.raises(RuntimeError, match=REJECTED),
        ):
            visitor.get("/auth/held")
