"""A65: at most one mail a minute and five an hour to each address, whatever operation requests them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Answer, Api, make_api
from tests.attacks.callers import anonymised, second_node
from tests.attacks.mail_operations import (
    claim,
    claim_magically,
    mailed_token,
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
from tests.attacks.surface import Operation, operations
from tests.clocks import ManualClock
from tests.make import make_brand, make_context, make_user

ANN, UNKNOWN = "ann@example.com", "unknown@example.com"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Ask = Callable[[], Awaitable[Answer]]


@pytest.fixture
async def guests(api: Api, brand_token: str) -> list[Guest]:
    return [await make_guest(api, brand_token) for _ in range(10)]


async def _ways(api: Api, guest: Guest, email: str, number: int) -> Answer:
    """Request a mail to another user's address by each operation in turn."""
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
@pytest.mark.parametrize("email", [ANN, UNKNOWN])
async def test_a_hundred_requests_cause_five_mails_an_hour(
    server: Server, api: Api, ann: User, guests: list[Guest], clock: ManualClock, email: str
) -> None:
    answers = []
    for number in range(100):
        answers.append(await _ways(api, guests[number // 10], email, number))
        clock.advance(seconds=37)
    assert {(answer.status, *answer.data.values()) for answer in answers} == {(200, True)}
    mails = await outbox(server)
    assert len({mail.recipient.lower() for mail in mails}) == 1
    sent = [mail.created_at for mail in mails]
    assert _most_within(sent, MINUTE) == 1
    assert _most_within(sent, HOUR) == 5


@pytest.mark.attack("A65")
@pytest.mark.parametrize("email", [ANN, UNKNOWN])
async def test_one_of_a_hundred_concurrent_requests_causes_a_mail(
    server: Server, api: Api, ann: User, guests: list[Guest], database_url: str, clock: ManualClock, email: str
) -> None:
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
async def test_each_address_and_brand_has_its_own_limit(server: Server, api: Api, brand: ActiveBrand) -> None:
    for number in range(20):
        await make_user(server, brand, f"user{number}@example.com")
    other = await make_brand(server, "greyMakers", features={"magic_login": True})
    await make_user(server, other, "user0@example.com")
    names = [(f"user{number}@example.com", brand.name) for number in range(20)] + [("user0@example.com", other.name)]
    for email, name in names:
        assert (await request_login(api, email, name)).data["requestMagicLogin"]
    found = Counter((mail.recipient, mail.brand_id) for mail in await outbox(server))
    assert found == dict.fromkeys([(email, brand.id if name == brand.name else other.id) for email, name in names], 1)


@pytest.mark.attack("A65")
async def test_notices_of_claims_come_once_an_hour(
    server: Server, api: Api, ann: User, guests: list[Guest], clock: ManualClock
) -> None:
    for number in range(40):
        access = await get_access_token(api, guests[number % 10].refresh)
        assert (await claim(api, access, ANN)).data["changeAndValidateEmail"]
        clock.advance(seconds=150)
    mails = await mails_to(server, ANN)
    assert {mail.kind for mail in mails} == {MailKind.address_taken}
    assert len(mails) == 2
    assert await use_at_page(api, await mailed_token(api, server, TokenPurpose.login, ANN))
    access = await get_access_token(api, guests[0].refresh)
    assert (await claim(api, access, ANN)).data["changeAndValidateEmail"]
    assert len(await mails_to(server, ANN, MailKind.address_taken)) == 2


@pytest.mark.attack("A65")
async def test_an_owner_gets_links_while_another_user_claims_the_address(
    server: Server, api: Api, ann: User, guests: list[Guest], clock: ManualClock
) -> None:
    links = {MailKind.magic_login, MailKind.reset_password}
    # A claim each minute for 3 hours; the owner requests a link every 15 minutes and needs each.
    for number in range(12):
        token = await get_access_token(api, guests[0].refresh)
        for _ in range(15):
            assert (await claim(api, token, ANN)).data["changeAndValidateEmail"]
            clock.advance(seconds=60)
        ask = (request_login, request_reset)[number % 2]
        assert set((await ask(api, ANN)).data.values()) == {True}
    mails = [mail.kind for mail in await mails_to(server, ANN)]
    assert len([kind for kind in mails if kind in links]) == 12
    assert mails.count(MailKind.address_taken) == 3


@pytest.mark.attack("A65")
async def test_responses_do_not_reveal_whether_an_address_is_registered(
    server: Server, api: Api, ann: User, clock: ManualClock
) -> None:
    for ask in (request_login, request_reset):
        seen = []
        for email in (ANN, UNKNOWN):
            answers = [await ask(api, email) for _ in range(8)]
            seen.append([(*anonymised(answer), sorted(answer.headers.items())) for answer in answers])
            assert all(answer == seen[-1][0] for answer in seen[-1])
        assert seen[0] == seen[1]
        clock.advance(seconds=61)
    assert {mail.recipient for mail in await outbox(server)} == {ANN}


@pytest.mark.attack("A65")
async def test_rate_limited_requests_do_not_invalidate_a_link(
    server: Server, api: Api, ann: User, guests: list[Guest], clock: ManualClock
) -> None:
    token = await mailed_token(api, server, TokenPurpose.login, ANN)
    for number in range(25):
        await _ways(api, guests[number % 10], ANN, number)
        clock.advance(seconds=2)
    assert await use_in_app(api, token)


@pytest.mark.attack("A65")
async def test_used_links_do_not_count(server: Server, api: Api, ann: User, clock: ManualClock) -> None:
    for number in range(10):
        purpose = TokenPurpose.reset if number == 5 else TokenPurpose.login
        assert await use_at_page(api, await mailed_token(api, server, purpose, ANN))
        clock.advance(seconds=1)
    limited = [mail for mail in await mails_to(server, ANN) if mail.kind in LINK_KINDS]
    assert len(limited) == 10


@pytest.mark.attack("A65")
async def test_there_is_no_limit_without_throttling(server: Server, api: Api, ann: User, clock: ManualClock) -> None:
    loud = await make_api(replace(server, settings=replace(server.settings, throttling=False)))
    for _ in range(7):
        assert (await request_login(loud, ANN)).data["requestMagicLogin"]
        clock.advance(seconds=1)
    assert len(await mails_to(server, ANN)) == 7
    assert (await request_login(api, ANN)).data["requestMagicLogin"]
    assert len(await mails_to(server, ANN)) == 7
    assert (await redeem(api, await token_to(server, ANN, MailKind.magic_login))).data["redeemMagicLink"]
    await loud.http.aclose()


BY_ADDRESS = {
    "Mutation.requestMagicLogin",
    "Mutation.requestPasswordReset",
    "Mutation.changeAndValidateEmail",
    "Mutation.changeEmailMagically",
    "Mutation.resendVerificationMail",
    "Mutation.createUser",
}
"""The operations that mail an address which is not proved to be the caller's."""

_NUMBERS = count(1)


async def make_claimant(server: Server, api: Api, brand: ActiveBrand, brand_token: str, victim: str) -> Guest:
    """An administrator without a login address, who has claimed the victim's."""
    guest = await make_guest(api, brand_token)
    await users.update_user(make_context(server), brand.id, guest.id, UserChanges(permissions=("admin",)))
    assert (await claim(api, guest.access, victim)).data
    return guest


async def mails_by(
    server: Server,
    api: Api,
    brand: ActiveBrand,
    brand_token: str,
    clock: ManualClock,
    operation: Operation,
    taken: bool,
) -> bool:
    """Whether the operation sends mail to the address in its arguments, or to the caller's pending address."""
    victim = f"victim{next(_NUMBERS)}@example.com"
    if taken:
        await make_user(server, brand, victim)
    guest = await make_claimant(server, api, brand, brand_token, victim)
    clock.advance(hours=2)
    token = await get_access_token(api, guest.refresh)
    before = len(await outbox(server))
    await api.send(*operation.request(email=victim, newEmail=victim, brand=brand.name), token=token)
    after = [mail for mail in await outbox(server) if mail.recipient == victim]
    return len(await outbox(server)) > before and bool(after)


@pytest.mark.attack("A65")
async def test_the_operations_that_cause_mail_are_known(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, clock: ManualClock
) -> None:
    found = {
        str(operation)
        for operation in await operations(server, brand)
        for taken in (False, True)
        if await mails_by(server, api, brand, brand_token, clock, operation, taken)
    }
    assert found == BY_ADDRESS


@pytest.mark.attack("A65")
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("name", [*sorted(BY_ADDRESS), "all of them in turn"])
async def test_each_keeps_to_one_mail_a_minute_and_five_an_hour(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, clock: ManualClock, name: str, taken: bool
) -> None:
    victim = "victim@example.com"
    if taken:
        await make_user(server, brand, victim)
    token = (await make_claimant(server, api, brand, brand_token, victim)).access
    asked = [one for one in await operations(server, brand) if str(one) == name or name not in BY_ADDRESS]
    asked = [one for one in asked if str(one) in BY_ADDRESS]
    for number in range(32):
        operation = asked[number % len(asked)]
        await api.send(*operation.request(email=victim, newEmail=victim, brand=brand.name), token=token)
        clock.advance(seconds=25)
    sent = [mail.created_at for mail in await outbox(server) if mail.recipient == victim]
    assert 1 <= _most_within(sent, timedelta(minutes=1)) <= 1
    assert _most_within(sent, timedelta(hours=1)) <= 5


@pytest.mark.attack("A65")
async def test_ten_users_in_one_document_are_one_mail(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, clock: ManualClock
) -> None:
    token = (await make_claimant(server, api, brand, brand_token, "first@example.com")).access
    create = 'createUser(input: {email: "victim@example.com"}) { data { id } }'
    answer = await api.send(f"mutation {{ {' '.join(f'a{n}: {create}' for n in range(10))} }}", token=token)
    codes = Counter(error["extensions"]["code"] for error in answer.errors)
    assert codes == {"RATE_LIMITED": 9}
    assert len([mail for mail in await outbox(server) if mail.recipient == "victim@example.com"]) == 1
    distinct = " ".join(
        f'a{n}: createUser(input: {{email: "user{n}@example.com"}}) {{ data {{ id }} }}' for n in range(10)
    )
    assert (await api.send(f"mutation {{ {distinct} }}", token=token)).data


def _most_within(sent: list[datetime], window: timedelta) -> int:
    return max((sum(1 for at in sent if start <= at < start + window) for start in sent), default=0)
