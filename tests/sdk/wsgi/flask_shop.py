"""The shop in Flask."""

from __future__ import annotations

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

import keystead_client
from keystead_client.wsgi.flask import init_app
from tests.sdk.wsgi.shop import answer, note_closing, seen, stream


def make_flask(*, with_adapter: bool = True) -> Flask:
    """A new application."""
    seen.clear()
    app = Flask("shop")
    if with_adapter:
        init_app(app)
    for path, view in (("/auth/awaited", awaited), ("/stream", streamed)):
        app.add_url_rule(path, view_func=view)
    app.add_url_rule("/<path:path>", view_func=other, methods=["GET", "POST"])
    return app


def other(path: str) -> ResponseReturnValue:
    return answer(f"/{path}", request.get_json(silent=True), request.args, request.environ)


async def awaited() -> ResponseReturnValue:
    return {"user": dict(await keystead_client.auth.get_user() or {})}


def streamed() -> Response:
    response = Response(stream())
    response.call_on_close(note_closing)
    return response
