"""What others can do with a link of their own or of somebody else's: forms from elsewhere, hosts, redirects, texts."""

from __future__ import annotations

import httpx
import pytest

from keystead.authentication import email_change
from keystead.context import ActiveBrand, Context, RequestDetails, Server, UserPrincipal
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.policy import SessionKind
from keystead.sessions import service as sessions
from keystead.sessions.rotation import RotationKeys
from tests.clocks import ManualClock
from tests.make import change_brand, make_caller
from tests.web.pages.conftest import PASSWORD, Asked
from tests.web.pages.test_redirects import HOSTILE
from tests.web.pages.visiting import Visitor, newest_link

APP = "https://app.example.com/welcome"
TWICE = {"password": "violet indigo blue", "repeated": "violet indigo blue"}

FROM_ELSEWHERE = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "cross-site", "origin": "null"},
    {"sec-fetch-site": "cross-site", "origin": "https://auth.example.com"},
    {"origin": "https://evil.example"},
    {"origin": "http://auth.example.com"},
    {"origin": "https://auth.example.com.evil.example"},
    {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
]
HOSTS = [
    {"host": "evil.example"},
    {"host": "auth.example.com.evil.example"},
    {"host": "evil.example:443"},
    {"host": "auth.example.com@evil.example"},
    {"host": 'x"><script>alert(1)</script>'},
    {"host": ""},
    {"x-forwarded-host": "evil.example"},
    {"x-forwarded-proto": "http", "x-forwarded-port": "81"},
    {"x-forwarded-prefix": "//evil.example"},
    {"forwarded": "host=evil.example;proto=http"},
    {"x-original-url": "//evil.example/", "x-rewrite-url": "//evil.example/"},
    {"x-host": "evil.example", "x-forwarded-server": "evil.example", "x-http-host-override": "evil.example"},
]


@pytest.mark.attack("A100")
@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=lambda headers: "-".join(headers.values()))
@pytest.mark.parametrize("kind", list(LINK_KINDS))
async def test_a_form_from_elsewhere_does_nothing(
    visitor: Visitor, asked: Asked, kind: MailKind, headers: dict[str, str]
) -> None:
    page = await visitor.open(await asked(kind))
    sent = page.form.hidden | (TWICE if page.form.typed else {})
    action = page.response.url.join(page.form.action)
    assert (await visitor.http.post(action, data=sent, headers=headers)).status_code == 403
    assert (await visitor.http.post(action, data=sent | {"seal": "0" * 64})).status_code == 403
    del sent["seal"]
    assert (await visitor.http.post(action, data=sent)).status_code == 403
    assert (await visitor.press(page, TWICE if page.form.typed else None)).status == 200


async def test_a_form_of_ours_is_taken_wherever_ours_is(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, clock: ManualClock
) -> None:
    await change_brand(server, brand, {"base_url": "https://id.rainbow.example/auth"})
    for origin in ("https://id.rainbow.example", "https://auth.example.com"):
        clock.advance(seconds=1)
        page = await visitor.open((await asked(MailKind.reset_password)).replace("/auth/link", "/link"))
        assert (await visitor.press(page, TWICE, headers={"origin": origin})).status == 200


@pytest.mark.attack("A51")
@pytest.mark.parametrize("kind", list(LINK_KINDS))
async def test_no_header_has_a_say_in_where_a_page_leads(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, kind: MailKind
) -> None:
    await change_brand(server, brand, {"redirect_urls": [APP]})
    link = await asked(kind)
    page = await visitor.open(link)
    assert page.form.action == link.partition("?")[0].rpartition("/")[2]
    for headers in HOSTS:
        other = await visitor.open(link, headers=headers)
        assert (other.response.content, other.response.headers) == (page.response.content, page.response.headers)
    done = await visitor.press(page, TWICE if page.form.typed else None, headers=HOSTS[0])
    leads_to = done.response.headers.get("location") or dict(done.tags)["a"]["href"] or ""
    assert leads_to.partition("#")[0] == APP


@pytest.mark.attack("A54")
@pytest.mark.parametrize("kind", list(LINK_KINDS))
async def test_a_hostile_redirect_is_the_brand_s_own(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, kind: MailKind
) -> None:
    await change_brand(server, brand, {"redirect_urls": [APP]})
    link = await asked(kind)
    page = await visitor.open(link)
    for raw in HOSTILE:
        page = await visitor.open(f"{link}&{httpx.QueryParams({'redirect': raw})}")
        assert page.status == 200
        assert "redirect" not in page.form.hidden
        assert page.response.headers["content-security-policy"].count("http") <= 1
    # The hidden field is the client's to change, and is judged again.
    page.form.hidden["redirect"] = "https://evil.example/welcome"
    done = await visitor.press(page, TWICE if page.form.typed else None)
    leads_to = done.response.headers.get("location") or dict(done.tags)["a"]["href"] or ""
    assert leads_to.partition("#")[0] == APP


@pytest.mark.attack("A54")
async def test_a_redirect_that_was_taken_off_the_list_leads_nowhere(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked
) -> None:
    await change_brand(server, brand, {"redirect_urls": [APP, "https://old.example/"]})
    page = await visitor.open(f"{await asked(MailKind.magic_login)}&redirect=https://old.example/")
    assert page.form.hidden["redirect"] == "https://old.example/"
    await change_brand(server, brand, {"redirect_urls": [APP]})
    answer = await visitor.press(page)
    assert answer.response.headers["location"].startswith(f"{APP}#token=")


@pytest.mark.attack("A103")
@pytest.mark.parametrize(
    "agent",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "Call +1-900-123 now, your account was stolen",
        "{{ 7 * 7 }}{% raw %}{0.__class__}",
        "\x1b[31mred\x00\x85\xa0",
        "Mozilla/5.0 (<b>X11</b>; Linux) Firefox/140.0",
        "https://evil.example/",
        "x" * 200,
    ],
)
async def test_a_stranger_s_texts_do_not_speak_to_the_reader(
    server: Server, brand: ActiveBrand, visitor: Visitor, nobody: Context, agent: str
) -> None:
    caller = await _caller_with(server, brand, nobody, agent)
    await email_change.change_email(caller, "o'brien&co+x@example.com", PASSWORD)
    page = await visitor.open(await newest_link(server, MailKind.verify_email))
    assert page.status == 200
    assert "Address o'brien&co+x@example.com" in page.text
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    place = page.text.partition("Device ")[2].partition(" A password")[0]
    assert place in ("192.0.2.7", "Firefox, Linux (192.0.2.7)")


async def _caller_with(server: Server, brand: ActiveBrand, nobody: Context, agent: str) -> Context:
    """A request of the same user, in a session that was opened by something that calls itself ``agent``."""
    assert isinstance(nobody.principal, UserPrincipal)
    opened_from = sessions.device(RequestDetails("request-2", address_prefix="192.0.2.7", user_agent=agent))
    keys, now = RotationKeys.of(server), server.clock.now()
    async with server.db.transaction() as tx:
        opened = await sessions.open_session(
            tx, brand, nobody.principal.user_id, SessionKind.standing, opened_from, keys, now, password_hash=None
        )
    assert opened is not None
    return await make_caller(server, opened)
