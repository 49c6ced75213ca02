"""A60: whoever is at an address first is not its owner. The six orders in which attacker and victim come to it.

Each ends the same: the victim owns the account and logs in, the attacker's tokens, passwords and links do nothing.
"""

from __future__ import annotations

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
    mailed_token,
    make_mailing_brand,
    redeem,
    request_login,
    request_reset,
    resend,
    reset,
    use_at_page,
)
from tests.attacks.mails import mails_to, token_in, token_to
from tests.attacks.operations import INVALIDATE, assert_token_refused, log_in
from tests.attacks.prehijackers import EVE, EVES, VICTIM, Guest, assert_owned, make_guest
from tests.clocks import ManualClock
from tests.make import change_brand, make_access_token, make_session, make_user

every_claim = pytest.mark.parametrize("kind", sorted(CLAIMS))


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_mailing_brand(server)


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
async def test_the_attacker_claims_and_the_victim_signs_up(
    server: Server, api: Api, brand_token: str, eve: Guest, clock: ManualClock, kind: TokenPurpose
) -> None:
    """Order 1."""
    lure = await _eve_claims(api, server, eve, kind)
    clock.advance(seconds=61)
    victim = await make_guest(api, brand_token)
    assert await use_at_page(api, await mailed_token(api, server, TokenPurpose.verify, VICTIM, token=victim.access))
    assert await victim.is_in(api), "the session that made the claim goes on"
    await assert_owned(api, server, victim.id, NEW_PASSWORD, [eve], [lure])


@pytest.mark.attack("A60")
@every_claim
async def test_the_victim_claims_then_the_attacker_then_the_victim_proves(
    server: Server, api: Api, brand_token: str, eve: Guest, clock: ManualClock, kind: TokenPurpose
) -> None:
    """Order 2: a rival's claim takes nothing from a link that is out."""
    victim = await make_guest(api, brand_token)
    own = await mailed_token(api, server, TokenPurpose.verify, VICTIM, token=victim.access)
    clock.advance(seconds=61)
    lure = await _eve_claims(api, server, eve, kind)
    assert await use_at_page(api, own)
    assert await victim.is_in(api)
    await assert_owned(api, server, victim.id, NEW_PASSWORD, [eve], [lure])


@pytest.mark.attack("A60")
@every_claim
async def test_the_attackers_mail_comes_first_and_is_left_alone(
    server: Server, api: Api, brand_token: str, eve: Guest, clock: ManualClock, kind: TokenPurpose
) -> None:
    """Order 3: within the minute, so that the victim's own mail has to be asked for again."""
    victim = await make_guest(api, brand_token)
    lure = await _eve_claims(api, server, eve, kind)
    assert (await claim(api, victim.access, VICTIM, NEW_PASSWORD)).data["changeAndValidateEmail"]
    assert len(await mails_to(server, VICTIM)) == 1
    clock.advance(seconds=61)
    assert (await resend(api, victim.access)).data["resendVerificationMail"] is True
    own = await token_to(server, VICTIM, MailKind.verify_email)
    assert own != lure
    assert await use_at_page(api, own)
    assert await victim.is_in(api)
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
async def test_an_address_granted_without_proof_goes_to_who_proves_it(
    server: Server,
    api: Api,
    brand: ActiveBrand,
    eve: Guest,
    clock: ManualClock,
    prove: Callable[[Api, Server, Guest], Awaitable[None]],
    flees: bool,
) -> None:
    """Order 4: verification is off, and the attacker has the address at once, with a password and two sessions.

    ``flees``: the attacker sees it coming, and has a claim on an address of their own waiting.
    """
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
async def test_a_claim_that_waits_dies_with_the_proof_of_the_address_it_was_to_replace(
    server: Server,
    api: Api,
    brand: ActiveBrand,
    eve: Guest,
    clock: ManualClock,
    prove: Callable[[Api, Server, Guest], Awaitable[None]],
) -> None:
    """Order 4, the attacker having a claim on another address out before the victim proves."""
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
async def test_a_claim_of_an_intruder_dies_when_the_victim_throws_them_out(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, old: str | None, defence: str
) -> None:
    """Order 5: the attacker has a session in the victim's account, and a link to an address of their own.

    Without a password the account is one that logs in by links, and the claim brings a password along.
    """
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
async def test_an_attacker_with_an_address_of_their_own_wants_the_victims(
    server: Server, api: Api, brand_token: str, eve: Guest, clock: ManualClock, kind: TokenPurpose
) -> None:
    """Order 6: their link is out when the victim registers. They keep what is theirs."""
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
async def test_an_administrator_gives_the_address_to_the_victim(
    server: Server, api: Api, brand: ActiveBrand, eve: Guest, kind: TokenPurpose
) -> None:
    """Order 6 without a mail: the link of the attacker's claim is still in the mailbox, and pressed by mistake."""
    lure = await _eve_claims(api, server, eve, kind)
    victim = await make_user(server, brand, VICTIM, password=NEW_PASSWORD)
    assert not await use_at_page(api, lure)
    await assert_owned(api, server, victim.id, NEW_PASSWORD, [eve], [lure])
