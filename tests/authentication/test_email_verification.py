"""Verify an address: the effect on its user, their sessions, and competing changes."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind, generate
from keystead.errors import TokenInvalid
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import User
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication.email_changes import (
    NEW,
    PENDING,
    can_log_in,
    change_email,
    mails_to,
    make_anonymous,
    newest_token,
    pending_email,
    resend,
    row,
    tokens_of,
    verify,
)
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, is_alive
from tests.clocks import ManualClock
from tests.make import PASSWORD, make_brand, make_context, make_session, make_user


@pytest.mark.attack("A63")
async def test_the_requesting_session_stays_and_the_others_end(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    guest = await make_anonymous(server, brand)
    others = [await make_session(server, brand, guest.user_id) for _ in range(2)]
    anns = await make_session(server, brand, ann.id)
    await change_email(server, guest, NEW, PENDING)
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
async def test_competing_passwords_and_links_are_invalidated(
    server: Server, brand: ActiveBrand, clock: ManualClock, spelling: str
) -> None:
    owner, squatter = await make_anonymous(server, brand), await make_anonymous(server, brand)
    await change_email(server, squatter, spelling, "the squatter's own")
    squatters = await newest_token(server, spelling)
    clock.advance(minutes=1)
    await change_email(server, owner, NEW, PENDING)
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
    assert await is_alive(server, squatter), "it is still an account, without an address"
    assert not await can_log_in(server, brand, NEW, "the squatter's own")
    assert await can_log_in(server, brand, NEW, PENDING)


@pytest.mark.attack("A62")
async def test_to_a_competing_user_the_address_still_looks_pending(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    """Neither the profile nor a response reveals that the address was taken."""
    owner, squatter = await make_anonymous(server, brand), await make_anonymous(server, brand)
    await change_email(server, squatter, NEW, "the squatter's own")
    clock.advance(minutes=1)
    await change_email(server, owner, NEW, PENDING)
    before = (await users.get_user(make_context(server), brand.id, squatter.user_id)).profile
    await verify(server, await newest_token(server))
    assert (await users.get_user(make_context(server), brand.id, squatter.user_id)).profile == before
    assert before.email == NEW
    clock.advance(minutes=1)
    assert await resend(server, squatter)
    assert await mails_to(server, NEW) == ["address_taken", "verify_email", "verify_email"]
    # Should the owner leave the address, it takes a new mail to it, and the password is gone all the same.
    await change_email(server, owner, "elsewhere@example.com", PENDING)
    await verify(server, await newest_token(server, "elsewhere@example.com"))
    clock.advance(minutes=1)
    assert await resend(server, squatter)
    await verify(server, await newest_token(server))
    found = await row(server, squatter.user_id)
    assert (found["email"], found["password_hash"], found["pending_email"]) == (NEW, None, None)
    assert not await is_alive(server, squatter)


async def test_changes_to_other_addresses_and_in_other_brands_stay(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    other = await make_brand(server, "other")
    owner, same_elsewhere = await make_anonymous(server, brand), await make_anonymous(server, other)
    neighbour = await make_anonymous(server, brand)
    await change_email(server, same_elsewhere)
    await change_email(server, neighbour, "neighbour@example.com")
    clock.advance(minutes=1)
    await change_email(server, owner)
    await verify(server, await newest_token(server))
    assert await pending_email(server, same_elsewhere.user_id) == NEW
    assert await pending_email(server, neighbour.user_id) == "neighbour@example.com"
    assert await tokens_of(server, same_elsewhere.user_id) == await tokens_of(server, neighbour.user_id) == ["verify"]


async def test_an_address_that_was_taken_since_cannot_be_verified(server: Server, brand: ActiveBrand) -> None:
    guest = await make_anonymous(server, brand)
    await change_email(server, guest, NEW, PENDING)
    owner = await make_user(server, brand, NEW, password=PASSWORD)
    before = await row(server, owner.id)
    with pytest.raises(TokenInvalid):
        await verify(server, await newest_token(server))
    found = await row(server, guest.user_id)
    assert (found["email"], found["pending_email"], found["password_hash"]) == (None, NEW, None)
    assert await row(server, owner.id) == before
    assert await can_log_in(server, brand, NEW, PASSWORD)
    assert await is_alive(server, guest)


async def test_links_to_the_old_address_are_invalidated(server: Server, brand: ActiveBrand, ann: User) -> None:
    opened, now = await make_session(server, brand, ann.id), server.clock.now()
    old = email_addresses.parse("ann@example.com")
    async with server.db.transaction() as tx:
        for kind, purpose in ((SecretKind.magic, TokenPurpose.login), (SecretKind.reset, TokenPurpose.reset)):
            await tokens.issue(tx, brand.id, ann.id, purpose, old, generate(kind), now)
    await change_email(server, opened, NEW, PASSWORD)
    assert await tokens_of(server, ann.id) == ["login", "reset", "verify"]
    await verify(server, await newest_token(server))
    assert await tokens_of(server, ann.id) == []


async def test_another_spelling_of_the_own_address_is_verified_without_a_notice(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    opened = await make_session(server, brand, ann.id)
    await change_email(server, opened, "Ann@Example.com", PASSWORD)
    await verify(server, await newest_token(server, "Ann@Example.com"))
    assert (await row(server, ann.id))["email"] == "Ann@Example.com"
    assert await can_log_in(server, brand, "ann@example.com", PASSWORD)
    assert await is_alive(server, opened)
    assert [mail.kind for mail in await outbox(server)] == ["verify_email"]


async def test_a_used_link_no_longer_counts_against_the_rate_limit(server: Server, brand: ActiveBrand) -> None:
    guest = await make_anonymous(server, brand)
    await change_email(server, guest)
    await verify(server, await newest_token(server))
    rival = await make_anonymous(server, brand)
    await change_email(server, rival)
    assert await mails_to(server, NEW) == ["address_taken", "verify_email"]
