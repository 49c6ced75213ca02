"""Only pressing the button of the right page uses a link up, and a link that does not work never says why."""

from __future__ import annotations

import asyncio

import pytest

from keystead.authentication import email_change
from keystead.context import ActiveBrand, Context, Server
from keystead.crypto import secrets
from keystead.mail.model import LINK_KINDS, LINK_PATHS, MailKind
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import LIFETIMES
from keystead.web.pages.csrf import FormSeal
from tests.clocks import ManualClock
from tests.make import change_brand
from tests.web.pages.conftest import NEW, PASSWORD, Asked
from tests.web.pages.visiting import BASE, Page, Visitor

TWICE = {"password": "violet indigo blue", "repeated": "violet indigo blue"}
EVERY_LINK = pytest.mark.parametrize("kind", list(LINK_KINDS))
AT_ONCE = 50


def typed(page: Page) -> dict[str, str] | None:
    return TWICE if page.form.typed else None


async def is_good(server: Server, link: str) -> bool:
    secret = secrets.parse(link.partition("token=")[2])
    assert secret
    return await tokens.find(server.db.reads, secret, server.clock.now()) is not None


@pytest.mark.attack("A57")
@EVERY_LINK
async def test_looking_consumes_nothing(server: Server, visitor: Visitor, asked: Asked, kind: MailKind) -> None:
    link = await asked(kind)
    page = await visitor.open(link)
    for headers in ({}, {"sec-purpose": "prefetch;prerender"}, {"purpose": "prefetch"}, {"sec-fetch-site": "none"}):
        again = await visitor.open(link, headers=headers)
        assert (again.status, again.text) == (200, page.text)
        head = await visitor.open(link, method="HEAD", headers=headers)
        assert (head.status, head.response.content) == (200, b"")
        assert head.response.headers == again.response.headers
    for method in ("OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
        refused = await visitor.open(link, method=method)
        assert refused.status == 405
        assert refused.response.headers["allow"] == "GET, HEAD, POST"
    assert await is_good(server, link)
    assert (await visitor.press(page, typed(page))).status in (200, 303)
    assert not await is_good(server, link)


@EVERY_LINK
async def test_a_used_link_is_gone_for_good(visitor: Visitor, asked: Asked, kind: MailKind) -> None:
    link = await asked(kind)
    page = await visitor.open(link)
    assert (await visitor.press(page, typed(page))).status in (200, 303)
    for answer in (await visitor.press(page, typed(page)), await visitor.open(link)):
        assert answer.status == 410
        assert "This link has been used or has expired" in answer.text
        assert "If you have used it already, there is nothing left to do." in answer.text


@pytest.mark.attack("A56")
@EVERY_LINK
async def test_a_link_opens_its_own_page_alone(server: Server, visitor: Visitor, asked: Asked, kind: MailKind) -> None:
    link = await asked(kind)
    page, token = await visitor.open(link), link.partition("token=")[2]
    for path in set(LINK_PATHS.values()) - {LINK_PATHS[LINK_KINDS[kind]]}:
        assert (await visitor.open(f"{path}?token={token}")).status == 410
        page.form.action = path.rpartition("/")[2]
        more = TWICE if path == "/link/reset" else {}
        page.form.typed = list(more)
        assert (await visitor.press(page, more)).status == 410
    assert await is_good(server, link)


@pytest.mark.attack("A58")
@EVERY_LINK
async def test_a_link_runs_out(visitor: Visitor, asked: Asked, clock: ManualClock, kind: MailKind) -> None:
    link = await asked(kind)
    seconds = LIFETIMES[LINK_KINDS[kind]].total_seconds()
    clock.advance(seconds=seconds - 1)
    page = await visitor.open(link)
    clock.advance(seconds=1)
    assert (await visitor.open(link)).status == 410
    assert (await visitor.press(page, typed(page))).status == 410


@pytest.mark.attack("A58")
@pytest.mark.parametrize("claims_again", [False, True])
async def test_what_a_page_hands_over_opens_no_page(
    server: Server, visitor: Visitor, asked: Asked, nobody: Context, claims_again: bool
) -> None:
    """Else a link would live for as long as somebody presses the button every two minutes."""
    link = await asked(MailKind.change_email)
    code = next(word for word in (await visitor.press(await visitor.open(link))).text.split() if word[:6] == "ks_ml_")
    if claims_again:
        # The address is a claim as well as the login: there would be something to prove.
        await email_change.change_email(nobody, NEW, PASSWORD)
    secret = secrets.parse(code)
    assert secret
    assert (await visitor.open(f"/link/login?token={code}")).status == 410
    form = {"token": code, "seal": FormSeal(server.master_key).seal(secret)}
    headers = {"origin": "null", "sec-fetch-site": "same-origin"}
    assert (await visitor.http.post(f"{BASE}/link/login", data=form, headers=headers)).status_code == 410
    assert await is_good(server, f"?token={code}")


@EVERY_LINK
async def test_every_bad_link_gets_the_same_page(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, clock: ManualClock, kind: MailKind
) -> None:
    await change_brand(server, brand, {"base_url": "https://id.rainbow.example", "redirect_urls": ["https://a.b/"]})
    used = await asked(kind)
    path = LINK_PATHS[LINK_KINDS[kind]]
    page = await visitor.open(used)
    await visitor.press(page, typed(page))
    token = used.partition("token=")[2]
    unknown = secrets.generate(LINK_KINDS[kind]).reveal()
    bad = ["", "x", token[:-1], f"{token}x", token.upper(), "a" * 20_000, "%00", "%ff", f"{token}&token={token}"]
    links = [f"{path}?token={raw}" for raw in (*bad, unknown, token)]
    links += [path, f"{path}?", f"{path}?TOKEN={token}", f"{path}?redirect=https%3A%2F%2Fa.b%2F&token={unknown}"]
    answers = [await visitor.open(link) for link in links]
    assert {answer.status for answer in answers} == {410}
    assert {(answer.response.content, str(answer.response.headers)) for answer in answers} == {
        (answers[0].response.content, str(answers[0].response.headers))
    }


@pytest.mark.attack("A55")
@EVERY_LINK
async def test_of_many_who_press_at_once_one_alone_gets_in(visitor: Visitor, asked: Asked, kind: MailKind) -> None:
    page = await visitor.open(await asked(kind))
    answers = await asyncio.gather(*(visitor.press(page, typed(page)) for _ in range(AT_ONCE)))
    # A server that hashes for the others first may be too busy for some of them.
    assert [answer.status for answer in answers if answer.status not in (410, 503)] in ([200], [303])
