"""A60, where it comes to the worst: the victim presses the attacker's link, or all press theirs at once."""

from __future__ import annotations

import asyncio

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Api
from tests.attacks.mail_operations import (
    CLAIMS,
    NEW_PASSWORD,
    claim,
    link_of,
    mailed_token,
    make_mailing_brand,
    reset,
    use_at_page,
    who,
)
from tests.attacks.mails import link_in, newest, open_link, outbox, press, token_in
from tests.attacks.prehijackers import EVES, VICTIM, assert_owned, make_guest
from tests.clocks import ManualClock


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_mailing_brand(server)


@pytest.mark.attack("A60")
async def test_the_page_says_what_a_strangers_link_would_do(server: Server, api: Api, brand_token: str) -> None:
    """That an account of somebody's is joined to the address, with a password that somebody has set."""
    eve = await make_guest(api, brand_token)
    assert (await claim(api, eve.access, VICTIM, EVES)).data["changeAndValidateEmail"]
    lure = await newest(server, VICTIM, MailKind.verify_email)
    with_password = await open_link(api, link_in(server, lure))
    assert VICTIM in with_password.text
    assert "password" in with_password.text.lower()
    assert EVES not in with_password.text
    own = await make_guest(api, brand_token)
    assert (await claim(api, own.access, "own@example.com")).data["changeAndValidateEmail"]
    without = await open_link(api, link_in(server, await newest(server, "own@example.com", MailKind.verify_email)))
    assert "password" not in without.text.lower()


@pytest.mark.attack("A60")
@pytest.mark.parametrize("kind", sorted(CLAIMS))
async def test_who_was_led_astray_gets_the_account_by_a_reset(
    server: Server, api: Api, brand_token: str, clock: ManualClock, kind: TokenPurpose
) -> None:
    """The victim has pressed the attacker's link. Their mailbox is still theirs: a new password ends the attacker."""
    eve = await make_guest(api, brand_token)
    if kind is TokenPurpose.verify:
        assert (await claim(api, eve.access, VICTIM, EVES)).data["changeAndValidateEmail"]
        lure = token_in(server, await newest(server, VICTIM, MailKind.verify_email))
    else:
        lure = await mailed_token(api, server, kind, VICTIM, token=eve.access)
    assert await use_at_page(api, lure)
    assert await eve.is_in(api)
    clock.advance(seconds=61)
    assert (await reset(api, await mailed_token(api, server, TokenPurpose.reset, VICTIM))).data["resetPassword"]
    assert not await eve.is_in(api)
    await assert_owned(api, server, eve.id, NEW_PASSWORD, [eve], [lure])


@pytest.mark.attack("A60")
@pytest.mark.parametrize("round_", range(3))
async def test_of_all_who_press_at_once_one_gets_the_address(
    server: Server, api: Api, brand_token: str, clock: ManualClock, round_: int
) -> None:
    """Four claims on one address, all good, all pressed at the same moment: one owner, and nobody is locked out."""
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
