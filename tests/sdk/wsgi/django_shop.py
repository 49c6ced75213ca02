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
from keystead_client.wsgi import auth
from tests.sdk.wsgi.shop import shown

seen: list[str] = []
"""What the views have met."""

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
            SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        )
    sessions = "django.contrib.sessions.middleware.SessionMiddleware"
    settings.MIDDLEWARE = [sessions, *([ADAPTER] if with_adapter else [])]
    app: WSGIApplication = get_wsgi_application()
    return app


def page(request: HttpRequest) -> HttpResponse:
    seen.extend(name for name in request.META if "HTTP" in name and "KEYSTEAD" in name)
    return JsonResponse({"path": request.path, "user": dict(auth.get_user() or {})})


def log_in(request: HttpRequest) -> HttpResponse:
    given = json.loads(request.body)
    return JsonResponse(shown(auth.login(given["email"], given["password"])))


def log_out(request: HttpRequest) -> HttpResponse:
    return JsonResponse(shown(auth.logout()))


def refresh(request: HttpRequest) -> HttpResponse:
    return JsonResponse(shown(auth.refresh_tokens()))


def whoami(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {"logged_in": auth.logged_in(), "token": auth.get_auth_token(), "refresh": auth.get_refresh_token()}
    )


def members(request: HttpRequest) -> HttpResponse:
    return HttpResponse(auth.require_auth(redirect_to=request.GET.get("to"))["id"])


async def awaited(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": dict(await keystead_client.auth.get_user() or {})})


def stream(request: HttpRequest) -> HttpResponseBase:
    class Parts:
        def __iter__(self) -> Iterator[str]:
            for part in ("one ", "two "):
                seen.append(part)
                yield part
            yield auth.require_auth()["email"]

        def close(self) -> None:
            seen.append(f"closed by {(auth.get_user() or {})['email']}")

    return StreamingHttpResponse(Parts())


def own_cookies(request: HttpRequest) -> HttpResponse:
    request.session["seen"] = "yes"
    response = HttpResponse("baked", headers={"Cache-Control": "public, max-age=600"})
    response.set_cookie("theme", "dark")
    response.set_cookie("keystead_auth_token", "chosen-by-the-application")
    return response


def crash(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


urlpatterns = [
    path("auth/login", log_in),
    path("auth/logout", log_out),
    path("auth/refresh", refresh),
    path("auth/whoami", whoami),
    path("auth/members", members),
    path("auth/awaited", awaited),
    path("stream", stream),
    path("own-cookies", own_cookies),
    path("auth/crash", crash),
    re_path("", page),
]
