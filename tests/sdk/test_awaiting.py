"""Guard against a forgotten ``await``: a condition raises, and the response fails unless it is an error page."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
import pytest
import strawberry
from asgiref.sync import async_to_sync, iscoroutinefunction
from fastapi import Depends, FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
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


def careless() -> Any:
    """A dependency without ``async`` and ``await``."""
    return auth.get_user()


def make_app() -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def remember(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path.startswith("/auth/held"):
            request.state.user = auth.get_user()
        return await call_next(request)

    @app.get("/auth/dropped")
    def dropped() -> str:
        auth.get_user()  # type: ignore[unused-coroutine]
        return "secret"

    @app.get("/auth/held")
    async def held(request: Request) -> str:
        return "secret" if request.state.user is not None else "stranger"

    @app.get("/auth/held/awaited")
    async def awaited(request: Request) -> str:
        return "secret" if await request.state.user is not None else "stranger"

    @app.get("/auth/held/missing")
    async def missing() -> str:
        raise HTTPException(404)

    @app.get("/auth/held/guarded")
    async def guarded() -> Any:
        return await auth.require_auth()

    @app.get("/auth/dependency")
    async def dependency(user: Any = Depends(careless)) -> str:  # noqa: B008
        return "secret" if user is not None else "stranger"

    @app.get("/auth/doubted")
    async def doubted() -> str:
        try:
            return "member" if auth.get_user() else "secret"  # type: ignore[truthy-bool]
        except TypeError:
            return "secret"

    @app.get("/auth/stream")
    async def stream(request: Request) -> Response:
        async def parts() -> Any:
            yield "begun "
            request.state.held = [auth.get_user(), auth.get_user()]
            auth.get_user()  # type: ignore[unused-coroutine]
            yield "ended"

        return StreamingResponse(parts())

    return app


async def answer(path: str, app: Any = None) -> httpx.Response:
    """What a stranger gets."""
    async with AsyncClient("https://id.example.com", brand="shop") as client:
        transport = httpx.ASGITransport(app=KeysteadMiddleware(app or make_app(), client=client))
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.example.com") as visitor:
            return await visitor.get(path)


@pytest.mark.attack("A101")
@pytest.mark.parametrize("path", ["/auth/dropped", "/auth/held", "/auth/dependency", "/auth/doubted"])
async def test_an_unawaited_call_fails_the_response(path: str) -> None:
    with pytest.raises(RuntimeError, match=REJECTED):
        await answer(path)


@pytest.mark.attack("A101")
async def test_an_application_that_catches_the_error_fails_again() -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await make_app()(scope, receive, send)
        except RuntimeError:
            await PlainTextResponse("secret")(scope, receive, send)

    with pytest.raises(RuntimeError, match=REJECTED):
        await answer("/auth/held", stubborn)


@pytest.mark.attack("A101")
async def test_an_unawaited_call_keeps_a_websocket_from_being_accepted() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        held = auth.get_user()
        await send({"type": "websocket.accept"})
        held.close()

    async def nothing(message: Any = None) -> Any:
        raise AssertionError(message)

    async with AsyncClient("https://id.example.com", brand="shop") as client:
        scope = {"type": "websocket", "path": "/auth/live", "scheme": "wss", "headers": [], "query_string": b""}
        with pytest.raises(RuntimeError, match=REJECTED):
            await KeysteadMiddleware(app, client=client)(scope, nothing, nothing)


async def test_a_call_that_is_awaited_later_passes(caplog: pytest.LogCaptureFixture) -> None:
    assert (await answer("/auth/held/awaited")).json() == "stranger"
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("path", "status"), [("/auth/held/missing", 404), ("/auth/held/guarded", 303), ("/auth/stream", 200)]
)
async def test_error_pages_and_begun_streams_are_sent_and_the_call_is_logged(
    path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await answer(path)).status_code == status
    assert caplog.record_tuples == [("keystead_client", logging.ERROR, LOGGED)]


@pytest.mark.attack("A101")
@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_unawaited_call_fails_a_wsgi_response(is_lazy: bool, is_async: bool) -> None:
    async def view() -> bytes:
        auth.get_user()  # type: ignore[unused-coroutine]
        return b"secret"

    def blocking_view() -> bytes:
        auth.get_user()  # type: ignore[unused-coroutine]
        return b"secret"

    def make() -> bytes:
        return asyncio.run(view()) if is_async else blocking_view()

    def lazily() -> Iterable[bytes]:
        yield make()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = lazily() if is_lazy else [make()]
        start_response("200 OK", [])
        return body

    with Client("https://id.example.com", brand="shop") as client:
        transport = httpx.WSGITransport(app=wsgi.KeysteadMiddleware(app, client=client))
        with (
            httpx.Client(transport=transport, base_url="https://shop.example.com") as visitor,
            pytest.raises(RuntimeError, match=REJECTED),
        ):
            visitor.get("/auth/held")
