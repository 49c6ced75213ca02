"""For Flask: a redirect to the login page is an answer, and no error that fills the log.

app = Flask(__name__)
init_app(app)
app.wsgi_app = KeysteadMiddleware(app.wsgi_app, endpoint=...)
"""

from __future__ import annotations

from flask import Flask, Response, request

from keystead_client.ended import RequestEnded
from keystead_client.wsgi.exchange import IN_ENVIRON, Exchange

__all__ = ["init_app"]


def init_app(app: Flask) -> None:
    """Has the application answer what ``require_auth`` raises, as the middleware around it would."""
    app.register_error_handler(RequestEnded, _answer)


def _answer(error: RequestEnded) -> Response:
    exchange = request.environ.get(IN_ENVIRON)
    answer = exchange.answer_to(error) if isinstance(exchange, Exchange) else None
    if answer is None:
        raise error
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return Response(answer.body, answer.status, headers)
