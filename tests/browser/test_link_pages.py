"""Links in mails, opened and clicked in a real Chromium."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import BrowserContext, Page, expect

from keystead.mail.model import MailKind
from keystead.users.model import User
from tests.browser.app_site import AppSite
from tests.browser.conftest import ANN, NEW, PASSWORD, Site
from tests.make import change_brand
from tests.use_cases.people import create_me, get_access_token, log_in

GOOD = "violet indigo blue"


async def claim(site: Site) -> tuple[str, str]:
    """An anonymous user's access token, and the link that proves their address."""
    token = await get_access_token(site.api, await create_me(site.api, site.brand_token))
    query = "mutation ($to: String!, $password: String!) { changeAndValidateEmail(newEmail: $to, password: $password) }"
    await site.api.send(query, {"to": NEW, "password": PASSWORD}, token=token)
    return token, await site.newest_link(MailKind.verify_email)


async def ask_to_log_in(site: Site) -> str:
    query = "mutation ($email: String!, $brand: String!) { requestMagicLogin(email: $email, brand: $brand) }"
    assert (await site.api.send(query, {"email": ANN, "brand": site.brand.name})).data["requestMagicLogin"]
    return await site.newest_link(MailKind.magic_login)


async def me(site: Site, token: str) -> object:
    return (await site.api.send("{ me { email verified } }", token=token)).data["me"]


async def test_an_address_is_verified_by_a_click(site: Site, page: Page) -> None:
    token, link = await claim(site)
    await page.goto(link)
    await expect(page).to_have_title("Confirm your e-mail address – rainbowMakers")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Confirm your e-mail address")
    table = page.locator("dl")
    await expect(table).to_contain_text(NEW)
    await expect(table).to_contain_text("a guest account, made on 1 January 2026 at 12:00 UTC")
    await expect(table).to_contain_text("127.0.0.1")
    await expect(page.get_by_role("listitem")).to_have_count(2)
    assert await me(site, token) == {"email": NEW, "verified": False}
    await page.get_by_role("button", name="Confirm this address").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your address is confirmed")
    assert "token" not in page.url
    assert await me(site, token) == {"email": NEW, "verified": True}
    assert (await log_in(site.api, NEW, headers={"keystead-brand-authorization": site.brand_token})).auth


@pytest.mark.attack("A57")
async def test_opening_and_prefetching_consume_nothing(
    site: Site, window: BrowserContext, page: Page, app: AppSite
) -> None:
    token, link = await claim(site)
    for _ in range(2):
        await page.goto(link)
        await page.reload()
    assert (await window.request.head(link)).status == 200
    app.pages["/"] = f'<!doctype html><title>Links</title><link rel="prefetch" href="{link}">'
    async with page.expect_request_finished(lambda request: request.url == link):
        await page.goto(app.url)
    await page.goto(link)
    assert await me(site, token) == {"email": NEW, "verified": False}
    await page.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_contain_text(NEW)
    assert await me(site, token) == {"email": NEW, "verified": True}


@pytest.mark.usefixtures("ann")
async def test_a_new_password_is_set_after_a_rejected_one(site: Site, page: Page) -> None:
    query = "mutation ($email: String!, $brand: String!) { requestPasswordReset(email: $email, brand: $brand) }"
    await site.api.send(query, {"email": ANN, "brand": site.brand.name})
    await page.goto(await site.newest_link(MailKind.reset_password))
    for password, repeated, said in (
        ("password1", "password1", "one of the passwords that attackers try first"),
        (GOOD, "violet indigo green", "The two passwords are not the same."),
    ):
        await page.get_by_label("New password", exact=True).fill(password)
        await page.get_by_label("Repeat the new password").fill(repeated)
        await page.get_by_role("button").click()
        await expect(page.get_by_role("alert")).to_contain_text(said)
        await expect(page.get_by_label("New password", exact=True)).to_have_value("")
        await expect(page.get_by_label("New password", exact=True)).to_be_focused()
    # By keyboard alone: the first field has the focus.
    await page.keyboard.type(GOOD)
    await page.keyboard.press("Tab")
    await page.keyboard.type(GOOD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your new password is set")
    assert (await log_in(site.api, ANN, GOOD)).auth


@pytest.mark.usefixtures("ann")
async def test_a_login_continues_in_the_app(site: Site, page: Page, app: AppSite) -> None:
    target = app.welcome(site.url)
    await change_brand(site.server, site.brand, {"redirect_urls": [target]})
    await page.goto(await ask_to_log_in(site))
    await expect(page.locator("dl")).to_contain_text(ANN)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(f"{target}#token=ks_ml_*")
    who = page.locator("#who")
    await expect(who).to_contain_text(ANN)
    assert json.loads(await who.inner_text()) == {"email": ANN, "verified": True}
    # What the app's server has seen: neither the token nor where its visitor comes from.
    assert app.requests
    assert not [seen for seen in app.requests if "ks_ml_" in seen or site.url in seen]


async def test_a_page_without_an_app_shows_a_code_and_needs_no_scripts(site: Site, page: Page, ann: User) -> None:
    context = page.context.browser
    assert context is not None
    plain = await context.new_context(java_script_enabled=False, locale="de-DE", viewport={"width": 360, "height": 640})
    tab = await plain.new_page()
    await tab.goto(await ask_to_log_in(site))
    await tab.get_by_role("button", name="Anmelden").click()
    code = await tab.locator("code").inner_text()
    await plain.close()
    query = "mutation ($token: String!) { redeemMagicLink(token: $token) { data { auth_token } } }"
    token = (await site.api.send(query, {"token": code})).data["redeemMagicLink"]["data"]["auth_token"]
    assert await me(site, token) == {"email": ANN, "verified": True}
