"""The web applications of docs/sdk-web.md, as a browser uses them: in by their login page, around, and out again."""

from __future__ import annotations

import asyncio
import re
import runpy
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
from tests.cli.command import plain_environment
from tests.docs.examples import ADDRESS, EMAIL, PASSWORD, against, example, examples, run
from tests.house_rules.source import ROOT
from tests.sdk.wsgi.django_shop import make_django

ORIGIN = "http://localhost"
TOKENS = {"keystead_auth_token", "keystead_refresh_token"}


def filled_in(form: httpx.Response, **fields: str) -> dict[str, str]:
    """What a browser sends when the button of the form is pressed."""
    assert '<form method="post"' in form.text
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', form.text)) | fields


def in_around_and_out(browser: httpx.Client) -> None:
    """A use case that each of the applications allows."""
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
    assert browser.get("/auth/logout").status_code == 405, "a link does not log out"
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
def project(tmp_path: Path) -> Path:
    """What ``startproject`` makes, changed as the page says."""
    manage(tmp_path, "startproject", "shop", ".")
    with (tmp_path / "shop" / "settings.py").open("a") as settings:
        settings.write(example("MIDDLEWARE +="))
    (tmp_path / "shop" / "wsgi.py").write_text(example("get_wsgi_application"))
    (tmp_path / "shop" / "urls.py").write_text(example("urlpatterns = ["))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "login.html").write_text(example("{{ problem }}", "html"))
    (tmp_path / "templates" / "home.html").write_text(example("{{ email }}", "html"))
    return tmp_path


@pytest.fixture
def django_project(project: Path) -> Iterator[ModuleType]:
    """The project in this process; its urls are to be put in."""
    make_django()
    urls = ModuleType("urls")
    chosen = runpy.run_path(str(project / "shop" / "settings.py"))
    names = ("INSTALLED_APPS", "MIDDLEWARE", "TEMPLATES")
    with override_settings(ROOT_URLCONF=urls, **{name: chosen[name] for name in names}):
        yield urls


def manage(project: Path, *words: str) -> str:
    """What Django says to a command; it must succeed."""
    env = plain_environment()
    return subprocess.run(
        [sys.executable, "-m", "django", *words], cwd=project, env=env, capture_output=True, text=True, check=True
    ).stdout


def test_django_finds_nothing_wrong_with_the_project(project: Path) -> None:
    said = manage(project, "check", "--settings=shop.settings", "--pythonpath=.")
    assert "no issues" in said


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
    # Strawberry's own decorator hides the types of a field that has extensions; lines of settings continue a file.
    unchecked = ("import strawberry", "MIDDLEWARE +=")
    for number, code in enumerate(code for code in examples() if not any(part in code for part in unchecked)):
        (tmp_path / f"example_{number}.py").write_text(code, "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert checked.returncode == 0, checked.stdout
