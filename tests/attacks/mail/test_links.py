"""A55, A57-A59, A100: a link works once, within its lifetime, in its newest mail, by its own form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind
from keystead.mail.model import LINK_PATHS, MailKind
from keystead.policy import SessionKind
from keystead.users.one_time_tokens.model import KINDS, LIFETIMES, TokenPurpose
from tests.api import Api
from tests.attacks.mail_operations import (
    CLAIMS,
    cause_mail,
    claim_magically,
    handed_over,
    link_of,
    mailed_token,
    make_holder,
    make_mailing_brand,
    redeem,
    request_login,
    request_reset,
    typed,
    use_at_page,
    use_in_app,
    ways,
    who,
)
from tests.attacks.mails import LINK_MAILS, assert_gone, click, mails_to, open_link, press, token_to
from tests.attacks.prehijackers import VICTIM
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import change_brand, make_access_token, make_session, make_user

SECONDS = {SecretKind.magic: 600, SecretKind.verify: 86_400, SecretKind.reset: 1800}
"""How long a link is good: security §13."""
PREFETCHING = (
    {"Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"},
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Referer": "https://mail.example.com/"},
    {"User-Agent": "SafeLinks/1.0 (a scanner of mails)"},
)
every_purpose = pytest.mark.parametrize("purpose", list(LINK_MAILS))


@pytest.mark.attack("A55")
@every_purpose
async def test_one_of_fifty_concurrent_uses_succeeds(
    server: Server, api: Api, brand: ActiveBrand, purpose: TokenPurpose
) -> None:
    token = await (await make_holder(api, server, brand, purpose)).ask(purpose)
    link = link_of(token)
    page = await open_link(api, link)

    async def at_page() -> bool:
        answer = await press(api, link, page, typed(token))
        if answer.status_code not in (200, 303):
            assert_gone(answer)
            return False
        return True

    async def in_app() -> bool:
        return await use_in_app(api, token)

    both = [at_page, in_app if use_in_app in ways(purpose) else at_page]
    used = await asyncio.gather(*(both[number % 2]() for number in range(50)))
    assert used.count(True) == 1
    for way in ways(purpose):
        assert not await way(api, token)


@pytest.mark.attack("A57")
@every_purpose
async def test_opening_a_link_does_not_consume_it(
    server: Server, api: Api, brand: ActiveBrand, watched: WatchedDatabase, purpose: TokenPurpose
) -> None:
    token = await (await make_holder(api, server, brand, purpose)).ask(purpose)
    link = link_of(token)
    watched.forget()
    for headers in ({}, *PREFETCHING):
        for method in ("GET", "HEAD"):
            answer = await api.http.request(method, link, headers=headers)
            assert answer.status_code == 200, (method, headers)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
    for method in ("OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"):
        answer = await api.http.request(method, link)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST"), method
    assert_nothing_is_written(watched)
    assert await use_at_page(api, token)
    assert not await use_at_page(api, token)


def assert_nothing_is_written(watched: WatchedDatabase) -> None:
    assert watched.asked
    assert [asked.text for asked in watched.asked if not asked.text.lstrip("( ").startswith("SELECT")] == []


@pytest.mark.attack("A57")
@pytest.mark.attack("A100")
@every_purpose
async def test_a_form_from_another_origin_is_rejected(
    server: Server, api: Api, brand: ActiveBrand, purpose: TokenPurpose
) -> None:
    token = await (await make_holder(api, server, brand, purpose)).ask(purpose)
    link, fields = link_of(token), {"token": token, **typed(token)}
    page = await open_link(api, link)
    for case in ({}, {"seal": ""}, {"seal": "0" * 64}):
        answer = await api.http.post(link.partition("?")[0], data=fields | case)
        assert answer.status_code == 403, (case, answer.text)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "https://auth.example.com.evil.example"},
        {"Origin": "http://auth.example.com:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://auth.example.com"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ):
        assert (await press(api, link, page, typed(token), headers)).status_code == 403, headers
    ours = {"Origin": "https://auth.example.com", "Sec-Fetch-Site": "same-origin"}
    assert (await press(api, link, page, typed(token), ours)).status_code in (200, 303)


@pytest.mark.attack("A58")
def test_lifetimes() -> None:
    assert {kind: age.total_seconds() for kind, age in LIFETIMES.items()} == SECONDS
    assert set(KINDS.values()) == set(SECONDS) == set(LINK_PATHS)


@pytest.mark.attack("A58")
@every_purpose
async def test_a_link_expires(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    holder = await make_holder(api, server, brand, purpose)
    seconds = SECONDS[KINDS[purpose]]
    for way in ways(purpose):
        late = await holder.ask(purpose)
        clock.advance(seconds=seconds - 1)
        assert (await open_link(api, link_of(late))).status_code == 200
        clock.advance(seconds=2)
        assert not await way(api, late)
        clock.advance(hours=1)
    # Last: a verified address is no longer pending.
    token = await holder.ask(purpose)
    clock.advance(seconds=seconds - 1)
    assert await ways(purpose)[-1](api, token)


@pytest.mark.attack("A58")
@pytest.mark.parametrize("purpose", [TokenPurpose.login, TokenPurpose.claim])
async def test_a_token_passed_to_the_app_is_valid_for_two_minutes_and_opens_no_page(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    await change_brand(server, brand, {"redirect_urls": ["https://app.example.com/welcome"]})
    holder = await make_holder(api, server, brand, purpose)
    first = handed_over(await click(api, link_of(await holder.ask(purpose))))
    clock.advance(seconds=121)
    assert not await use_in_app(api, first)
    second = handed_over(await click(api, link_of(await holder.ask(TokenPurpose.login))))
    clock.advance(seconds=119)
    assert not await use_at_page(api, second)
    assert await use_in_app(api, second)
    assert not await use_in_app(api, second)


@pytest.mark.attack("A59")
@every_purpose
async def test_the_newest_link_of_a_kind_replaces_the_older(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    holder = await make_holder(api, server, brand, purpose)
    tokens = []
    for _ in range(3):
        tokens.append(await holder.ask(purpose))
        clock.advance(seconds=61)
    if purpose not in CLAIMS:
        clock.advance(seconds=-59)
        assert set((await cause_mail(api, purpose, holder.email, token="")).data.values()) == {True}
    *older, newest = tokens
    for way in ways(purpose):
        for token in older:
            assert not await way(api, token)
    assert await ways(purpose)[-1](api, newest)


@pytest.mark.attack("A59")
@pytest.mark.parametrize("second", sorted(CLAIMS))
@pytest.mark.parametrize("first", sorted(CLAIMS))
async def test_a_new_change_replaces_the_pending_one_of_either_kind(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, first: TokenPurpose, second: TokenPurpose
) -> None:
    holder = await make_holder(api, server, brand, first)
    old = await holder.ask(first)
    clock.advance(seconds=61)
    holder.email = "another@example.com"
    new = await holder.ask(second)
    for way in ways(first):
        assert not await way(api, old)
    assert await use_at_page(api, new)


NEW = "new@example.com"
Way = Callable[[Api, str], Awaitable[bool]]


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """Its pages redirect to an app."""
    brand = await make_mailing_brand(server)
    return await change_brand(server, brand, {"redirect_urls": ["https://app.example.com/welcome"]})


@pytest.mark.attack("A59")
async def test_requests_by_others_do_not_invalidate_a_token_passed_to_the_app(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock
) -> None:
    await make_user(server, brand, VICTIM)
    for _ in range(3):
        token = await mailed_token(api, server, TokenPurpose.login, VICTIM)
        fresh = handed_over(await click(api, link_of(token)))
        before = len(await mails_to(server, VICTIM))
        for ask in (request_login, request_reset):
            assert set((await ask(api, VICTIM)).data.values()) == {True}
        assert len(await mails_to(server, VICTIM)) == before + 1
        assert (await redeem(api, fresh)).data["redeemMagicLink"]
        clock.advance(seconds=61)


@pytest.mark.attack("A59")
@pytest.mark.parametrize("way", ways(TokenPurpose.claim))
async def test_requests_by_others_do_not_invalidate_an_email_change(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, way: Way
) -> None:
    user = await make_user(server, brand, VICTIM)
    access = make_access_token(server, await make_session(server, brand, user.id, SessionKind.standing))
    assert (await claim_magically(api, access, NEW)).data
    token = await token_to(server, NEW, MailKind.change_email)
    for ask in (request_login, request_reset):
        assert (await ask(api, VICTIM)).data
        clock.advance(seconds=61)
    assert await way(api, token)
    assert (await who(api, access))["email"] == NEW


@pytest.mark.attack("A59")
async def test_links_of_different_kinds_do_not_replace_each_other(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock
) -> None:
    await make_user(server, brand, VICTIM)
    fresh = handed_over(await click(api, link_of(await mailed_token(api, server, TokenPurpose.login, VICTIM))))
    to_reset = await mailed_token(api, server, TokenPurpose.reset, VICTIM)
    clock.advance(seconds=61)
    to_log_in = await mailed_token(api, server, TokenPurpose.login, VICTIM)
    for token in (fresh, to_log_in, to_reset):
        assert await use_in_app(api, token)
