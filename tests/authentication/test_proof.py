"""Proving an address: what becomes of its user, of their sessions, and of everybody else who was after it."""

from __future__ import annotations

import asyncio

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind, generate
from keystead.errors import TokenInvalid
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import User
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication.claimants import (
    NEW,
    PENDING,
    can_log_in,
    claim,
    claimed,
    mails_to,
    make_anonymous,
    newest_token,
    resend,
    row,
    tokens_of,
    verify,
)
from tests.authentication.conftest import PASSWORD
from tests.authentication.mailed import outbox
from tests.authentication.observing import events, is_alive
from tests.clocks import ManualClock
from tests.make import make_brand, make_context, make_session, make_user
from tests.races.conftest import outcome


@pytest.mark.attack("A63")
async def test_the_user_stays_the_same_and_the_claiming_session_goes_on_alone(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    guest = await make_anonymous(server, brand)
    others = [await make_session(server, brand, guest.user_id) for _ in range(2)]
    anns = await make_session(server, brand, ann.id)
    await claim(server, guest, NEW, PENDING)
    clock.advance(minutes=3)
    await verify(server, await newest_token(server))
    assert await is_alive(server, guest)
    assert [await is_alive(server, other) for other in others] == [False, False]
    assert await is_alive(server, anns)
    found = await row(server, guest.user_id)
    assert (found["email"], found["email_canonical"], found["verified_at"]) == (NEW, NEW, clock.now())
    assert [name for name, value in found.items() if name.startswith("pending_") and value is not None] == []
    assert await can_log_in(server, brand, NEW, PENDING)
    (event,) = await events(server, brand, "user.email_proved")
    assert event.subject_id == guest.user_id
    assert event.details is not None
    assert event.details["purpose"] == "verify"
    assert NEW not in str(event)


@pytest.mark.attack("A60")
@pytest.mark.parametrize("spelling", [NEW, "NEW@example.com", "\uff4eew@example.com"])
async def test_the_passwords_and_links_of_rivals_die_and_their_claims_look_as_before(
    server: Server, brand: ActiveBrand, clock: ManualClock, spelling: str
) -> None:
    owner, squatter = await make_anonymous(server, brand), await make_anonymous(server, brand)
    await claim(server, squatter, spelling, "the squatter's own")
    squatters = await newest_token(server, spelling)
    clock.advance(minutes=1)
    await claim(server, owner, NEW, PENDING)
    await verify(server, await newest_token(server))
    found = await row(server, squatter.user_id)
    assert (found["pending_email"], found["pending_password_hash"], found["pending_session_id"]) == (
        spelling,
        None,
        None,
    )
    assert await tokens_of(server, squatter.user_id) == []
    with pytest.raises(TokenInvalid):
        await verify(server, squatters)
    assert await is_alive(server, squatter), "it is still somebody's account, without an address"
    assert not await can_log_in(server, brand, NEW, "the squatter's own")
    assert await can_log_in(server, brand, NEW, PENDING)


@pytest.mark.attack("A62")
async def test_to_a_rival_the_address_goes_on_looking_claimed(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    """Neither what is shown nor what is answered tells that the address has become somebody's."""
    owner, squatter = await make_anonymous(server, brand), await make_anonymous(server, brand)
    await claim(server, squatter, NEW, "the squatter's own")
    clock.advance(minutes=1)
    await claim(server, owner, NEW, PENDING)
    before = (await users.get_user(make_context(server), brand.id, squatter.user_id)).profile
    await verify(server, await newest_token(server))
    assert (await users.get_user(make_context(server), brand.id, squatter.user_id)).profile == before
    assert before.email == NEW
    clock.advance(minutes=1)
    assert await resend(server, squatter)
    assert await mails_to(server, NEW) == ["address_taken", "verify_email", "verify_email"]
    # Should the owner leave the address, it takes a new mail to it, and the password is gone all the same.
    await claim(server, owner, "elsewhere@example.com", PENDING)
    await verify(server, await newest_token(server, "elsewhere@example.com"))
    clock.advance(minutes=1)
    assert await resend(server, squatter)
    await verify(server, await newest_token(server))
    found = await row(server, squatter.user_id)
    assert (found["email"], found["password_hash"], found["pending_email"]) == (NEW, None, None)
    assert not await is_alive(server, squatter)


async def test_claims_on_other_addresses_and_in_other_brands_stay(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    other = await make_brand(server, "other")
    owner, same_elsewhere = await make_anonymous(server, brand), await make_anonymous(server, other)
    neighbour = await make_anonymous(server, brand)
    await claim(server, same_elsewhere)
    await claim(server, neighbour, "neighbour@example.com")
    clock.advance(minutes=1)
    await claim(server, owner)
    await verify(server, await newest_token(server))
    assert await claimed(server, same_elsewhere.user_id) == NEW
    assert await claimed(server, neighbour.user_id) == "neighbour@example.com"
    assert await tokens_of(server, same_elsewhere.user_id) == await tokens_of(server, neighbour.user_id) == ["verify"]


@pytest.mark.race
async def test_of_rivals_who_prove_at_once_one_wins(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    rivals = [await make_anonymous(server, brand) for _ in range(4)]
    links = []
    for rival in rivals:
        await claim(server, rival)
        links.append(await newest_token(server))
        clock.advance(minutes=1)
    results = await asyncio.gather(*(outcome(verify(server, link)) for link in links))
    assert sorted(type(result).__name__ for result in results) == ["NoneType"] + ["TokenInvalid"] * 3
    winner = rivals[results.index(None)]
    for rival in rivals:
        found = await row(server, rival.user_id)
        assert found["email"] == (NEW if rival is winner else None)
        assert found["pending_email"] == (None if rival is winner else NEW)
        assert found["pending_session_id"] is None


async def test_what_is_somebody_elses_by_now_cannot_be_proved(server: Server, brand: ActiveBrand) -> None:
    guest = await make_anonymous(server, brand)
    await claim(server, guest, NEW, PENDING)
    owner = await make_user(server, brand, NEW, password=PASSWORD)
    before = await row(server, owner.id)
    with pytest.raises(TokenInvalid):
        await verify(server, await newest_token(server))
    found = await row(server, guest.user_id)
    assert (found["email"], found["pending_email"], found["password_hash"]) == (None, NEW, None)
    assert await row(server, owner.id) == before
    assert await can_log_in(server, brand, NEW, PASSWORD)
    assert await is_alive(server, guest)


@pytest.mark.attack("A61")
async def test_the_old_address_logs_in_until_the_new_one_is_proved_and_is_told_then(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    opened = await make_session(server, brand, ann.id)
    await claim(server, opened, NEW, PASSWORD)
    assert await can_log_in(server, brand, "ann@example.com", PASSWORD)
    assert not await can_log_in(server, brand, NEW, PASSWORD)
    assert await mails_to(server, "ann@example.com") == []
    await verify(server, await newest_token(server))
    assert not await can_log_in(server, brand, "ann@example.com", PASSWORD)
    assert await can_log_in(server, brand, NEW, PASSWORD)
    assert await mails_to(server, "ann@example.com") == ["address_changed"]
    (notice,) = [mail for mail in await outbox(server) if mail.kind == "address_changed"]
    assert (notice.user_id, notice.shown["new_address"]) == (ann.id, "n…@example.com")


async def test_links_that_went_to_the_old_address_are_dead(server: Server, brand: ActiveBrand, ann: User) -> None:
    opened, now = await make_session(server, brand, ann.id), server.clock.now()
    old = email_addresses.parse("ann@example.com")
    async with server.db.transaction() as tx:
        for kind, purpose in ((SecretKind.magic, TokenPurpose.login), (SecretKind.reset, TokenPurpose.reset)):
            await tokens.issue(tx, brand.id, ann.id, purpose, old, generate(kind), now)
    await claim(server, opened, NEW, PASSWORD)
    assert await tokens_of(server, ann.id) == ["login", "reset", "verify"]
    await verify(server, await newest_token(server))
    assert await tokens_of(server, ann.id) == []


async def test_another_spelling_of_ones_own_address_is_proved_without_a_notice(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    opened = await make_session(server, brand, ann.id)
    await claim(server, opened, "Ann@Example.com", PASSWORD)
    await verify(server, await newest_token(server, "Ann@Example.com"))
    assert (await row(server, ann.id))["email"] == "Ann@Example.com"
    assert await can_log_in(server, brand, "ann@example.com", PASSWORD)
    assert await is_alive(server, opened)
    assert [mail.kind for mail in await outbox(server)] == ["verify_email"]


async def test_mail_that_was_wanted_counts_no_more(server: Server, brand: ActiveBrand) -> None:
    guest = await make_anonymous(server, brand)
    await claim(server, guest)
    await verify(server, await newest_token(server))
    rival = await make_anonymous(server, brand)
    await claim(server, rival)
    assert await mails_to(server, NEW) == ["address_taken", "verify_email"]
