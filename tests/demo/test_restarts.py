"""A demo that is restarted: what persists, what is renewed, and in between the mailbox tour from ``createMe`` to an
account that logs in on a second device, then out of all sessions."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from playwright.sync_api import Page, sync_playwright

from tests.chromium import OPTIONS, chromium
from tests.demo.running import Demo, free_port, paste, running

CLAIM, AM_I = "changeAndValidateEmail(", "{ me { email verified is_anonymous } }"
LOGIN = "mutation ($input: AuthRequest!) { login(input: $input) { data { auth_token } } }"
CHANGE_PASSWORD = 'mutation ($old: String) { changePassword(oldPassword: $old, newPassword: "something else") }'
NOVA = "nova@rainbowmakers.example"


def get(address: str, fields: dict[str, str] | None = None) -> str:
    """The page at an address, or behind its form."""
    with urlopen(Request(address, urlencode(fields).encode() if fields else None)) as answer:
        text: str = answer.read().decode()
    return text


def log_in(demo: Demo, email: str) -> str:
    """The auth token of a new session."""
    given = {"email": email, "password": demo.secrets["password"], "pylo_app_id": "rainbowMakers"}
    token: str = demo.ask(LOGIN, {"input": given})[1]["data"]["login"]["data"]["auth_token"]
    return token


def tour_over_http(demo: Demo, shell: dict[str, str]) -> None:
    assert paste(demo.command(CLAIM), shell).data == {"changeAndValidateEmail": True}
    before = paste(demo.command(AM_I), shell).data["me"]
    assert (before["verified"], before["is_anonymous"]) == (False, True)
    assert f"to {before['email']}" in get(f"{demo.origin}/mailbox")

    mail = get(f"{demo.origin}/mailbox/newest/text?to={before['email']}")
    link = re.search(r"http://\S+/link/verify\?token=ks_ev_\w+", mail)
    assert link is not None
    page = get(link[0])
    assert before["email"] in page
    assert paste(demo.command(AM_I), shell).data["me"] == before, "opening the link verifies nothing"
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    done = get(link[0].partition("?")[0], {name: unescape(value) for name, value in fields})
    assert before["email"] in done
    assert paste(demo.command(AM_I), shell).data["me"] == before | {"verified": True, "is_anonymous": False}

    token = log_in(demo, before["email"])
    assert demo.ask("{ me { email } }", token=token)[1]["data"]["me"]["email"] == before["email"]
    everywhere = demo.ask("mutation { invalidateRefreshToken }", token=token)
    assert everywhere[1] == {"data": {"invalidateRefreshToken": True}}
    assert demo.ask("{ me { email } }", token=token)[0] == 401
    assert paste(demo.command(AM_I), shell).status == 401, "the first session has ended, too"


def tour_in_a_browser(demo: Demo, shell: dict[str, str], page: Page) -> None:
    messages: list[str] = []
    page.context.on("console", lambda message: messages.append(message.text))
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
    assert log_in(demo, email)
    assert messages == []
    assert page.url.startswith(f"{demo.origin}/mailbox/"), "the mailbox is still open, in the other tab"


def test_restarts(tmp_path: Path, shell: dict[str, str]) -> None:
    port = free_port()
    with running(tmp_path, port) as first:
        before = first.secrets

    # The settings of another installation do not matter.
    (tmp_path / "keystead.toml").write_text('introspection = "nonsense"\n', "utf-8")
    foreign = {"KEYSTEAD_DATABASE_URL": "postgresql://127.0.0.1:1/real", "KEYSTEAD_THROTTLING": "off"}
    with running(tmp_path, port, **foreign) as second:
        listed = paste(second.command("{ sessionList {"), shell).data["sessionList"]
        assert second.printed == first.printed
        assert listed["pagination"]["total"] == 2, "the other sessions of the tours have ended"
        for email in (second.secrets["email"], NOVA):
            _, answer = second.ask("{ sessionList { data { is_current } } }", token=log_in(second, email))
            assert answer["data"]["sessionList"]["data"] == [{"is_current": True}], "none of the demo's is left"
        tour_over_http(second, shell)
        changed = second.ask(CHANGE_PASSWORD, {"old": before["password"]}, log_in(second, NOVA))
        assert changed[1] == {"data": {"changePassword": True}}

    with running(tmp_path, port) as third, sync_playwright() as playwright:
        after = third.secrets
        assert after["newcomer_access_token"] != before["newcomer_access_token"], "the sessions of that user were ended"
        assert after["password"] == before["password"]
        assert log_in(third, NOVA), "the user has the printed password again"
        assert paste(third.command(AM_I), shell).data["me"]["is_anonymous"] is True
        browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        tour_in_a_browser(third, shell, browser.new_page())
        browser.close()

    third.path.unlink()
    with running(tmp_path, port, "--json") as fourth:
        document = json.loads(fourth.printed)
        answers = [paste(request["curl"], shell) for request in document["requests"]]
    assert [answer for answer in answers if answer.is_failed] == []
    assert document["brand_id"] == document["secrets"]["brand_id"] == before["brand_id"]
    for name in ("password", "brand_token", "api_key"):
        assert document["secrets"][name] != before[name], "lost secrets are replaced"
