"""The demo's mailbox: what it shows, and to whom alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
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
    """Somebody at this machine, and what the application answers them."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def get(
        self, path: str, *, peer: str = "127.0.0.1", method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self._application, raise_app_exceptions=False, client=(peer, 50000))
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            return await client.request(method, path, headers=headers)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_brand(server)


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    return await make_user(server, brand, "ann@example.com")


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


# ------------------------------------------------------------------------------------------------------ what it shows


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


async def test_the_front_page_leads_to_both(browser: Browser) -> None:
    page = (await browser.get("/")).text
    assert re.findall(r'<a href="([^"]+)"', page) == ["/graphql", "/mailbox"]


async def test_an_empty_mailbox_says_so(browser: Browser) -> None:
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


async def test_a_link_that_ran_out_is_said_to_have(browser: Browser, mail_id: str, clock: ManualClock) -> None:
    assert "good until 2026-01-01 12:10:00 UTC" in (await browser.get(f"/mailbox/{mail_id}")).text
    clock.advance(minutes=10)
    assert "ran out 2026-01-01 12:10:00 UTC" in (await browser.get(f"/mailbox/{mail_id}")).text


async def test_a_link_that_was_used_or_replaced_is_said_to_be(
    browser: Browser, server: Server, brand: ActiveBrand, ann: User, mail_id: str
) -> None:
    newer = await make_link_mail(server, brand, ann, link_base=HERE)
    assert "<dd>used or replaced</dd>" in (await browser.get(f"/mailbox/{mail_id}")).text
    assert "<dd>good until 2026-01-01 12:10:00 UTC</dd>" in (await browser.get(f"/mailbox/{newer}")).text
    await use_link(server, brand, newer)
    assert "<dd>used or replaced</dd>" in (await browser.get(f"/mailbox/{newer}")).text


async def test_a_mail_without_a_link_is_shown_too(
    browser: Browser, server: Server, brand: ActiveBrand, ann: User
) -> None:
    mail_id = await make_mail(server, brand, ann, MailKind.password_changed)
    page = await browser.get(f"/mailbox/{mail_id}")
    assert page.status_code == 200
    assert "<dt>Link</dt>" not in page.text


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


async def test_what_came_from_outside_is_text(browser: Browser, server: Server, brand: ActiveBrand, ann: User) -> None:
    name = "<script>alert(1)</script>"
    mail_id = await make_mail(server, brand, ann, MailKind.magic_login, **link(server), shown={"brand": name})
    for path in ("/mailbox", f"/mailbox/{mail_id}", f"/mailbox/{mail_id}/html"):
        page = (await browser.get(path)).text
        assert "&lt;script&gt;" in page, path
        assert "<script" not in page, path


@pytest.mark.parametrize("mail_id", ["00000000-0000-7000-8000-000000000001", "'; --", "Newest", "x" * 5000, "a/b/c"])
async def test_an_unknown_mail_is_not_found(browser: Browser, mail_id: str) -> None:
    for path in (f"/mailbox/{mail_id}", f"/mailbox/{mail_id}/html", f"/mailbox/{mail_id}/text"):
        assert (await browser.get(path)).status_code == 404


# ------------------------------------------------------------------------------------------------------ and to whom


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_runs_nothing_is_kept_and_no_other_page_reads_it(
    browser: Browser, mail_id: str, path: str
) -> None:
    answer = await browser.get(path, headers={"origin": "https://evil.example"})
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "form-action 'none'" in policy
    assert "base-uri 'none'" in policy
    expected = {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
    expected |= {"cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin"}
    assert expected.items() <= dict(answer.headers).items()
    assert not [name for name in answer.headers if name.startswith("access-control-") or name == "set-cookie"]


async def test_a_mail_is_a_stranger_to_the_page_around_it(browser: Browser, mail_id: str) -> None:
    inside = (await browser.get("/mailbox/newest/html")).headers["content-security-policy"]
    assert inside.startswith("sandbox allow-popups allow-popups-to-escape-sandbox;")
    assert "frame-ancestors 'self'" in inside
    for path in ("/mailbox", "/mailbox/newest", "/mailbox/newest/text"):
        assert "frame-ancestors 'none'" in (await browser.get(path)).headers["content-security-policy"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_it_is_read_and_no_more(browser: Browser, mail_id: str, method: str) -> None:
    for path in PATHS:
        answer = await browser.get(path, method=method)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


STRANGERS: list[dict[str, Any]] = [
    {"peer": "192.0.2.7"},
    {"peer": "10.0.0.1"},
    {"peer": "2001:db8::1"},
    {"peer": "::ffff:192.0.2.7"},
    {"peer": ""},
    {"peer": "localhost"},
    {"headers": {"host": "evil.example:4000"}},
    {"headers": {"host": "localhost.evil.example:4000"}},
    {"headers": {"host": "localhost"}},
    {"headers": {"host": "localhost:4001"}},
    {"headers": {"host": "localhost:04000x"}},
    {"headers": {"host": "localhost:4000@evil.example"}},
    {"headers": {"host": "127.0.0.2:4000"}},
    {"headers": {"host": "127.1:4000"}},
    {"headers": {"host": "[::1:4000"}},
    {"headers": {"host": ""}},
    {"headers": {"x-forwarded-for": "127.0.0.1"}},
    {"headers": {"x-forwarded-host": "localhost:4000"}},
    {"headers": {"x-forwarded-anything": "1"}},
    {"headers": {"forwarded": "for=127.0.0.1"}},
    {"headers": {"via": "1.1 proxy"}},
    {"headers": {"x-real-ip": "127.0.0.1"}},
]


@pytest.mark.parametrize("stranger", STRANGERS, ids=str)
async def test_everybody_else_gets_what_an_unknown_path_gets(
    browser: Browser, mail_id: str, stranger: dict[str, Any]
) -> None:
    unknown = await browser.get("/no-such-page", **stranger)
    for path in PATHS:
        for method in ("GET", "POST"):
            answer = await browser.get(path, method=method, **stranger)
            assert (answer.status_code, answer.text) == (404, unknown.text)
            assert answer.headers == unknown.headers


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", b"localhost:4000"),
        ("127.8.9.10", b"LocalHost:4000"),
        ("127.0.0.1", b"127.0.0.1:4000"),
        ("::1", b"[::1]:4000"),
        ("::ffff:127.0.0.1", b"localhost:4000"),
    ],
)
def test_each_name_of_this_machine_is_one(peer: str, host: bytes) -> None:
    assert is_from_this_machine({"client": (peer, 5), "server": ("127.0.0.1", 4000), "headers": [(b"host", host)]})


def test_no_name_or_two_are_none() -> None:
    scope: dict[str, Any] = {"client": ("127.0.0.1", 5), "server": ("127.0.0.1", 4000)}
    host = (b"host", b"localhost:4000")
    assert not is_from_this_machine(scope | {"headers": []})
    assert not is_from_this_machine(scope | {"headers": [host, host]})
    assert not is_from_this_machine(scope | {"headers": [host], "client": None})
    assert not is_from_this_machine(scope | {"headers": [host], "server": None})
    assert not is_from_this_machine(scope | {"headers": [host], "server": ("/run/keystead.sock", None)})


def test_the_port_of_http_need_not_be_said() -> None:
    scope = {"client": ("127.0.0.1", 5), "server": ("127.0.0.1", 80), "headers": [(b"host", b"localhost")]}
    assert is_from_this_machine(scope)


# ------------------------------------------------------------------------------------------------- where there is none


async def test_only_a_demo_has_one(server: Server, mail_id: str) -> None:
    application = Application(server.settings)
    await application.open(server)
    browser = Browser(application)
    assert [(await browser.get(path)).status_code for path in PATHS] == [404] * len(PATHS)
    await application.close()


def test_no_setting_switches_it_on() -> None:
    settings = load_worker_settings({"KEYSTEAD_MAILBOX": "on"})
    assert not settings.mailbox
    assert settings.warnings == ("KEYSTEAD_MAILBOX is not a setting of this release",)
    assert load_worker_settings({"_KEYSTEAD_MAILBOX": "on"}).mailbox
