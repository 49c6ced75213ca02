"""The example application in a real Chromium, with server restarts."""

from __future__ import annotations

import asyncio
import json

import pytest
from playwright.async_api import expect

from tests.browser.fastapi_app.conftest import HOST, OpenWindow, Stage, Window
from tests.make import PASSWORD
from tests.sdk.site import AUTH, REFRESH
from tests.use_cases.people import ANN

EVIL = "evil.example"


async def test_a_login_opens_the_page_that_was_asked_for(open_window: OpenWindow) -> None:
    window = await open_window()
    await window.open("/?from=a%20mail&page=2")
    await window.is_out()
    await window.log_in(password="not her password")
    await expect(window.page.get_by_role("alert")).to_be_visible()
    await window.is_out()
    await window.log_in()
    await window.is_in()
    assert window.page.url == f"{window.origin}/?from=a%20mail&page=2"


@pytest.mark.attack("A101")
async def test_no_script_no_subdomain_and_no_other_site_gets_the_cookies(ann: Window, stage: Stage) -> None:
    cookies = {cookie["name"]: cookie for cookie in await ann.context.cookies()}
    assert set(cookies) == {AUTH, REFRESH}
    for cookie in cookies.values():
        assert cookie["domain"] == HOST, "of this host alone: a dot would stand before the name"
        assert cookie["path"] == "/"
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
    assert cookies[REFRESH]["expires"] - cookies[AUTH]["expires"] == pytest.approx(604_800 - 3600, abs=2)
    assert await ann.page.evaluate("document.cookie") == ""
    await ann.page.goto(stage.origin.replace(HOST, f"sub.{HOST}"))
    await expect(ann.page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert len(await ann.cookies()) == 2


@pytest.mark.attack("A101")
async def test_a_login_leads_to_no_other_site(open_window: OpenWindow) -> None:
    window = await open_window()
    await window.open(f"/auth/login?redirect=https://{EVIL}/")
    await window.log_in()
    await window.is_in()
    assert window.page.url == f"{window.origin}/"
    # The login page redirects logged-in users.
    for target in (f"//{EVIL}/", f"https://{EVIL}/", f"/%5C{EVIL}", f"/%09/{EVIL}", f"https:{EVIL}", "javascript:1"):
        await window.open(f"/auth/login?redirect={target}")
        assert window.page.url == f"{window.origin}/"
    await window.open("/auth/login?redirect=/%3Fpage=2")
    assert window.page.url == f"{window.origin}/?page=2"


async def test_three_tabs_continue_after_the_token_has_expired(stage: Stage, open_window: OpenWindow) -> None:
    window = await open_window()
    await stage.log_in_and_wait(window)
    old = await window.cookies()
    tabs = [await window.context.new_page() for _ in range(2)]
    async with window.page.expect_response(f"{stage.origin}/") as answer:
        await asyncio.gather(window.go_home(), *(tab.goto(stage.origin) for tab in tabs))
    assert (await answer.value).status == 200
    for tab in (window.page, *tabs):
        await expect(tab.locator("#email")).to_have_text(ANN)
    new = await window.cookies()
    assert new[AUTH] != old[AUTH]
    assert new[REFRESH] != old[REFRESH]


@pytest.mark.attack("A104")
async def test_signing_out_everywhere_takes_effect_in_other_browsers_on_the_next_click(
    ann: Window, open_window: OpenWindow
) -> None:
    other = await open_window()
    await other.open()
    await other.log_in()
    await other.is_in()
    await other.click("Log out everywhere")
    await other.is_out()
    await ann.go_home()
    await ann.is_out()


async def test_a_logout_ends_one_session(ann: Window, open_window: OpenWindow) -> None:
    other = await open_window()
    await other.open()
    await other.log_in()
    await other.is_in()
    kept = await other.cookies()
    await other.click("Log out")
    await other.is_out()
    await ann.open()
    await ann.is_in()
    # Copies of the cookies are void.
    await other.context.add_cookies([{"name": n, "value": v, "url": other.origin} for n, v in kept.items()])
    await other.open()
    await other.is_out()


async def test_a_server_restart_keeps_users_logged_in(stage: Stage, ann: Window, open_window: OpenWindow) -> None:
    expired = await open_window()
    await expired.open()
    await expired.log_in()
    await expired.is_in()
    await stage.age(expired)
    before = {window: await window.cookies() for window in (ann, expired)}
    stage.node.terminate()
    stage.node.wait()
    for window, cookies in before.items():
        for path in ("/", "/api/me"):
            assert await window.open(path) == 503
            assert await window.cookies() == cookies
    stage.node.start()
    stage.node.wait_until_ready()
    for window, cookies in before.items():
        assert await window.open() == 200
        await window.is_in()
        assert (await window.cookies() == cookies) is (window is ann)


async def test_a_program_gets_json_and_no_redirect(open_window: OpenWindow, ann: Window) -> None:
    assert await (await open_window()).open("/api/me") == 401
    assert await ann.open("/api/me") == 200
    assert json.loads(await ann.page.inner_text("pre"))["email"] == ANN
    assert PASSWORD not in await ann.page.content()
