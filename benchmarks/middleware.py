"""What the SDK's middleware adds to a request in the same process, while the check of its cookie is remembered."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import uvloop
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks import hello
from benchmarks.figures import Figure
from benchmarks.over_http import PASSWORD, prepare
from benchmarks.processes import free_port, keystead_command, running
from keystead_client import AsyncClient, Client, MemoryTokens
from keystead_client.cookies import CookieOptions
from keystead_client.middleware import KeysteadMiddleware
from keystead_client.wsgi import KeysteadMiddleware as WsgiMiddleware

ROUNDS, CALLS = 15, 1_000
LIMIT = 100
PATH = "/dashboard"
# What a browser sends with every request, its cookies apart.
HEADERS = {
    "host": "localhost:8000",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-GB,en;q=0.7,de;q=0.3",
    "accept-encoding": "gzip, deflate, br",
    "referer": "http://localhost:8000/",
}
_BODY = b'{"hello":"world"}'

App = Callable[..., Awaitable[None]]


def measure() -> Iterator[Figure]:
    """The figures, beside a server that listens: it is asked about the cookie once a second."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {"KEYSTEAD_DATABASE_URL": f"sqlite:///{folder}/bench.db", "KEYSTEAD_LOG_LEVEL": "warning"}
        prepare(environ)
        port = free_port()
        with running(keystead_command(port), port, environ, "/health"):
            endpoint = f"http://127.0.0.1:{port}"
            headers = {**HEADERS, "cookie": _cookies(endpoint)}
            yield uvloop.run(_asgi(endpoint, headers))
            yield _wsgi(endpoint, headers)


def _cookies(endpoint: str) -> str:
    tokens = MemoryTokens()
    with Client(endpoint, brand="bench", tokens=tokens) as client:
        client.login("luna@bench.example", PASSWORD)
    held, names = tokens.load(), CookieOptions()
    if held is None:
        raise RuntimeError("no user is logged in")
    return f"theme=dark; {names.auth_name}={held.auth_token}; {names.refresh_name}={held.refresh_token}"


def _figure(name: str, bare: float, ours: float, framework: str, whole: float) -> Figure:
    """Times are µs for each request; ``whole`` is one without the middleware."""
    cost = ours - bare
    beside = f"bare application {bare:.1f} µs; {cost / whole:.2f} of a request to {framework} ({whole:.1f} µs)"
    return Figure(name, cost, "µs", at_most=LIMIT, beside=beside)


# ---------------------------------------------------------------------------------------------------------------- ASGI


async def _asgi(endpoint: str, headers: dict[str, str]) -> Figure:
    async with AsyncClient(endpoint) as client:
        apps: list[App] = [hello.app, KeysteadMiddleware(hello.app, client=client), _starlette()]
        best = [float("inf")] * len(apps)
        for _ in range(ROUNDS):
            for place, app in enumerate(apps):
                best[place] = min(best[place], await _asgi_round(app, headers))
    return _figure("middleware, ASGI", best[0], best[1], "Starlette", best[2])


async def _asgi_round(app: App, headers: dict[str, str]) -> float:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    statuses: list[int] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    started = time.perf_counter()
    for _ in range(CALLS):
        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": list(raw),
            "client": ("127.0.0.1", 4711),
        }
        await app(scope, receive, send)
    return _seen(started, statuses)


def _starlette() -> App:
    async def greet(_request: Request) -> JSONResponse:
        return JSONResponse({"hello": "world"})

    return Starlette(routes=[Route(PATH, greet)])


# ---------------------------------------------------------------------------------------------------------------- WSGI


def _wsgi(endpoint: str, headers: dict[str, str]) -> Figure:
    with Client(endpoint) as client:
        apps: list[WSGIApplication] = [_hello, WsgiMiddleware(_hello, client=client), _flask()]
        best = [float("inf")] * len(apps)
        for _ in range(ROUNDS):
            for place, app in enumerate(apps):
                best[place] = min(best[place], _wsgi_round(app, headers))
    return _figure("middleware, WSGI", best[0], best[1], "Flask", best[2])


def _wsgi_round(app: WSGIApplication, headers: dict[str, str]) -> float:
    carried = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    fixed = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": PATH,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    statuses: list[int] = []

    def start_response(status: str, _headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], object]:
        statuses.append(int(status[:3]))
        return lambda _: None

    started = time.perf_counter()
    for _ in range(CALLS):
        chunks = app({**fixed, **carried}, start_response)
        for _chunk in chunks:
            pass
        if close := getattr(chunks, "close", None):
            close()
    return _seen(started, statuses)


def _hello(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(_BODY)))])
    return [_BODY]


def _flask() -> WSGIApplication:
    app = Flask("bench")
    app.add_url_rule(PATH, view_func=lambda: {"hello": "world"}, endpoint="greet")
    return app


def _seen(started: float, statuses: list[int]) -> float:
    """The µs of each call since ``started``; every answer must be a 200."""
    microseconds = (time.perf_counter() - started) / CALLS * 1e6
    if statuses != [200] * CALLS:
        raise RuntimeError(f"answers: {sorted(set(statuses))}")
    return microseconds
