"""The pipeline of an HTTP/1.1 connection: flow control while requests wait in it, and the answers that end it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE


class Refusal:
    """An answer that ends its connection. As an application it waits in the pipeline for its turn."""

    def __init__(self, reason: str, status: int, text: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.reason, self._status, self._text = reason, status, text
        length = b"%d" % len(text)
        plain = (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length), *headers
        self._headers = (*plain, (b"connection", b"close"))
        lines = [b"%s: %s\r\n" % header for header in self._headers]
        self.bytes = b"".join((STATUS_LINE[status], *lines, b"\r\n", text))

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Give this answer."""
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._text, "more_body": False})


TOO_LARGE = Refusal("head_too_large", 431, b"The request's headers are too large or too many.")
NOT_HTTP = Refusal("not_http", 400, b"Invalid HTTP request received.")
PIPELINE = Refusal("pipeline", 400, b"Too many pipelined requests.")
FULL = Refusal("full", 503, b"Too many connections.", (b"retry-after", b"5"))


class PipelineFlow(FlowControl):
    """Flow control of a connection that reads nothing while requests wait in its pipeline."""

    def __init__(self, transport: asyncio.Transport, pipeline: deque[Any]) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read again, unless requests wait."""
        if not self._pipeline:
            super().resume_reading()
