"""Canaries: the private parts of uvicorn and Typer that we rely on. After an upgrade, a failure here says what changed.

Raise the upper bound in ``pyproject.toml`` when they pass.
"""

from __future__ import annotations

import inspect
from collections import deque

import typer
import uvicorn
from typer.core import TyperGroup
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.server import ServerState

from keystead.cli.app import _UsageError


def source(function: object) -> str:
    return inspect.getsource(function)  # type: ignore[arg-type]


async def test_uvicorn() -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        raise AssertionError

    config = uvicorn.Config(application, http="httptools", lifespan="off", log_config=None)
    config.load()
    protocol = httptools_impl.HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})
    assert isinstance(protocol.pipeline, deque)
    for name in "cycle flow parser client transport expect_100_continue _unset_keepalive_if_required".split():
        assert hasattr(protocol, name), name
    on_headers, on_response = protocol.on_headers_complete, protocol.on_response_complete
    assert "self.pipeline.appendleft((self.cycle, app))" in source(on_headers), "requests wait as (cycle, app)"
    assert "self.pipeline.pop()" in source(on_response), "and leave at the other end"
    assert "self.headers" in source(protocol.on_header), "headers and trailers are appended to one list"
    assert list(inspect.signature(flow_control.FlowControl).parameters) == ["transport"]
    assert "read_paused" in source(flow_control.FlowControl)
    cycle = source(httptools_impl.RequestResponseCycle.__init__)
    assert "self.response_started = False" in cycle
    assert "self.response_complete = False" in cycle
    assert httptools_impl.STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")
    server = uvicorn.Server(config)
    assert server.server_state.default_headers == []
    assert "counter % 10 == 0" in source(server.on_tick), "ten ticks are a second"
    assert "signal.raise_signal" in source(server.capture_signals), "signals are raised again after the shutdown"


def test_typer() -> None:
    assert _UsageError.__name__ == "UsageError"
    assert {"ctx", "exit_code", "format_message"} <= {*dir(_UsageError("x"))}
    for method in ("make_context", "invoke"):
        assert callable(getattr(TyperGroup, method))
    assert not issubclass(typer.Exit, _UsageError)
