"""Run by the Python of an installation: every interface of the client, as far as possible without a server."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import MutableMapping
from typing import Any

import keystead_client
from keystead_client.errors import TokenInvalid
from keystead_client.middleware import KeysteadMiddleware
from keystead_client.verify import Verifier
from keystead_client.wsgi import KeysteadMiddleware as WsgiMiddleware

ENDPOINT = "https://id.example.com"
statuses: list[int] = []

for module in pkgutil.walk_packages(keystead_client.__path__, "keystead_client."):
    importlib.import_module(module.name)


async def receive() -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": b""}


async def send(message: MutableMapping[str, Any]) -> None:
    if message["type"] == "http.response.start":
        statuses.append(message["status"])


async def open_to_all(*_: object) -> None:
    raise AssertionError("an anonymous request passed the middleware")


def open_to_all_wsgi(*_: object) -> list[bytes]:
    raise AssertionError("an anonymous request passed the middleware")


scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b"", "headers": []}
asyncio.run(KeysteadMiddleware(open_to_all, ENDPOINT)(scope, receive, send))

environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "x", "SERVER_PORT": "80"}
environ["wsgi.url_scheme"] = "http"


def start_response(status: str, headers: list[tuple[str, str]], error: object = None) -> Any:
    statuses.append(int(status[:3]))


list(WsgiMiddleware(open_to_all_wsgi, ENDPOINT)(environ, start_response))
assert statuses == [303, 303], statuses

try:
    Verifier(ENDPOINT, brand="01970000-0000-7000-8000-000000000000").verify("no token")
except TokenInvalid:
    print("well")
