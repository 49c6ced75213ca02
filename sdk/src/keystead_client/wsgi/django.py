"""Django adapter: a redirect to the login page becomes a normal response instead of a logged error.

Put it last in ``settings.py``::

    MIDDLEWARE += ["keystead_client.wsgi.django.KeysteadErrors"]

Django calls ``process_exception`` of the last middleware first: one further down that reports exceptions would report
the redirect, too.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from keystead_client.wsgi.middleware import response_to

__all__ = ["KeysteadErrors"]


class KeysteadErrors:
    """Django middleware that responds to what ``require_auth`` raises in a view."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the middleware's response; None for the application's own exceptions."""
        response = response_to(error, request.META)
        if response is None:
            return None
        status, headers, body = response
        return HttpResponse(body, status=status, headers=dict(headers))
