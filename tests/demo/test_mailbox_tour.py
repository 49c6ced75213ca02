"""From ``createMe`` to an account that logs in on a second device, then out everywhere: with the demo's mailbox."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.chromium import OPTIONS, chromium
from tests.demo.running import Demo, free_port, paste, running

CLAIM, AM_I = "changeAndValidateEmail(", "{ me { email verified is_anonymous } }"
LOGIN = "mutation ($input: AuthRequest!) { login(input: $input) { data { auth_token } } }"
EVERYWHERE = "mutation { invalidateRefreshToken }"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo of one test alone: these change who is who."""
    with running(tmp_path, free_port()) as started:
        yield started


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab of a real browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        yield browser.new_page()
        browser.close()


def get(address: str) -> str:
    """The text behind an address."""
    with urlopen(address) as answer:
        text: str = answer.read().decode()
    return text


def ask(demo: Demo, query: str, variables: Any = None, token: str | None = None) -> tuple[int, Any]:
    """What the server answers to an app."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
    body = json.dumps({"query": query, "variables": variables}).encode()
    try:
        with urlopen(Request(f"{demo.origin}/graphql", body, headers)) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, None


def second_device(demo: Demo, email: str) -> str:
    """The auth token that the address and the demo's password get."""
    password = json.loads(demo.secrets.read_text("utf-8"))["password"]
    _, answer = ask(demo, LOGIN, {"input": {"email": email, "password": password, "pylo_app_id": "rainbowMakers"}})
    token: str = answer["data"]["login"]["data"]["auth_token"]
    return token


def test_the_whole_way_over_http(demo: Demo, shell: dict[str, str]) -> None:
    assert paste(demo.command(CLAIM), shell).data == {"changeAndValidateEmail": True}
    before = paste(demo.command(AM_I), shell).data["me"]
    assert (before["verified"], before["is_anonymous"]) == (False, True)
    assert f"to {before['email']}" in get(f"{demo.origin}/mailbox")

    mail = get(f"{demo.origin}/mailbox/newest/text?to={before['email']}")
    link = re.search(r"http://\S+/link/verify\?token=ks_ev_\w+", mail)
    assert link is not None
    page = get(link[0])
    assert before["email"] in page
    assert paste(demo.command(AM_I), shell).data["me"] == before, "opening the link proves nothing"
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    done = get_posted(link[0].partition("?")[0], {name: unescape(value) for name, value in fields})
    assert before["email"] in done
    assert paste(demo.command(AM_I), shell).data["me"] == before | {"verified": True, "is_anonymous": False}

    token = second_device(demo, before["email"])
    assert ask(demo, "{ me { email } }", token=token)[1]["data"]["me"]["email"] == before["email"]
    assert ask(demo, EVERYWHERE, token=token)[1] == {"data": {"invalidateRefreshToken": True}}
    assert ask(demo, "{ me { email } }", token=token)[0] == 401
    assert paste(demo.command(AM_I), shell).status == 401, "the first device is out, too"


def get_posted(address: str, fields: dict[str, str]) -> str:
    """The page behind a form."""
    with urlopen(Request(address, urlencode(fields).encode())) as answer:
        text: str = answer.read().decode()
    return text


def test_the_whole_way_in_a_browser(demo: Demo, shell: dict[str, str], page: Page) -> None:
    complaints: list[str] = []
    page.context.on("console", lambda message: complaints.append(message.text))
    assert paste(demo.command(CLAIM), shell).data == {"changeAndValidateEmail": True}
    email = paste(demo.command(AM_I), shell).data["me"]["email"]

    page.goto(f"{demo.origin}/mailbox")
    page.get_by_text(email).first.click()
    with page.expect_popup() as opened:
        page.frame_locator("iframe").get_by_role("link").first.click()
    link = opened.value
    link.get_by_role("button").click()
    link.wait_for_load_state()
    assert link.get_by_role("button").count() == 0
    assert email in link.inner_text("main")
    assert paste(demo.command(AM_I), shell).data["me"]["verified"] is True
    assert second_device(demo, email)
    assert complaints == []
    assert page.url.startswith(f"{demo.origin}/mailbox/"), "the mailbox is still there, in the other tab"


def test_the_first_session_of_a_user_is_the_users_own(demo: Demo) -> None:
    for name in ("luna", "nova"):
        token = second_device(demo, f"{name}@rainbowmakers.example")
        _, answer = ask(demo, "{ sessionList { data { is_current } } }", token=token)
        assert answer["data"]["sessionList"]["data"] == [{"is_current": True}]


def test_a_second_start_finds_the_newcomer_where_it_was(tmp_path: Path, shell: dict[str, str]) -> None:
    """And another newcomer where that one's sessions are over; and the people of the tour with the printed password."""
    port = free_port()
    with running(tmp_path, port) as first:
        before = json.loads(first.secrets.read_text("utf-8"))
        assert ask(first, "mutation { invalidateRefreshToken(force: true) }", token=before["newcomer_access_token"])[1]
        change = 'mutation ($old: String) { changePassword(oldPassword: $old, newPassword: "something else") }'
        changed = ask(first, change, {"old": before["password"]}, second_device(first, "nova@rainbowmakers.example"))
        assert changed[1] == {"data": {"changePassword": True}}
    with running(tmp_path, port) as second:
        after = json.loads(second.secrets.read_text("utf-8"))
        assert paste(second.command(AM_I), shell).data["me"]["is_anonymous"] is True
    assert after["newcomer_access_token"] != before["newcomer_access_token"]
    assert after["password"] == before["password"]
