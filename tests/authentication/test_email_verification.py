"""Verify an address: the effect on its user, their sessions, and competing changes."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind, generate
from keystead.errors import TokenInvalid
from keystead.sessions.model import Opened
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import User
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, is_alive
from tests.clocks import ManualClock
from tests.make import PASSWORD, make_brand, make_context, make_session, make_user


@pytest.mark.attack("A63")
async def test_the_requesting_session_stays_and_the_others_end(
    server: Server, brand: ActiveBrand, guest: Opened, ann: User, clock: ManualClock
) -> None:
    others = [await make_session(server, brand, guest.user_id) for _ in range(2)]
    anns = await make_session(server, brand, ann.id)
    await changes.change_email(server, guest, NEW, PENDING)
    clock.advance(minutes=3)
    await changes.verify(server, await changes.newest_token(server))
    assert await is_alive(server, guest)
    assert [await is_alive(server, other) for other in others] == [False, False]
    assert await is_alive(server, anns)
    found = await changes.row(server, guest.user_id)
    assert (found["email"], found["email_canonical"], found["verified_at"]) == (NEW, NEW, clock.now())
    assert [name for name, value in found.items() if name.startswith("pending_") and value is not None] == []
    assert await changes.can_log_in(server, brand, NEW, PENDING)
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
    owner, squatter = await changes.make_anonymous(server, brand), await changes.make_anonymous(server, brand)
    await changes.change_email(server, squatter, spelling, "the squatter's own")
    squatters = await changes.newest_token(server, spelling)
    clock.advance(minutes=1)
    await changes.change_email(server, owner, NEW, PENDING)
    await changes.verify(server, await changes.newest_token(server))
    found = await changes.row(server, squatter.user_id)
    assert (found["pending_email"], found["pending_password_hash"], found["pending_session_id"]) == (
        spelling,
        None,
        None,
    )
    assert await changes.tokens_of(server, squatter.user_id) == []
    with pytest.raises(TokenInvalid):
        await changes.verify(server, squatters)
    assert await is_alive(server, squatter), "it is still an account, without an address"
    assert not await changes.can_log_in(server, brand, NEW, "the squatter's own")
    assert await changes.can_log_in(server, brand, NEW, PENDING)


@pytest.mark.attack("A62")
async def test_to_a_competing_user_the_address_still_looks_pending(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    """Neither the profile nor a response reveals that the address was taken."""
    owner, squatter = await changes.make_anonymous(server, brand), await changes.make_anonymous(server, brand)
    await changes.change_email(server, squatter, NEW, "the squatter's own")
    clock.advance(minutes=1)
    await changes.change_email(server, owner, NEW, PENDING)
    before = (await users.get_user(make_context(server), brand.id, squatter.user_id)).profile
    await changes.verify(server, await changes.newest_token(server))
    assert (await users.get_user(make_context(server), brand.id, squatter.user_id)).profile == before
    assert before.email == NEW
    clock.advance(minutes=1)
    assert await changes.resend(server, squatter)
    assert await changes.mails_to(server, NEW) == ["address_taken", "verify_email", "verify_email"]
    # Should the owner leave the address, it takes a new mail to it, and the password is gone all the same.
    await changes.change_email(server, owner, "elsewhere@example.com", PENDING)
    await changes.verify(server, await changes.newest_token(server, "elsewhere@example.com"))
    clock.advance(minutes=1)
    assert await changes.resend(server, squatter)
    await changes.verify(server, await changes.newest_token(server))
    found = await changes.row(server, squatter.user_id)
    assert (found["email"], found["password_hash"], found["pending_email"]) == (NEW, None, None)
    assert not await is_alive(server, squatter)


async def test_changes_to_other_addresses_and_in_other_brands_stay(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    other = await make_brand(server, "other")
    owner, same_elsewhere = await changes.make_anonymous(server, brand), await changes.make_anonymous(server, other)
    neighbour = await changes.make_anonymous(server, brand)
    await changes.change_email(server, same_elsewhere)
    await changes.change_email(server, neighbour, "neighbour@example.com")
    clock.advance(minutes=1)
    await changes.change_email(server, owner)
    await changes.verify(server, await changes.newest_token(server))
    assert await changes.pending_email(server, same_elsewhere.user_id) == NEW
    assert await changes.pending_email(server, neighbour.user_id) == "neighbour@example.com"
    assert (
        await changes.tokens_of(server, same_elsewhere.user_id)
        == await changes.tokens_of(server, neighbour.user_id)
        == ["verify"]
    )


async def test_an_address_that_was_taken_since_cannot_be_verified(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await changes.change_email(server, guest, NEW, PENDING)
    owner = await make_user(server, brand, NEW, password=PASSWORD)
    before = await changes.row(server, owner.id)
    with pytest.raises(TokenInvalid):
        await changes.verify(server, await changes.newest_token(server))
    found = await changes.row(server, guest.user_id)
    assert (found["email"], found["pending_email"], found["password_hash"]) == (None, NEW, None)
    assert await changes.row(server, owner.id) == before
    assert await changes.can_log_in(server, brand, NEW, PASSWORD)
    assert await is_alive(server, guest)


async def test_links_to_the_old_address_are_invalidated(server: Server, brand: ActiveBrand, ann: User) -> None:
    opened, now = await make_session(server, brand, ann.id), server.clock.now()
    old = email_addresses.parse("ann@example.com")
    async with server.db.transaction() as tx:
        for kind, purpose in ((SecretKind.magic, TokenPurpose.login), (SecretKind.reset, TokenPurpose.reset)):
            await tokens.issue(tx, brand.id, ann.id, purpose, old, generate(kind), now)
    await changes.change_email(server, opened, NEW, PASSWORD)
    assert await changes.tokens_of(server, ann.id) == ["login", "reset", "verify"]
    await changes.verify(server, await changes.newest_token(server))
    assert await changes.tokens_of(server, ann.id) == []


async def test_another_spelling_of_the_own_address_is_verified_without_a_notice(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    opened = await make_session(server, brand, ann.id)
    await changes.change_email(server, opened, "Ann@Example.com", PASSWORD)
    await changes.verify(server, await changes.newest_token(server, "Ann@Example.com"))
    assert (await changes.row(server, ann.id))["email"] == "Ann@Example.com"
    assert await changes.can_log_in(server, brand, "ann@example.com", PASSWORD)
    assert await is_alive(server, opened)
    assert [mail.kind for mail in await outbox(server)] == ["verify_email"]


async def test_a_used_link_no_longer_counts_against_the_rate_limit(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await changes.change_email(server, guest)
    await changes.verify(server, await changes.newest_token(server))
    await changes.change_email(server, await changes.make_anonymous(server, brand))
    assert await changes.mails_to(server, NEW) == ["address_taken", "verify_email"]
