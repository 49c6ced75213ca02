"""The middleware and its functions for WSGI: Flask, Django and other frameworks. No event loop is needed."""

from __future__ import annotations

from keystead_client.wsgi import auth
from keystead_client.wsgi.middleware import KeysteadMiddleware

__all__ = ["KeysteadMiddleware", "auth"]
