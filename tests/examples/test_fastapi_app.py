"""examples/fastapi-app with the demo, over HTTP: login, pages, logout."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.examples.conftest import Example, MakeBrowser

LUNA, NOVA = "luna@rainbowmakers.example", "nova@rainbowmakers.example"
LOGIN = "/auth/login"


@pytest.fixture
def password(example: Example) -> str:
    """Of both users."""
    return example.found(r"password +(\S+)")


def log_in(browser: httpx.Client, email: str, password: str, path: str = LOGIN) -> httpx.Response:
    """What the login form gets."""
    return browser.post(path, data={"email": email, "password": password})


def test_it_prints_its_url_and_users(example: Example) -> None:
    assert example.found("(http://localhost:[0-9]+)$") == example.url
    for email in (LUNA, NOVA):
        assert email in example.printed


def test_visitors_are_redirected_to_the_login_and_programs_get_401(browser: MakeBrowser) -> None:
    stranger = browser()
    for path in ("/", "/no-such-page"):
        sent = stranger.get(path)
        assert (sent.status_code, sent.headers["location"]) == (303, f"{LOGIN}?redirect={path}")
    assert stranger.get("/api/me").status_code == 401
    assert stranger.get("/static/style.css").status_code == 200


def test_login_pages_and_logout(browser: MakeBrowser, password: str) -> None:
    luna = browser()
    form = luna.get(f"{LOGIN}?redirect=/%3Ffrom%3Dmail")
    assert form.status_code == 200
    assert '<form method="post" class="fields">' in form.text, "posted to the address that it came from"
    let_in = log_in(luna, LUNA, password, f"{LOGIN}?redirect=/%3Ffrom%3Dmail")
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/?from=mail")
    dashboard = luna.get("/?from=mail")
    assert dashboard.status_code == 200
    for shown in (LUNA, "Prism &amp; Sons", "since <time"):
        assert shown in dashboard.text
    assert luna.get("/api/me").json()["email"] == LUNA
    assert luna.get(LOGIN).headers["location"] == "/", "no form for a logged-in user"

    kept = dict(luna.cookies)
    assert len(kept) == 2
    assert luna.get("/auth/logout").status_code == 405, "a link or an image logs no user out"
    out = luna.post("/auth/logout")
    assert (out.status_code, out.headers["location"]) == (303, LOGIN)
    assert dict(luna.cookies) == {}
    assert browser().get("/api/me", headers=as_cookies(kept)).status_code == 401, "the session is over"


def as_cookies(kept: dict[str, str]) -> dict[str, str]:
    """The header with which a browser sends cookies."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())}


def test_a_failed_login_shows_the_error_and_the_address(browser: MakeBrowser) -> None:
    refused = log_in(browser(), '"><i>@example.com', "wrong")
    assert refused.status_code == 401
    assert 'role="alert"' in refused.text
    assert 'value="&#34;&gt;&lt;i&gt;@example.com"' in refused.text, "escaped"
    assert "wrong" not in re.sub(r"<p.*?</p>", "", refused.text), "the password is not shown again"
    assert "set-cookie" not in refused.headers
    for given in ({"email": "", "password": ""}, {}):
        empty = browser().post(LOGIN, data=given)
        assert (empty.status_code, "Please fill in both fields." in empty.text) == (422, True)


def test_errors_are_pages_of_the_application(browser: MakeBrowser, password: str) -> None:
    nova = browser()
    log_in(nova, NOVA, password)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    for answer, status in (
        (nova.get("/no-such-page"), 404),
        (nova.get("/auth/logout"), 405),
        (nova.post("/auth/logout", headers=foreign), 403),
    ):
        assert (answer.status_code, "<h1>That did not work</h1>" in answer.text) == (status, True)
    assert nova.get("/auth/logout").headers["allow"] == "POST"
    assert nova.get("/api/no-such-thing").json() == {"detail": "Not Found"}


@pytest.mark.parametrize("path", [LOGIN, "/auth/logout", "/auth/logout-everywhere"])
def test_forms_of_other_sites_are_rejected(browser: MakeBrowser, password: str, path: str) -> None:
    nova = browser()
    log_in(nova, NOVA, password)
    form = {"email": NOVA, "password": password}
    for foreign in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": str(nova.base_url)},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        refused = nova.post(path, data=form, headers=foreign)
        assert (refused.status_code, refused.headers.get("set-cookie")) == (403, None)
    assert nova.get("/api/me").status_code == 200
    own = {"Sec-Fetch-Site": "same-origin", "Origin": str(nova.base_url)}
    assert nova.post(path, data=form, headers=own).status_code == 303


def test_log_out_everywhere(browser: MakeBrowser, password: str) -> None:
    here, there = browser(), browser()
    for browsing, target in ((here, "//evil.example"), (there, "/%5Cevil.example")):
        location = log_in(browsing, NOVA, password, f"{LOGIN}?redirect={target}").headers["location"]
        assert location == "/", "no open redirect"
        assert "no permission" in browsing.get("/").text, "a user sees what Keystead allows"
    assert here.post("/auth/logout-everywhere").headers["location"] == LOGIN
    # Also within the second for which the middleware caches a check: the dashboard's own call is rejected.
    out = there.get("/")
    assert (out.status_code, out.headers["location"].partition("?")[0]) == (303, LOGIN)
    for browsing in (here, there):
        assert dict(browsing.cookies) == {}
        assert browsing.get("/api/me").status_code == 401
    again = there.post("/auth/logout-everywhere")
    assert (again.status_code, again.headers["location"]) == (303, LOGIN)


def test_pages_are_not_cached_and_load_nothing_from_other_origins(browser: MakeBrowser, password: str) -> None:
    luna = browser()
    log_in(luna, LUNA, password)
    for page in (browser().get(LOGIN), luna.get("/")):
        assert page.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.search(r"://|<script|style=", page.text)
