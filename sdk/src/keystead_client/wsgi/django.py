"""For Django: a redirect to the login page is an answer, and no error that fills the log.

At the end of ``settings.py``, so that it is the last of all::

    MIDDLEWARE += ["keystead_client.wsgi.django.KeysteadErrors"]

Django asks ``process_exception`` of the last one first. Further up, another that reports every exception would
report the redirect, too.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from keystead_client.wsgi.exchange import IN_ENVIRON, Exchange

__all__ = ["KeysteadErrors"]


class KeysteadErrors:
    """A Django middleware that answers what ``require_auth`` raises in a view, as the one around Django would."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The response of what is further inside."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Our answer; None for what is the application's own affair."""
        exchange = request.META.get(IN_ENVIRON)
        answer = exchange.answer_to(error) if isinstance(exchange, Exchange) else None
        if answer is None:
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        return HttpResponse(answer.body, status=answer.status, headers=headers)
