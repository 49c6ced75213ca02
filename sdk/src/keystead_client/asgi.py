"""The shapes of ASGI, and how a request and an answer of the middleware look there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from keystead_client.answers import Answer
from keystead_client.paths import path_within
from keystead_client.protection import Visit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


def visit_of(scope: Scope) -> Visit:
    """The request of a connection, its headers being in the order in which they were sent."""
    values: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name.lower(), []).append(value.decode("latin-1"))
    client = scope.get("client")
    root = scope.get("root_path", "").rstrip("/")
    return Visit(
        scheme=scope.get("scheme", "http"),
        host=values.get(b"host", [""])[0],
        header_names=frozenset(values),
        cookies=values.get(b"cookie", []),
        accept=",".join(values.get(b"accept", ())),
        path=path_within(scope["path"], root),
        raw_path=scope.get("raw_path"),
        root=root,
        query=scope.get("query_string", b""),
        address=client[0] if client else None,
        origin=",".join(values[b"origin"]) if b"origin" in values else None,
        referer=",".join(values.get(b"referer", ())),
        method=scope.get("method", "GET"),
        is_websocket=scope["type"] == "websocket",
        fetch_site=",".join(values.get(b"sec-fetch-site", ())),
    )


async def send_answer(send: Send, answer: Answer) -> None:
    """The whole of it."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


async def refuse_websocket(receive: Receive, send: Send, code: int) -> None:
    """Closes before accepting: the browser sees HTTP 403."""
    await receive()
    await send({"type": "websocket.close", "code": code, "reason": ""})
