"""The shop in Flask."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask, Response, request, session
from flask.typing import ResponseReturnValue

import keystead_client
from keystead_client.wsgi import auth
from keystead_client.wsgi.flask import init_app
from tests.sdk.wsgi.shop import shown

seen: list[str] = []
"""What the views have met."""


def make_flask(*, with_adapter: bool = True) -> Flask:
    """A new application."""
    seen.clear()
    app = Flask("shop")
    app.secret_key = "of the tests"
    if with_adapter:
        init_app(app)
    app.add_url_rule("/auth/login", view_func=log_in, methods=["POST"])
    app.add_url_rule("/auth/logout", view_func=lambda: shown(auth.logout()), endpoint="out", methods=["POST"])
    app.add_url_rule("/auth/refresh", view_func=lambda: shown(auth.refresh_tokens()), endpoint="new", methods=["POST"])
    for path, view in (("/auth/whoami", whoami), ("/auth/members", members), ("/auth/awaited", awaited)):
        app.add_url_rule(path, view_func=view)
    for path, view in (("/stream", stream), ("/own-cookies", own_cookies), ("/auth/crash", crash)):
        app.add_url_rule(path, view_func=view)
    app.add_url_rule("/<path:path>", view_func=page, methods=["GET", "POST"])
    return app


def page(path: str) -> ResponseReturnValue:
    seen.extend(name for name in request.environ if "HTTP" in name and "KEYSTEAD" in name)
    return {"path": f"/{path}", "user": dict(auth.get_user() or {})}


def log_in() -> ResponseReturnValue:
    return shown(auth.login(request.json["email"], request.json["password"]))


def whoami() -> ResponseReturnValue:
    return {"logged_in": auth.logged_in(), "token": auth.get_auth_token(), "refresh": auth.get_refresh_token()}


def members() -> ResponseReturnValue:
    return str(auth.require_auth(redirect_to=request.args.get("to"))["id"])


async def awaited() -> ResponseReturnValue:
    return {"user": dict(await keystead_client.auth.get_user() or {})}


def stream() -> Response:
    def parts() -> Iterator[str]:
        for part in ("one ", "two "):
            seen.append(part)
            yield part
        yield auth.require_auth()["email"]

    response = Response(parts())
    response.call_on_close(lambda: seen.append(f"closed by {(auth.get_user() or {})['email']}"))
    return response


def own_cookies() -> Response:
    session["seen"] = "yes"
    response = Response("baked", headers={"Cache-Control": "public, max-age=600"})
    response.set_cookie("theme", "dark")
    response.set_cookie("keystead_auth_token", "chosen-by-the-application")
    return response


def crash() -> ResponseReturnValue:
    raise ZeroDivisionError
