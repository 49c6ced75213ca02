"""A55, A57-A59: a link is good once, for its time, in its newest mail, and only to whoever presses the button."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind
from keystead.mail.model import LINK_PATHS
from keystead.users.one_time_tokens.model import KINDS, LIFETIMES, TokenPurpose
from tests.api import Api
from tests.attacks.mail_operations import (
    CLAIMS,
    cause_mail,
    handed_over,
    link_of,
    make_holder,
    make_mailing_brand,
    typed,
    use_at_page,
    use_in_app,
    ways,
)
from tests.attacks.mails import LINK_MAILS, assert_gone, click, open_link, press
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import change_brand

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


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_mailing_brand(server)


@pytest.mark.attack("A55")
@every_purpose
async def test_of_fifty_who_use_a_link_at_once_one_gets_in(
    server: Server, api: Api, brand: ActiveBrand, purpose: TokenPurpose
) -> None:
    """At the page and in the app, whichever there are, side by side."""
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
async def test_looking_at_a_link_consumes_nothing(
    server: Server, api: Api, brand: ActiveBrand, watched: WatchedDatabase, purpose: TokenPurpose
) -> None:
    """GET, HEAD, every other method, every way to fetch ahead: nothing is written, and the button works afterwards."""
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
@every_purpose
async def test_a_form_from_elsewhere_consumes_nothing(
    server: Server, api: Api, brand: ActiveBrand, purpose: TokenPurpose
) -> None:
    """A page of an attacker's that posts its own link, to have its visitor go on in the attacker's account."""
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
    ):
        assert (await press(api, link, page, typed(token), headers)).status_code == 403, headers
    ours = {"Origin": "https://auth.example.com", "Sec-Fetch-Site": "same-origin"}
    assert (await press(api, link, page, typed(token), ours)).status_code in (200, 303)


@pytest.mark.attack("A58")
def test_every_kind_of_link_has_the_age_that_was_promised() -> None:
    """Each purpose there is, by the kind of its token."""
    assert {kind: age.total_seconds() for kind, age in LIFETIMES.items()} == SECONDS
    assert set(KINDS.values()) == set(SECONDS) == set(LINK_PATHS)


@pytest.mark.attack("A58")
@every_purpose
async def test_a_link_ends_with_its_age(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    """A second after it nobody gets in; a second before it, whoever has it."""
    holder = await make_holder(api, server, brand, purpose)
    seconds = SECONDS[KINDS[purpose]]
    for way in ways(purpose):
        late = await holder.ask(purpose)
        clock.advance(seconds=seconds - 1)
        assert (await open_link(api, link_of(late))).status_code == 200
        clock.advance(seconds=2)
        assert not await way(api, late)
        clock.advance(hours=1)
    # Last: who has proved an address has no claim any more.
    token = await holder.ask(purpose)
    clock.advance(seconds=seconds - 1)
    assert await ways(purpose)[-1](api, token)


@pytest.mark.attack("A58")
@pytest.mark.parametrize("purpose", [TokenPurpose.login, TokenPurpose.claim])
async def test_what_a_page_hands_over_is_good_for_two_minutes(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    """However long the link itself would have been."""
    await change_brand(server, brand, {"redirect_urls": ["https://app.example.com/welcome"]})
    holder = await make_holder(api, server, brand, purpose)
    first = handed_over(await click(api, link_of(await holder.ask(purpose))))
    clock.advance(seconds=121)
    assert not await use_in_app(api, first)
    second = handed_over(await click(api, link_of(await holder.ask(TokenPurpose.login))))
    clock.advance(seconds=119)
    assert await use_in_app(api, second)
    assert not await use_in_app(api, second)


@pytest.mark.attack("A58")
async def test_a_link_lives_no_longer_for_being_handed_over_again_and_again(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock
) -> None:
    """What a page has handed to the app is refused by every page."""
    await change_brand(server, brand, {"redirect_urls": ["https://app.example.com/welcome"]})
    holder = await make_holder(api, server, brand, TokenPurpose.login)
    fresh = handed_over(await click(api, link_of(await holder.ask(TokenPurpose.login))))
    assert not await use_at_page(api, fresh)
    clock.advance(seconds=119)
    assert not await use_at_page(api, fresh)
    clock.advance(seconds=1)
    assert not await use_in_app(api, fresh)


@pytest.mark.attack("A59")
@every_purpose
async def test_the_newest_link_of_a_kind_is_the_only_one(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    """Also after a request that came too soon and was not answered by a mail: then the one before it stays good."""
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
async def test_a_new_claim_ends_the_older_one_of_either_kind(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, first: TokenPurpose, second: TokenPurpose
) -> None:
    """Of another address, too: a user claims one address at a time."""
    holder = await make_holder(api, server, brand, first)
    old = await holder.ask(first)
    clock.advance(seconds=61)
    holder.email = "another@example.com"
    new = await holder.ask(second)
    for way in ways(first):
        assert not await way(api, old)
    assert await use_at_page(api, new)


@pytest.mark.attack("A59")
async def test_links_of_different_kinds_do_not_end_each_other(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock
) -> None:
    """Whoever asks for a login in somebody's name must not spoil their new password."""
    holder = await make_holder(api, server, brand, TokenPurpose.reset)
    to_reset = await holder.ask(TokenPurpose.reset)
    clock.advance(seconds=61)
    to_log_in = await holder.ask(TokenPurpose.login)
    assert timedelta(seconds=61) < LIFETIMES[SecretKind.reset]
    assert await use_in_app(api, to_log_in)
    assert await use_in_app(api, to_reset)
