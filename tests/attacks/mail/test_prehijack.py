"""A60, account pre-hijacking: the six orders in which attacker and victim use an address.

Each ends the same: the victim owns the account and logs in; the attacker's tokens, passwords and links are void.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Api
from tests.attacks.mail_operations import (
    CHANGE_PASSWORD,
    CLAIMS,
    NEW_PASSWORD,
    OLD_PASSWORD,
    cause_mail,
    claim,
    claim_magically,
    link_of,
    mailed_token,
    redeem,
    request_login,
    request_reset,
    resend,
    reset,
    use_at_page,
    who,
)
from tests.attacks.mails import mails_to, open_link, outbox, press, token_in, token_to
from tests.attacks.operations import INVALIDATE, assert_token_refused, log_in
from tests.attacks.prehijackers import EVE, EVES, VICTIM, Guest, assert_owned, make_guest
from tests.clocks import ManualClock
from tests.make import change_brand, make_access_token, make_session, make_user

every_claim = pytest.mark.parametrize("kind", sorted(CLAIMS))


@pytest.fixture
async def eve(api: Api, brand_token: str) -> Guest:
    """The attacker, anonymous."""
    return await make_guest(api, brand_token)


async def _eve_claims(api: Api, server: Server, eve: Guest, kind: TokenPurpose) -> str:
    """The token of a link in the victim's mailbox that would join the victim's address to the attacker's account."""
    if kind is TokenPurpose.claim:
        return await mailed_token(api, server, kind, VICTIM, token=eve.access)
    assert (await claim(api, eve.access, VICTIM, EVES)).data["changeAndValidateEmail"]
    return await token_to(server, VICTIM, MailKind.verify_email)


@pytest.mark.attack("A60")
@every_claim
@pytest.mark.parametrize("order", ["1: attacker first", "2: victim first", "3: within a minute"])
async def test_attacker_and_victim_claim_the_same_address(
    server: Server, api: Api, brand_token: str, eve: Guest, clock: ManualClock, kind: TokenPurpose, order: str
) -> None:
    victim = await make_guest(api, brand_token)
    if order.startswith("2"):
        own = await mailed_token(api, server, TokenPurpose.verify, VICTIM, token=victim.access)
        clock.advance(seconds=61)
        lure = await _eve_claims(api, server, eve, kind)
    elif order.startswith("1"):
        lure = await _eve_claims(api, server, eve, kind)
        clock.advance(seconds=61)
        own = await mailed_token(api, server, TokenPurpose.verify, VICTIM, token=victim.access)
    else:
        lure = await _eve_claims(api, server, eve, kind)
        # The rate limit holds back the victim's own mail, which has to be requested again.
        assert (await claim(api, victim.access, VICTIM, NEW_PASSWORD)).data["changeAndValidateEmail"]
        assert len(await mails_to(server, VICTIM)) == 1
        clock.advance(seconds=61)
        assert (await resend(api, victim.access)).data["resendVerificationMail"] is True
        own = await token_to(server, VICTIM, MailKind.verify_email)
        assert own != lure
    assert await use_at_page(api, own)
    assert await victim.is_in(api), "the session that requested the change stays valid"
    await assert_owned(api, server, victim.id, NEW_PASSWORD, [eve], [lure])


async def _by_magic_link(api: Api, server: Server, _: Guest) -> None:
    assert (await request_login(api, VICTIM)).data["requestMagicLogin"]
    answer = await redeem(api, await token_to(server, VICTIM, MailKind.magic_login))
    assert answer.data["redeemMagicLink"]["data"]["auth_token"]


async def _by_the_page_of_a_magic_link(api: Api, server: Server, _: Guest) -> None:
    assert (await request_login(api, VICTIM)).data["requestMagicLogin"]
    page = await api.http.get("/link/login", params={"token": await token_to(server, VICTIM, MailKind.magic_login)})
    fields = {name: page.text.partition(f'name="{name}" value="')[2].partition('"')[0] for name in ("token", "seal")}
    code = (await api.http.post("/link/login", data=fields)).text.partition("<code>")[2].partition("</code>")[0]
    assert (await redeem(api, code)).data["redeemMagicLink"]["data"]["auth_token"]


async def _by_reset(api: Api, server: Server, _: Guest) -> None:
    assert (await request_reset(api, VICTIM)).data["requestPasswordReset"]
    assert (await reset(api, await token_to(server, VICTIM, MailKind.reset_password))).data["resetPassword"]


async def _by_verification(api: Api, server: Server, eve: Guest) -> None:
    assert (await resend(api, eve.access)).data["resendVerificationMail"] is True
    assert await use_at_page(api, await token_to(server, VICTIM, MailKind.verify_email))


PROOFS = [_by_magic_link, _by_the_page_of_a_magic_link, _by_reset, _by_verification]


@pytest.mark.attack("A60")
@pytest.mark.parametrize("prove", PROOFS)
@pytest.mark.parametrize("flees", [False, True])
async def test_order_4_an_unverified_address_belongs_to_who_verifies_it(
    server: Server,
    api: Api,
    brand: ActiveBrand,
    eve: Guest,
    clock: ManualClock,
    prove: Callable[[Api, Server, Guest], Awaitable[None]],
    flees: bool,
) -> None:
    await change_brand(server, brand, {"features": {"email_verification": False}})
    assert (await claim(api, eve.access, VICTIM, EVES)).data["changeAndValidateEmail"]
    second = Guest(eve.id, *reversed(await log_in(api, VICTIM, EVES)))
    assert await mails_to(server, VICTIM) == []
    await change_brand(server, brand, {"features": {"email_verification": True}})
    await prove(api, server, eve)
    links = []
    if flees:
        # Still too late: what the proof left of the attacker is nothing to make a claim with.
        assert_token_refused(await claim(api, eve.access, EVE, EVES))
        links = [token_in(server, mail) for mail in await mails_to(server, EVE)]
    for thief in (eve, second):
        assert not await thief.is_in(api)
    clock.advance(seconds=61)
    if prove is not _by_reset:
        await _by_reset(api, server, eve)
    await assert_owned(api, server, eve.id, NEW_PASSWORD, [eve, second], links)


@pytest.mark.attack("A60")
@pytest.mark.parametrize("prove", PROOFS[:3])
async def test_order_4_verification_voids_pending_changes(
    server: Server,
    api: Api,
    brand: ActiveBrand,
    eve: Guest,
    clock: ManualClock,
    prove: Callable[[Api, Server, Guest], Awaitable[None]],
) -> None:
    await change_brand(server, brand, {"features": {"email_verification": False}})
    assert (await claim(api, eve.access, VICTIM, EVES)).data["changeAndValidateEmail"]
    await change_brand(server, brand, {"features": {"email_verification": True}})
    assert (await claim(api, eve.access, EVE, EVES)).data["changeAndValidateEmail"]
    flight = await token_to(server, EVE, MailKind.verify_email)
    await prove(api, server, eve)
    assert not await use_at_page(api, flight)
    assert not await eve.is_in(api)
    clock.advance(seconds=61)
    await _by_reset(api, server, eve)
    await assert_owned(api, server, eve.id, NEW_PASSWORD, [eve], [flight])


@pytest.mark.attack("A60")
@pytest.mark.parametrize(
    ("old", "defence"),
    [(OLD_PASSWORD, "reset"), (OLD_PASSWORD, "change"), (OLD_PASSWORD, "log out"), (None, "log out"), (None, "reset")],
)
async def test_order_5_signing_out_voids_an_intruder_s_pending_change(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, old: str | None, defence: str
) -> None:
    ann = await make_user(server, brand, VICTIM, password=old)
    opened = await make_session(server, brand, ann.id, SessionKind.standing)
    eve = Guest(ann.id, opened.refresh_token.reveal(), make_access_token(server, opened))
    own = make_access_token(server, await make_session(server, brand, ann.id))
    links = []
    if old is None:
        links.append(await mailed_token(api, server, TokenPurpose.claim, EVE, token=eve.access))
        clock.advance(seconds=61)
    assert (await claim(api, eve.access, EVE, old or EVES)).data["changeAndValidateEmail"]
    links.append(await token_to(server, EVE, MailKind.verify_email))
    # One that the attacker may have read in the victim's mailbox dies with the rest.
    links.append(await mailed_token(api, server, TokenPurpose.login, VICTIM))
    clock.advance(seconds=61)
    if defence == "change":
        answer = await api.send(CHANGE_PASSWORD, {"new": NEW_PASSWORD, "old": old}, token=own)
        assert answer.data["changePassword"]
    elif defence == "log out":
        assert (await api.send(INVALIDATE, token=own)).data["invalidateRefreshToken"]
    else:
        await _by_reset(api, server, eve)
    assert not await eve.is_in(api)
    for link in links:
        assert not await use_at_page(api, link)
    clock.advance(seconds=61)
    if defence != "reset":
        await _by_reset(api, server, eve)
    await assert_owned(api, server, ann.id, NEW_PASSWORD, [eve], links)
    assert await mails_to(server, VICTIM, MailKind.address_changed) == []


@pytest.mark.attack("A60")
@every_claim
async def test_order_6_an_attacker_with_an_address_claims_the_victim_s(
    server: Server, api: Api, brand_token: str, eve: Guest, clock: ManualClock, kind: TokenPurpose
) -> None:
    assert await use_at_page(api, await mailed_token(api, server, TokenPurpose.claim, EVE, token=eve.access))
    if kind is TokenPurpose.claim:
        assert (await claim_magically(api, eve.access, VICTIM)).data["changeEmailMagically"]
        lure = await token_to(server, VICTIM, MailKind.change_email)
    else:
        lure = await _eve_claims(api, server, eve, kind)
    clock.advance(seconds=61)
    victim = await make_guest(api, brand_token)
    assert await use_at_page(api, await mailed_token(api, server, TokenPurpose.verify, VICTIM, token=victim.access))
    await assert_owned(api, server, victim.id, NEW_PASSWORD, [eve], [lure])
    assert await eve.is_in(api)
    assert set((await cause_mail(api, TokenPurpose.login, EVE, token="")).data.values()) == {True}
    assert await use_at_page(api, await token_to(server, EVE, MailKind.magic_login))


@pytest.mark.attack("A60")
@every_claim
async def test_order_6_an_administrator_gives_the_address_to_the_victim(
    server: Server, api: Api, brand: ActiveBrand, eve: Guest, kind: TokenPurpose
) -> None:
    lure = await _eve_claims(api, server, eve, kind)
    victim = await make_user(server, brand, VICTIM, password=NEW_PASSWORD)
    assert not await use_at_page(api, lure)
    await assert_owned(api, server, victim.id, NEW_PASSWORD, [eve], [lure])


@pytest.mark.attack("A60")
@pytest.mark.parametrize("kind", sorted(CLAIMS))
async def test_a_victim_who_confirmed_the_attacker_s_link_resets_the_password(
    server: Server, api: Api, eve: Guest, clock: ManualClock, kind: TokenPurpose
) -> None:
    lure = await _eve_claims(api, server, eve, kind)
    assert await use_at_page(api, lure)
    assert await eve.is_in(api)
    clock.advance(seconds=61)
    assert (await reset(api, await mailed_token(api, server, TokenPurpose.reset, VICTIM))).data["resetPassword"]
    assert not await eve.is_in(api)
    await assert_owned(api, server, eve.id, NEW_PASSWORD, [eve], [lure])


@pytest.mark.attack("A60")
@pytest.mark.parametrize("round_", range(3))
async def test_one_of_concurrent_confirmations_gets_the_address(
    server: Server, api: Api, brand_token: str, clock: ManualClock, round_: int
) -> None:
    guests = [await make_guest(api, brand_token) for _ in range(4)]
    purposes = sorted(CLAIMS)
    tokens = []
    for number, guest in enumerate(guests):
        purpose = purposes[(number + round_) % 2]
        tokens.append(await mailed_token(api, server, purpose, VICTIM, token=guest.access))
        clock.advance(seconds=61)
    pages = [await open_link(api, link_of(token)) for token in tokens]
    answers = await asyncio.gather(
        *(press(api, link_of(token), page) for token, page in zip(tokens, pages, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 410, 410, 410]
    winner = next(guest for guest, answer in zip(guests, answers, strict=True) if answer.status_code == 200)
    for guest in guests:
        assert await guest.is_in(api)
        me = await who(api, guest.access)
        assert (me["email"], me["verified"]) == (VICTIM, guest is winner)
    for token in tokens:
        assert not await use_at_page(api, token)
    assert {mail.recipient for mail in await outbox(server)} == {VICTIM}
    loser = next(guest for guest in guests if guest is not winner)
    own = await mailed_token(api, server, TokenPurpose.verify, "loser@example.com", token=loser.access)
    assert await use_at_page(api, own)
