"""Flask adapter: a redirect to the login page becomes a normal response instead of a logged error.

app = Flask(__name__)
init_app(app)
app.wsgi_app = KeysteadMiddleware(app.wsgi_app, endpoint=...)
"""

from __future__ import annotations

from flask import Flask, Response, request

from keystead_client._request import RequestEnded
from keystead_client.wsgi.middleware import response_to

__all__ = ["init_app"]


def init_app(app: Flask) -> None:
    """Register the error handler for what ``require_auth`` raises."""
    app.register_error_handler(RequestEnded, _respond)


def _respond(error: RequestEnded) -> Response:
    response = response_to(error, request.environ)
    if response is None:
        raise error
    status, headers, body = response
    return Response(body, status, headers)
