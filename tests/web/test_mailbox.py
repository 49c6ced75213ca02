"""The demo's mailbox: what it shows, and that it is shown on this machine only."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.links import link_secret
from keystead.mail.model import MailKind
from keystead.users.model import User
from keystead.web.app import Application, load_worker_settings
from keystead.web.mailbox import is_from_this_machine
from tests.clocks import ManualClock
from tests.mail.letters import make_link_mail, make_mail, use_link
from tests.make import make_brand, make_user

HERE = "http://localhost:4000"
PATHS = ("/", "/mailbox", "/mailbox/mailbox.css", "/mailbox/newest", "/mailbox/newest/html", "/mailbox/newest/text")


class Browser:
    """A browser, on this machine by default."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def get(
        self, path: str, *, peer: str = "127.0.0.1", method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self._application, raise_app_exceptions=False, client=(peer, 50000))
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            return await client.request(method, path, headers=headers)


@pytest.fixture
async def mail_id(server: Server, brand: ActiveBrand, ann: User) -> str:
    """A mail to Ann with a link."""
    return await make_link_mail(server, brand, ann, link_base=HERE)


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    application = Application(replace(server.settings, mailbox=True))
    await application.open(server)
    yield Browser(application)
    await application.close()


def link(server: Server) -> dict[str, Any]:
    return {"link_base": HERE, "expires_at": server.clock.now() + timedelta(minutes=10)}


async def test_the_list_names_each_mail_and_leads_to_it(browser: Browser, mail_id: str) -> None:
    page = await browser.get("/mailbox")
    assert page.status_code == 200
    assert f'href="/mailbox/{mail_id}"' in page.text
    for shown in ("ann@example.com", "rainbowMakers", "magic_login", "waiting", "2026-01-01 12:00:00 UTC"):
        assert shown in page.text


async def test_the_newest_mails_of_all_brands_come_first(
    browser: Browser, server: Server, brand: ActiveBrand, ann: User, mail_id: str, clock: ManualClock
) -> None:
    made = [mail_id]
    grey = await make_brand(server, "greyMakers")
    bob = await make_user(server, grey, "bob@example.com")
    for _ in range(30):
        clock.advance(seconds=1)
        made += [await make_mail(server, brand, ann), await make_mail(server, grey, bob)]
    page = (await browser.get("/mailbox")).text
    listed = re.findall(r'href="/mailbox/([0-9a-f-]{36})"', page)
    assert len(listed) == 50
    assert set(listed) == set(made[-50:])
    assert "greyMakers" in page
    assert "Older mails are left out" in page


async def test_the_front_page_and_an_empty_mailbox(browser: Browser) -> None:
    assert re.findall(r'<a href="([^"]+)"', (await browser.get("/")).text) == ["/graphql", "/mailbox"]
    assert "No mail yet" in (await browser.get("/mailbox")).text
    assert (await browser.get("/mailbox/newest")).status_code == 404


async def test_a_mail_is_shown_with_a_link_to_click(browser: Browser, server: Server, mail_id: str) -> None:
    address = f"{HERE}/link/login?token={link_secret(server.master_key, MailKind.magic_login, mail_id).reveal()}"
    page = (await browser.get(f"/mailbox/{mail_id}")).text
    assert f'<a href="{address}" target="_blank" rel="noopener noreferrer">{address}</a>' in page
    assert f'<iframe src="/mailbox/{mail_id}/html"' in page
    html = (await browser.get(f"/mailbox/{mail_id}/html")).text
    assert f'href="{address}"' in html
    assert re.search(r'<head[^>]*><base target="_blank">', html)
    text = await browser.get(f"/mailbox/{mail_id}/text")
    assert address in text.text
    assert text.headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_mail_shows_the_state_of_its_link(
    browser: Browser, server: Server, brand: ActiveBrand, ann: User, mail_id: str, clock: ManualClock
) -> None:
    newer = await make_link_mail(server, brand, ann, link_base=HERE)

    async def state(mail_id: str) -> str:
        page = await browser.get(f"/mailbox/{mail_id}")
        assert page.status_code == 200
        found = re.search(r"<dt>Link</dt><dd>(.*?)</dd>", page.text)
        return found[1] if found else ""

    assert await state(mail_id) == "used or replaced"
    assert await state(newer) == "good until 2026-01-01 12:10:00 UTC"
    assert await state(await make_mail(server, brand, ann, MailKind.password_changed)) == ""
    await use_link(server, brand, newer)
    assert await state(newer) == "used or replaced"
    expiring = await make_link_mail(server, brand, ann, link_base=HERE)
    clock.advance(minutes=10)
    assert await state(expiring) == "ran out 2026-01-01 12:10:00 UTC"


async def test_newest_is_the_newest_of_all_or_to_an_address(
    browser: Browser, server: Server, brand: ActiveBrand, mail_id: str, clock: ManualClock
) -> None:
    clock.advance(seconds=1)
    bob = await make_user(server, brand, "bob@example.com")
    bobs = await make_mail(server, brand, bob, MailKind.reset_password, **link(server))
    assert f"/mailbox/{bobs}/html" in (await browser.get("/mailbox/newest")).text
    assert "ks_pr_" in (await browser.get("/mailbox/newest/text")).text
    assert "ks_ml_" in (await browser.get("/mailbox/newest/text?to=ann@example.com")).text
    assert (await browser.get("/mailbox/newest/text?to=eve@example.com")).status_code == 404


async def test_untrusted_text_is_escaped(browser: Browser, server: Server, brand: ActiveBrand, ann: User) -> None:
    name = "<script>alert(1)</script>"
    mail_id = await make_mail(server, brand, ann, MailKind.magic_login, **link(server), shown={"brand": name})
    for path in ("/mailbox", f"/mailbox/{mail_id}", f"/mailbox/{mail_id}/html"):
        page = (await browser.get(path)).text
        assert "&lt;script&gt;" in page, path
        assert "<script" not in page, path


async def test_an_unknown_mail_is_not_found(browser: Browser) -> None:
    for mail_id in ("00000000-0000-7000-8000-000000000001", "'; --", "Newest", "x" * 5000, "a/b/c"):
        for path in (f"/mailbox/{mail_id}", f"/mailbox/{mail_id}/html", f"/mailbox/{mail_id}/text"):
            assert (await browser.get(path)).status_code == 404


async def test_pages_run_no_script_are_not_stored_and_not_readable_cross_origin(browser: Browser, mail_id: str) -> None:
    expected = {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
    expected |= {"cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin"}
    for path in PATHS:
        answer = await browser.get(path, headers={"origin": "https://evil.example"})
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        for directive in ("default-src", "form-action", "base-uri"):
            assert f"{directive} 'none'" in policy
        assert "script-src" not in policy
        assert expected.items() <= dict(answer.headers).items()
        assert not [name for name in answer.headers if name.startswith("access-control-") or name == "set-cookie"]


async def test_a_mail_is_sandboxed(browser: Browser, mail_id: str) -> None:
    inside = (await browser.get("/mailbox/newest/html")).headers["content-security-policy"]
    assert inside.startswith("sandbox allow-popups allow-popups-to-escape-sandbox;")
    assert "frame-ancestors 'self'" in inside
    for path in ("/mailbox", "/mailbox/newest", "/mailbox/newest/text"):
        assert "frame-ancestors 'none'" in (await browser.get(path)).headers["content-security-policy"]


async def test_only_get_is_allowed(browser: Browser, mail_id: str) -> None:
    for method, path in product(("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"), PATHS):
        answer = await browser.get(path, method=method)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


PEERS = ("192.0.2.7", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.7", "", "localhost")
HOSTS = (
    "evil.example:4000", "localhost.evil.example:4000", "localhost", "localhost:4001", "localhost:04000x",
    "localhost:4000@evil.example", "127.0.0.2:4000", "127.1:4000", "[::1:4000", "",
)  # fmt: skip
PROXIED = {
    "x-forwarded-for": "127.0.0.1", "x-forwarded-host": "localhost:4000", "x-forwarded-anything": "1",
    "forwarded": "for=127.0.0.1", "via": "1.1 proxy", "x-real-ip": "127.0.0.1",
}  # fmt: skip
STRANGERS: list[dict[str, Any]] = [
    *({"peer": peer} for peer in PEERS),
    *({"headers": {"host": host}} for host in HOSTS),
    *({"headers": {name: value}} for name, value in PROXIED.items()),
]


async def test_any_other_client_gets_the_404_of_an_unknown_path(browser: Browser, mail_id: str) -> None:
    for stranger in STRANGERS:
        unknown = await browser.get("/no-such-page", **stranger)
        for path, method in product(PATHS, ("GET", "POST")):
            answer = await browser.get(path, method=method, **stranger)
            assert (answer.status_code, answer.text) == (404, unknown.text), stranger
            assert answer.headers == unknown.headers


def test_the_host_must_be_one_name_of_this_machine_with_our_port() -> None:
    for peer, host, port in (
        ("127.0.0.1", b"localhost:4000", 4000), ("127.8.9.10", b"LocalHost:4000", 4000), ("::1", b"[::1]:4000", 4000),
        ("127.0.0.1", b"127.0.0.1:4000", 4000), ("::ffff:127.0.0.1", b"localhost:4000", 4000),
        ("127.0.0.1", b"localhost", 80),
    ):  # fmt: skip
        assert is_from_this_machine({"client": (peer, 5), "server": (peer, port), "headers": [(b"host", host)]})
    host_header = (b"host", b"localhost:4000")
    scope: dict[str, Any] = {"client": ("127.0.0.1", 5), "server": ("127.0.0.1", 4000), "headers": [host_header]}
    socket = ("/run/keystead.sock", None)
    changes = [("headers", []), ("headers", [host_header] * 2), ("client", None), ("server", None), ("server", socket)]
    for name, value in changes:
        assert not is_from_this_machine(scope | {name: value})


async def test_only_the_demo_and_no_setting_enables_the_mailbox(server: Server, mail_id: str) -> None:
    application = Application(server.settings)
    await application.open(server)
    browser = Browser(application)
    assert [(await browser.get(path)).status_code for path in PATHS] == [404] * len(PATHS)
    await application.close()
    settings = load_worker_settings({"KEYSTEAD_MAILBOX": "on"})
    assert not settings.mailbox
    assert settings.warnings == ("KEYSTEAD_MAILBOX is not a setting of this release",)
    assert load_worker_settings({"_KEYSTEAD_MAILBOX": "on"}).mailbox
