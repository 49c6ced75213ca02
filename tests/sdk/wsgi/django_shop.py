"""The shop in Django."""

from __future__ import annotations

import json
from collections.abc import Iterator
from wsgiref.types import WSGIApplication

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path, re_path

import keystead_client
from tests.sdk.wsgi.shop import answer, note_closing, seen, stream

ADAPTER = "keystead_client.wsgi.django.KeysteadErrors"


def make_django(*, with_adapter: bool = True) -> WSGIApplication:
    """A new application. Its settings are those of the process."""
    seen.clear()
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            LOGGING_CONFIG=None,
            SECRET_KEY="of the tests",
        )
    settings.MIDDLEWARE = [ADAPTER] if with_adapter else []
    app: WSGIApplication = get_wsgi_application()
    return app


def other(request: HttpRequest) -> HttpResponse:
    given = json.loads(request.body) if request.content_type == "application/json" and request.body else None
    answered = answer(request.path, given, request.GET, request.META)
    return HttpResponse(answered) if isinstance(answered, str) else JsonResponse(answered)


async def awaited(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": dict(await keystead_client.auth.get_user() or {})})


class Parts:
    """The stream, which notes who closes it."""

    def __iter__(self) -> Iterator[str]:
        return stream()

    def close(self) -> None:
        note_closing()


def streamed(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(Parts())


urlpatterns = [
    path("auth/awaited", awaited),
    path("stream", streamed),
    re_path("", other),
]
