"""A65: nobody's mailbox is filled from here. One mail a minute and five an hour to each address, however asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Answer, Api, make_api
from tests.attacks.callers import anonymised, second_node
from tests.attacks.mail_operations import (
    claim,
    claim_magically,
    mailed_token,
    make_mailing_brand,
    redeem,
    request_login,
    request_reset,
    resend,
    use_at_page,
    use_in_app,
)
from tests.attacks.mails import mails_to, outbox, token_to
from tests.attacks.operations import get_access_token
from tests.attacks.prehijackers import Guest, make_guest
from tests.clocks import ManualClock
from tests.make import make_brand, make_user

ANN, NO_OWNER = "ann@example.com", "nobody@example.com"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Ask = Callable[[], Awaitable[Answer]]


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_mailing_brand(server)


@pytest.fixture
async def guests(api: Api, brand_token: str) -> list[Guest]:
    """Each with an account of their own: of them there are as many as an attacker likes."""
    return [await make_guest(api, brand_token) for _ in range(10)]


def _most_within(sent: list[datetime], window: timedelta) -> int:
    """The greatest number of these within any stretch of time so long."""
    return max((sum(1 for at in sent if start <= at < start + window) for start in sent), default=0)


async def _ways(api: Api, guest: Guest, email: str, number: int) -> Answer:
    """The ways to cause a mail to an address of somebody else's, one after the other."""
    token = await get_access_token(api, guest.refresh)
    ways: list[Ask] = [
        lambda: request_login(api, email),
        lambda: request_reset(api, email.upper()),
        lambda: claim(api, token, email),
        lambda: claim_magically(api, token, email.title()),
        lambda: resend(api, token),
    ]
    return await ways[number % len(ways)]()


@pytest.mark.attack("A65")
@pytest.mark.parametrize("email", [ANN, NO_OWNER])
@pytest.mark.parametrize("every", [7, 36, 61])
async def test_a_hundred_requests_cause_five_mails_an_hour(
    server: Server, api: Api, ann: User, guests: list[Guest], clock: ManualClock, email: str, every: int
) -> None:
    """By every way there is, by ten callers, in three spellings; each is answered the same."""
    answers = []
    for number in range(100):
        answers.append(await _ways(api, guests[number // 10], email, number))
        clock.advance(seconds=every)
    assert {(answer.status, *answer.data.values()) for answer in answers} == {(200, True)}
    mails = await outbox(server)
    assert len({mail.recipient.lower() for mail in mails}) == 1
    sent = [mail.created_at for mail in mails]
    assert _most_within(sent, MINUTE) == 1
    assert _most_within(sent, HOUR) == 5


@pytest.mark.attack("A65")
@pytest.mark.parametrize("email", [ANN, NO_OWNER])
async def test_of_a_hundred_requests_at_once_one_causes_a_mail(
    server: Server, api: Api, ann: User, guests: list[Guest], database_url: str, clock: ManualClock, email: str
) -> None:
    """Sent to two nodes side by side: they count the mails of an address one after the other."""
    async with second_node(database_url, clock) as node:
        asked = [_ways([api, node][number % 2], guests[number % 10], email, number) for number in range(100)]
        # A claim has to be there to be mailed again: the guests' first.
        for guest in guests:
            await claim(api, guest.access, f"{guest.id}@example.com")
        answers = await asyncio.gather(*asked)
    assert {(answer.status, *answer.data.values()) for answer in answers} == {(200, True)}
    assert len([mail for mail in await outbox(server) if mail.recipient.lower() == email]) == 1
    assert set(Counter(mail.recipient.lower() for mail in await outbox(server)).values()) == {1}


@pytest.mark.attack("A65")
async def test_a_hundred_addresses_get_a_mail_each(server: Server, api: Api, brand: ActiveBrand) -> None:
    """The allowed act: each address has its own share, and so has each brand."""
    for number in range(100):
        await make_user(server, brand, f"user{number}@example.com")
    other = await make_brand(server, "greyMakers", features={"magic_login": True})
    await make_user(server, other, "user0@example.com")
    names = [(f"user{number}@example.com", brand.name) for number in range(100)] + [("user0@example.com", other.name)]
    for email, name in names:
        assert (await request_login(api, email, name)).data["requestMagicLogin"]
    found = Counter((mail.recipient, mail.brand_id) for mail in await outbox(server))
    assert found == dict.fromkeys([(email, brand.id if name == brand.name else other.id) for email, name in names], 1)


@pytest.mark.attack("A65")
async def test_a_mailbox_is_not_filled_with_what_its_owner_never_asked_for(
    server: Server, api: Api, ann: User, guests: list[Guest], clock: ManualClock
) -> None:
    """A notice that somebody tried to use the address comes once an hour, also where a link was used meanwhile."""
    for number in range(120):
        access = await get_access_token(api, guests[number % 10].refresh)
        assert (await claim(api, access, ANN)).data["changeAndValidateEmail"]
        clock.advance(seconds=50)
    mails = await mails_to(server, ANN)
    assert {mail.kind for mail in mails} == {MailKind.address_taken}
    assert len(mails) == 2
    assert await use_at_page(api, await mailed_token(api, server, TokenPurpose.login, ANN))
    access = await get_access_token(api, guests[0].refresh)
    assert (await claim(api, access, ANN)).data["changeAndValidateEmail"]
    assert len(await mails_to(server, ANN, MailKind.address_taken)) == 2


@pytest.mark.attack("A65")
@pytest.mark.parametrize("ask", [request_login, request_reset])
async def test_an_owner_gets_links_while_somebody_claims_the_address_all_day(
    server: Server, api: Api, ann: User, guests: list[Guest], clock: ManualClock, ask: Callable[..., Awaitable[Answer]]
) -> None:
    """One guest, a claim every 20 seconds for 3 hours; the owner asks every 15 minutes and needs every link."""
    links = {MailKind.magic_login, MailKind.reset_password}
    for _ in range(12):
        token = await get_access_token(api, guests[0].refresh)
        for _ in range(45):
            assert (await claim(api, token, ANN)).data["changeAndValidateEmail"]
            clock.advance(seconds=20)
        assert set((await ask(api, ANN)).data.values()) == {True}
    mails = [mail.kind for mail in await mails_to(server, ANN)]
    assert len([kind for kind in mails if kind in links]) == 12
    assert mails.count(MailKind.address_taken) == 3


@pytest.mark.attack("A65")
async def test_under_the_limit_as_over_it_nobody_learns_whose_an_address_is(
    server: Server, api: Api, ann: User, clock: ManualClock
) -> None:
    """Byte for byte the same, for an owner and for nobody."""
    for ask in (request_login, request_reset):
        seen = []
        for email in (ANN, NO_OWNER):
            answers = [await ask(api, email) for _ in range(8)]
            seen.append([(*anonymised(answer), sorted(answer.headers.items())) for answer in answers])
            assert all(answer == seen[-1][0] for answer in seen[-1])
        assert seen[0] == seen[1]
        clock.advance(seconds=61)
    assert {mail.recipient for mail in await outbox(server)} == {ANN}


@pytest.mark.attack("A65")
async def test_a_request_that_comes_too_soon_spoils_no_link(
    server: Server, api: Api, ann: User, guests: list[Guest], clock: ManualClock
) -> None:
    """Else whoever asks often enough would keep the owner out."""
    token = await mailed_token(api, server, TokenPurpose.login, ANN)
    for number in range(25):
        await _ways(api, guests[number % 10], ANN, number)
        clock.advance(seconds=2)
    assert await use_in_app(api, token)


@pytest.mark.attack("A65")
async def test_who_does_what_the_mails_say_never_meets_the_limit(
    server: Server, api: Api, ann: User, clock: ManualClock
) -> None:
    """A link that was used was wanted: ten logins in ten seconds, and a new password between them."""
    for number in range(10):
        purpose = TokenPurpose.reset if number == 5 else TokenPurpose.login
        assert await use_at_page(api, await mailed_token(api, server, purpose, ANN))
        clock.advance(seconds=1)
    limited = [mail for mail in await mails_to(server, ANN) if mail.kind in LINK_KINDS]
    assert len(limited) == 10


@pytest.mark.attack("A65")
async def test_the_limit_is_lifted_where_throttling_is_off(
    server: Server, api: Api, ann: User, clock: ManualClock
) -> None:
    """And nowhere else: the same server with it on sends one."""
    loud = await make_api(replace(server, settings=replace(server.settings, throttling=False)))
    for _ in range(7):
        assert (await request_login(loud, ANN)).data["requestMagicLogin"]
        clock.advance(seconds=1)
    assert len(await mails_to(server, ANN)) == 7
    assert (await request_login(api, ANN)).data["requestMagicLogin"]
    assert len(await mails_to(server, ANN)) == 7
    assert (await redeem(api, await token_to(server, ANN, MailKind.magic_login))).data["redeemMagicLink"]
    await loud.http.aclose()
