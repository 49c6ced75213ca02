"""Verification where an intruder had access: unverified logins, revoked sessions, disabled users."""

from __future__ import annotations

import asyncio

import pytest

from keystead.authentication import email_verification
from keystead.authentication.email_verification import Verified
from keystead.authentication.notifications import mail_context
from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind, generate
from keystead.errors import TokenInvalid
from keystead.sessions import store as session_store
from keystead.sessions.model import REVOKING_REASONS, EndReason
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import NewUser, User, UserChanges
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.authentication.observed import events, is_alive
from tests.clocks import ManualClock
from tests.make import PASSWORD, change_brand, make_context, make_session


async def verify_by_login(server: Server, brand: ActiveBrand, user_id: str, email: str) -> Verified | None:
    """Use a login link that was mailed to this address."""
    ctx, secret, address = changes.reader(server), generate(SecretKind.magic), email_addresses.parse(email)
    correspondence, now = await mail_context(ctx, brand), server.clock.now()
    async with server.db.transaction() as tx:
        await tokens.issue(tx, brand.id, user_id, TokenPurpose.login, address, secret, now)
        token = await tokens.consume(tx, brand.id, secret, now)
        if token is None:
            return None
        return await email_verification.verify_login_address(
            tx, correspondence, token, email_verification.verification_event(ctx, token)
        )


async def make_granted(server: Server, brand: ActiveBrand, email: str = NEW) -> str:
    """The id of a user who was given the address unverified, and has set a password."""
    lax = await change_brand(server, brand, {"features": {"email_verification": False}})
    user = await users.create_user(make_context(server), lax, NewUser(email, PENDING))
    await change_brand(server, brand, {"features": {"email_verification": True}})
    return user.id


@pytest.mark.attack("A60")
@pytest.mark.parametrize("how", ["resend", "change", "login"])
async def test_verifying_an_unverified_login_ends_all_sessions_and_passwords(
    server: Server, brand: ActiveBrand, clock: ManualClock, how: str
) -> None:
    user_id = await make_granted(server, brand)
    squatter = await make_session(server, brand, user_id)
    if how == "login":
        await changes.change_email(server, squatter, "squatter@example.com", PENDING)
        assert await verify_by_login(server, brand, user_id, NEW) == Verified(user_id, ends_all=True)
    else:
        spelling = NEW if how == "resend" else "New@example.com"
        await (
            changes.resend(server, squatter)
            if how == "resend"
            else changes.change_email(server, squatter, spelling, PENDING)
        )
        await changes.verify(server, await changes.newest_token(server, spelling))
    assert not await is_alive(server, squatter)
    assert not await changes.can_log_in(server, brand, NEW, PENDING)
    found = await changes.row(server, user_id)
    assert (found["password_hash"], found["pending_email"], found["verified_at"]) == (None, None, clock.now())
    assert await changes.tokens_of(server, user_id) == []
    assert len(await events(server, brand, "user.email_proved")) == 1


async def test_a_login_by_link_verifies_no_address_twice(server: Server, brand: ActiveBrand, ann: User) -> None:
    opened = await make_session(server, brand, ann.id)
    await changes.change_email(server, opened, NEW, PASSWORD)
    assert await verify_by_login(server, brand, ann.id, "Ann@Example.com") == Verified(ann.id, ends_all=False)
    assert await is_alive(server, opened)
    assert await changes.pending_email(server, ann.id) == NEW
    assert await changes.can_log_in(server, brand, "ann@example.com", PASSWORD)
    assert await events(server, brand, "user.email_proved") == []


async def test_a_link_to_a_former_login_verifies_nothing(server: Server, brand: ActiveBrand, ann: User) -> None:
    assert await verify_by_login(server, brand, ann.id, NEW) is None
    await users.update_user(make_context(server), brand.id, ann.id, UserChanges(is_disabled=True))
    assert await verify_by_login(server, brand, ann.id, "ann@example.com") is None


@pytest.mark.parametrize("has_login", [True, False])
async def test_a_disabled_user_verifies_nothing_and_a_login_keeps_no_change(
    server: Server, brand: ActiveBrand, ann: User, has_login: bool
) -> None:
    opened = await (make_session(server, brand, ann.id) if has_login else changes.make_anonymous(server, brand))
    await changes.change_email(server, opened, NEW, PASSWORD)
    token, admin = await changes.newest_token(server), make_context(server)
    await users.update_user(admin, brand.id, opened.user_id, UserChanges(is_disabled=True))
    with pytest.raises(TokenInvalid):
        await changes.verify(server, token)
    await users.update_user(admin, brand.id, opened.user_id, UserChanges(is_disabled=False))
    if has_login:
        with pytest.raises(TokenInvalid):
            await changes.verify(server, token)
        assert await changes.pending_email(server, ann.id) is None
    else:
        await changes.verify(server, token)
        assert await changes.can_log_in(server, brand, NEW, PASSWORD)
    assert not await is_alive(server, opened)


@pytest.mark.parametrize("reason", list(EndReason))
@pytest.mark.parametrize("has_login", [True, False])
async def test_a_revoked_sessions_change_cannot_be_verified(
    server: Server, brand: ActiveBrand, ann: User, has_login: bool, reason: EndReason
) -> None:
    opened = await (make_session(server, brand, ann.id) if has_login else changes.make_anonymous(server, brand))
    await changes.change_email(server, opened, NEW, PASSWORD)
    async with server.db.transaction() as tx:
        await session_store.end_own_session(tx, brand.id, opened.user_id, opened.session_id, reason, server.clock.now())
    if has_login and reason in REVOKING_REASONS:
        with pytest.raises(TokenInvalid):
            await changes.verify(server, await changes.newest_token(server))
        assert (await changes.row(server, ann.id))["email"] == "ann@example.com"
    else:
        await changes.verify(server, await changes.newest_token(server))
        assert await changes.can_log_in(server, brand, NEW, PASSWORD)


@pytest.mark.race
async def test_a_concurrent_login_is_rejected_or_ended(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    """The squatter logs in with the password of before while the owner verifies the address."""
    user_id = await make_granted(server, brand)
    squatter = await make_session(server, brand, user_id)
    assert await changes.resend(server, squatter)
    link = await changes.newest_token(server)
    logins = [asyncio.create_task(changes.can_log_in(server, brand, NEW, PENDING)) for _ in range(5)]
    await asyncio.gather(changes.verify(server, link), *logins)
    assert not await changes.can_log_in(server, brand, NEW, PENDING)
    found = await changes.row(server, user_id)
    assert found["session_epoch"] == 1
