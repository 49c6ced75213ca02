"""Exceptions that end a request: the middleware answers them."""

from __future__ import annotations


class RequestEnded(Exception):
    """The application has nothing more to say; the middleware answers."""


class RedirectToLogin(RequestEnded):
    """Ends the request: the browser is sent to ``location``."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


class ForeignRequest(RequestEnded):
    """Ends a request that a page of another site sent, and that would change who is logged in: 403."""

    def __init__(self) -> None:
        super().__init__("a page of another site sent this request")
