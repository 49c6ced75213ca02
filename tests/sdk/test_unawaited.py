"""An ``await`` that was forgotten, and whose coroutine outlives the view: the answer does not begin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from keystead_client import AsyncClient, Client, auth, wsgi
from keystead_client.middleware import KeysteadMiddleware

REFUSED = r"auth\.get_user\(\) was called without `await`"
LOGGED = "auth.get_user() was called without `await`, so it has done nothing"

pytestmark = pytest.mark.filterwarnings("ignore:.*never awaited")


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

    @app.get("/auth/held")
    async def held(request: Request) -> str:
        return "secret" if request.state.user is not None else "nobody"

    @app.get("/auth/held/awaited")
    async def awaited(request: Request) -> str:
        return "secret" if await request.state.user is not None else "nobody"

    @app.get("/auth/held/missing")
    async def missing() -> str:
        raise HTTPException(404)

    @app.get("/auth/held/guarded")
    async def guarded() -> Any:
        return await auth.require_auth()

    @app.get("/auth/dependency")
    async def dependency(user: Any = Depends(careless)) -> str:  # noqa: B008
        return "secret" if user is not None else "nobody"

    @app.get("/auth/doubted")
    async def doubted() -> str:
        try:
            return "member" if auth.get_user() else "secret"  # type: ignore[truthy-bool]
        except TypeError:
            return "secret"

    @app.get("/auth/gathered")
    async def gathered() -> Any:
        return await asyncio.gather(auth.get_user(), _missing())

    @app.get("/auth/stream")
    async def stream(request: Request) -> Response:
        async def parts() -> Any:
            yield "begun "
            request.state.held = [auth.get_user(), auth.get_user()]
            auth.get_user()  # type: ignore[unused-coroutine]
            yield "ended"

        return StreamingResponse(parts())

    return app


def _missing() -> Awaitable[None]:
    raise HTTPException(404)


async def answer(path: str, app: Any = None) -> httpx.Response:
    """What a stranger gets."""
    async with AsyncClient("https://id.example.com", brand="shop") as client:
        transport = httpx.ASGITransport(app=KeysteadMiddleware(app or make_app(), client=client))
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.example.com") as visitor:
            return await visitor.get(path)


@pytest.mark.attack("A101")
@pytest.mark.parametrize("path", ["/auth/held", "/auth/dependency", "/auth/doubted"])
async def test_what_is_held_and_not_awaited_makes_the_answer_an_error(path: str) -> None:
    with pytest.raises(RuntimeError, match=REFUSED):
        await answer(path)


@pytest.mark.attack("A101")
async def test_who_catches_the_error_is_refused_again() -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await make_app()(scope, receive, send)
        except RuntimeError:
            await PlainTextResponse("secret")(scope, receive, send)

    with pytest.raises(RuntimeError, match=REFUSED):
        await answer("/auth/held", stubborn)


@pytest.mark.attack("A101")
async def test_a_websocket_is_not_accepted() -> None:
    held: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        held.append(auth.get_user())
        await send({"type": "websocket.accept"})

    async def nothing(message: Any = None) -> Any:
        raise AssertionError(message)

    async with AsyncClient("https://id.example.com", brand="shop") as client:
        scope = {"type": "websocket", "path": "/auth/live", "scheme": "wss", "headers": [], "query_string": b""}
        with pytest.raises(RuntimeError, match=REFUSED):
            await KeysteadMiddleware(app, client=client)(scope, nothing, nothing)


async def test_what_is_awaited_later_passes(caplog: pytest.LogCaptureFixture) -> None:
    assert (await answer("/auth/held/awaited")).json() == "nobody"
    assert caplog.messages == []


async def test_a_task_that_has_not_begun_passes_and_a_coroutine_around_one_does_not() -> None:
    tasks: list[asyncio.Task[object]] = []

    async def around(asked: Awaitable[object]) -> object:
        return await asked

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked = auth.get_user()
        tasks.append(asyncio.get_running_loop().create_task(asked if scope["path"] == "/auth/task" else around(asked)))
        await PlainTextResponse("public")(scope, receive, send)

    assert (await answer("/auth/task", app)).text == "public"
    with pytest.raises(RuntimeError, match=REFUSED):
        await answer("/auth/around", app)
    # They ask when the response has begun, and are told that.
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("path", "status"), [("/auth/held/missing", 404), ("/auth/gathered", 404), ("/auth/held/guarded", 303)]
)
async def test_an_error_page_and_our_own_answer_go_out_and_it_is_logged(
    path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await answer(path)).status_code == status
    assert caplog.record_tuples == [("keystead_client", logging.ERROR, LOGGED)]


async def test_in_a_stream_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    assert (await answer("/auth/stream")).text == "begun ended"
    assert caplog.record_tuples == [("keystead_client", logging.ERROR, LOGGED)]


@pytest.mark.attack("A101")
@pytest.mark.parametrize(("status", "is_lazy"), [("200 OK", False), ("200 OK", True), ("404 Not Found", False)])
def test_an_asynchronous_view_under_wsgi(status: str, is_lazy: bool, caplog: pytest.LogCaptureFixture) -> None:
    held: list[object] = []

    async def view() -> bytes:
        held.append(auth.get_user())
        return b"secret"

    def lazily() -> Iterable[bytes]:
        yield asyncio.run(view())

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = [] if is_lazy else [asyncio.run(view())]
        start_response(status, [])
        return lazily() if is_lazy else body

    with Client("https://id.example.com", brand="shop") as client:
        transport = httpx.WSGITransport(app=wsgi.KeysteadMiddleware(app, client=client))
        with httpx.Client(transport=transport, base_url="https://shop.example.com") as visitor:
            if status.startswith("404"):
                assert visitor.get("/auth/held").status_code == 404
                assert caplog.messages == [LOGGED]
                return
            with pytest.raises(RuntimeError, match=REFUSED):
                visitor.get("/auth/held")
