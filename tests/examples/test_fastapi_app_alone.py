"""examples/fastapi-app while Keystead is away, and with settings that are wrong."""

from __future__ import annotations

import base64
import runpy
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock

import httpx
import pytest

from keystead_client import NetworkError, Tokens
from keystead_client.errors import RefreshTokenExpired, Unauthenticated
from tests.examples.conftest import RUN, Example

COOKIES = {"keystead_auth_token": "a.b.c", "keystead_refresh_token": "ks_rt_def"}


MAIN = str(RUN.with_name("fastapi-app") / "main.py")


@pytest.fixture
async def browser(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """In front of an application whose server does not exist, with cookies."""
    monkeypatch.setenv("KEYSTEAD_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    app = runpy.run_path(MAIN)["app"]
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", cookies=COOKIES) as client:
        yield client


async def test_a_login_is_503_with_the_form(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/auth/login")).status_code == 200
    refused = await browser.post("/auth/login", data={"email": "ann@example.com", "password": "secret"})
    assert refused.status_code == 503
    assert 'role="alert"' in refused.text
    assert 'value="ann@example.com"' in refused.text
    assert "set-cookie" not in refused.headers


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/api/me"), ("POST", "/auth/logout-everywhere")])
async def test_cookies_are_kept(browser: httpx.AsyncClient, method: str, path: str) -> None:
    away = await browser.request(method, path)
    assert (away.status_code, away.headers.get("set-cookie")) == (503, None)
    assert ("<h1>Not available</h1>" in away.text) is not path.startswith("/api/")


async def test_a_logout_deletes_the_cookies_and_reports_the_session(browser: httpx.AsyncClient) -> None:
    out = await browser.post("/auth/logout")
    assert out.status_code == 503
    assert "could not be ended" in out.text
    assert all("Max-Age=0" in cookie for cookie in out.headers.get_list("set-cookie"))
    assert len(out.headers.get_list("set-cookie")) == 2


@pytest.mark.parametrize(
    ("refresh", "status", "cookies"),
    [
        (NetworkError("cut"), 503, []),
        (Tokens("d.e.f", "ks_rt_ghi"), 503, ["d.e.f", "ks_rt_ghi"]),
        (RefreshTokenExpired("over"), 303, ["", ""]),
    ],
)
async def test_a_rejected_token_ends_the_session_only_if_the_server_says_so(
    monkeypatch: pytest.MonkeyPatch, refresh: Tokens | Exception, status: int, cookies: list[str]
) -> None:
    monkeypatch.setenv("KEYSTEAD_ENDPOINT", "http://127.0.0.1:1")
    example = runpy.run_path(MAIN)
    monkeypatch.setattr(example["keystead"], "me_with", AsyncMock(return_value={"id": "1", "is_anonymous": False}))
    monkeypatch.setattr(example["keystead"], "execute_with", AsyncMock(side_effect=Unauthenticated("no")))
    monkeypatch.setattr(example["keystead"], "refresh_with", AsyncMock(side_effect=[refresh]))
    lives = base64.urlsafe_b64encode(b'{"exp":9999999999}').decode().rstrip("=")
    held = {**COOKIES, "keystead_auth_token": f"e30.{lives}.x"}
    transport = httpx.ASGITransport(example["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", cookies=held) as client:
        answer = await client.get("/")
    values = [cookie.partition("=")[2].partition(";")[0] for cookie in answer.headers.get_list("set-cookie")]
    assert (answer.status_code, values) == (status, cookies)


async def test_an_api_key_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, example: Example) -> None:
    monkeypatch.setenv("KEYSTEAD_ENDPOINT", example.found("KEYSTEAD_ENDPOINT=([^ ]+)"))
    monkeypatch.setenv("KEYSTEAD_BRAND", "rainbowMakers")
    monkeypatch.setenv("KEYSTEAD_API_KEY", "ks_sk_stale")
    monkeypatch.setenv("NO_PROXY", "*")
    app = runpy.run_path(MAIN)
    transport = httpx.ASGITransport(app["app"], client=("127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        form = {"email": "luna@rainbowmakers.example", "password": example.found(r"password +(\S+)")}
        assert (await client.post("/auth/login", data=form)).status_code == 303
        assert (await client.get("/")).status_code == 200
    await app["keystead"].close()


@pytest.mark.parametrize("endpoint", ["", "http://id.example.com"])
def test_a_missing_or_bad_endpoint_is_one_sentence(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("KEYSTEAD_ENDPOINT", endpoint)
    with pytest.raises(SystemExit, match="KEYSTEAD_ENDPOINT"):
        runpy.run_path(MAIN)
