"""The web applications of docs/sdk-web.md, as a browser uses them: in by their login page, around, and out again."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.test import override_settings
from django.urls import path

from keystead.context import ActiveBrand, Server
from keystead_client.middleware import KeysteadMiddleware
from tests.api import listening
from tests.docs.examples import ADDRESS, EMAIL, PASSWORD, against, example, examples, run
from tests.house_rules.source import ROOT
from tests.sdk.wsgi.django_shop import make_django

ORIGIN = "http://localhost"
TOKENS = {"keystead_auth_token", "keystead_refresh_token"}


def filled_in(form: httpx.Response, **fields: str) -> dict[str, str]:
    """What a browser sends when somebody presses the button of the form."""
    assert '<form method="post"' in form.text
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', form.text)) | fields


def in_around_and_out(browser: httpx.Client) -> None:
    """A journey that each of the applications allows."""
    login = browser.get("/?page=2").headers["location"]
    assert login == "/auth/login?redirect=/%3Fpage%3D2"
    form = browser.get(login)
    assert form.status_code == 200
    refused = browser.post(login, data=filled_in(form, email=EMAIL, password="wrong"))
    assert (refused.status_code, "password is wrong" in refused.text) == (401, True)
    assert TOKENS.isdisjoint(browser.cookies)
    let_in = browser.post(login, data=filled_in(refused, email=EMAIL, password=PASSWORD))
    assert (let_in.is_redirect, let_in.headers["location"]) == (True, "/?page=2")
    assert set(browser.cookies) >= TOKENS
    home = browser.get("/?page=2")
    assert (home.status_code, f"Hello {EMAIL}" in home.text) == (200, True)
    assert browser.get("/auth/logout").status_code == 405, "a link logs nobody out"
    out = browser.post("/auth/logout", data=filled_in(home))
    assert (out.is_redirect, out.headers["location"]) == (True, "/auth/login")
    assert TOKENS.isdisjoint(browser.cookies)
    assert browser.get("/").status_code == 303


class OnLoop(httpx.BaseTransport):
    """Takes the requests of a thread to an ASGI application on the loop of the test."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = httpx.ASGITransport(app, client=("127.0.0.1", 4711))
        self._loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The whole response."""
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result(30)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())


async def test_fastapi(server: Server, brand: ActiveBrand) -> None:
    loop = asyncio.get_running_loop()

    def visit(url: str) -> None:
        app = run(example("from fastapi.responses").replace(ADDRESS, url))["app"]
        with httpx.Client(transport=OnLoop(app, loop), base_url=ORIGIN) as browser:
            in_around_and_out(browser)
            assert browser.get("/api/me").status_code == 401
            browser.post("/auth/login", data={"email": EMAIL, "password": PASSWORD})
            assert browser.get("/api/me").json()["email"] == EMAIL

    await against(server, visit)


async def test_flask(server: Server, brand: ActiveBrand) -> None:
    def visit(url: str) -> None:
        app = run(example("from flask import").replace(ADDRESS, url))["app"]
        with httpx.Client(transport=httpx.WSGITransport(app=app), base_url=ORIGIN) as browser:
            in_around_and_out(browser)

    await against(server, visit)


@pytest.fixture
def django_project() -> Iterator[ModuleType]:
    """A project with the settings and templates of the page; its urls are to be put in."""
    make_django()
    urls = ModuleType("urls")
    pages = {"login.html": example("{{ problem }}", "html"), "home.html": example("{{ email }}", "html")}
    loaders = [("django.template.loaders.locmem.Loader", pages)]
    templates = {"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": loaders}}
    middleware = run(example("MIDDLEWARE = ["))["MIDDLEWARE"]
    with override_settings(ROOT_URLCONF=urls, TEMPLATES=[templates], MIDDLEWARE=middleware):
        yield urls


async def test_django(server: Server, brand: ActiveBrand, django_project: ModuleType) -> None:
    vars(django_project).update(run(example("urlpatterns = [")))

    def visit(url: str) -> None:
        app = run(example("get_wsgi_application").replace(ADDRESS, url))["application"]
        with httpx.Client(transport=httpx.WSGITransport(app=app), base_url=ORIGIN) as browser:
            in_around_and_out(browser)
            credentials = {"email": EMAIL, "password": PASSWORD}
            assert browser.post("/auth/login", data=credentials).status_code == 403, "Django's token is missing"

    await against(server, visit)


async def test_django_under_asgi(server: Server, brand: ActiveBrand, django_project: ModuleType) -> None:
    views = run(example("async_to_sync"))
    vars(django_project)["urlpatterns"] = [path(f"auth/{name}", views[name]) for name in ("under_both", "under_asgi")]
    async with listening(server.settings, server) as url:
        app = KeysteadMiddleware(get_asgi_application(), url, brand=brand.name)
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as browser:
            for view in ("under_both", "under_asgi"):
                assert (await browser.get(f"/auth/{view}")).json() == {"logged_in": False}


def test_every_example_passes_the_strict_checks_of_mypy(tmp_path: Path) -> None:
    # Strawberry's own decorator hides the types of a field that has extensions.
    for number, code in enumerate(code for code in examples() if "import strawberry" not in code):
        (tmp_path / f"example_{number}.py").write_text(code, "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert checked.returncode == 0, checked.stdout
