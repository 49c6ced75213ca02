"""E-mail changes of sessions that were revoked, swept or ended concurrently, and of users who are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keystead.authentication import (
    email_change,
    email_verification,
    logout,
    magic_link,
    password_change,
    refresh,
)
from keystead.authentication.link_request_worker import process_all
from keystead.authentication.notifications import mail_context
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind, generate
from keystead.db.interface import Contention
from keystead.errors import InvalidCredentials, RefreshTokenReused, TokenInvalid
from keystead.ids import new_id
from keystead.mail import store as mails
from keystead.mail.links import recipient_key
from keystead.mail.model import MailKind, NewMail
from keystead.sessions import refresh_token_store
from keystead.sessions.model import Opened
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users import store as user_store
from keystead.users.model import NewUser, User
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.authentication.mailed import outbox
from tests.authentication.observed import is_alive
from tests.clocks import ManualClock
from tests.make import PASSWORD, change_brand, make_caller, make_context, make_session
from tests.races.conftest import is_blocked, outcome

pytestmark = pytest.mark.brand(features={"magic_login": True})


EVE = "eve@example.org"


async def during_a_verification(server: Server, brand: ActiveBrand, work: Any) -> Any:
    """The outcome of ``work``, started while the transaction of the newest verification is open."""
    secret, ctx = secrets.parse(await changes.newest_token(server), SecretKind.verify), changes.reader(server)
    assert secret is not None
    correspondence = await mail_context(ctx, brand)
    async with server.db.transaction() as tx:
        token = await tokens.consume(tx, brand.id, secret, correspondence.now)
        assert token is not None
        assert (
            await email_verification.verify_address(
                tx, correspondence, token, email_verification.verification_event(ctx, token)
            )
            is not None
        )
        task = asyncio.create_task(outcome(work))
        assert await is_blocked(task)
    return await task


@pytest.mark.race
@pytest.mark.parametrize("what", ["address", "password"])
async def test_a_session_that_a_verification_is_ending_changes_nothing(
    server: Server, brand: ActiveBrand, ann: User, what: str
) -> None:
    mine, evil = await make_session(server, brand, ann.id), await make_session(server, brand, ann.id)
    await changes.change_email(server, mine, NEW, PASSWORD)
    if what == "address":
        work: Any = changes.change_email(server, evil, EVE, PASSWORD)
    else:
        work = password_change.change_password(await make_caller(server, evil), "what the thief wants", PASSWORD)
    assert isinstance(await during_a_verification(server, brand, work), InvalidCredentials)
    assert not await is_alive(server, evil)
    assert await changes.pending_email(server, ann.id) is None
    assert await changes.can_log_in(server, brand, NEW, PASSWORD)


async def revoke_session(server: Server, mine: Opened, evil: Opened, clock: ManualClock, how: str) -> None:
    """Ends a session as an intruder's: its owner does, or its refresh token comes back."""
    if how == "revoked":
        await logout.revoke_session(await make_caller(server, mine), evil.session_id)
        return
    raw = evil.refresh_token.reveal()
    await refresh.refresh_pair(changes.reader(server), raw)
    clock.advance(hours=1)
    with pytest.raises(RefreshTokenReused):
        await refresh.refresh_pair(changes.reader(server), raw)


@pytest.mark.parametrize("how", ["revoked", "reuse"])
async def test_revoking_a_session_cancels_its_change(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, how: str
) -> None:
    mine, evil = await make_session(server, brand, ann.id), await make_session(server, brand, ann.id)
    await changes.change_email(server, evil, EVE, PASSWORD)
    link = await changes.newest_token(server, EVE)
    await revoke_session(server, mine, evil, clock, how)
    assert await changes.pending_email(server, ann.id) is None
    assert await changes.tokens_of(server, ann.id) == []
    # However long it takes until the session itself is swept away.
    clock.advance(days=31)
    async with server.db.transaction() as tx:
        await refresh_token_store.sweep(tx, clock.now(), 1000)
    assert not await changes.resend(server, await make_session(server, brand, ann.id))
    with pytest.raises(TokenInvalid):
        await changes.verify(server, link)


@pytest.mark.parametrize("how", ["revoked", "reuse"])
async def test_the_change_of_another_session_or_of_a_guest_stays(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, how: str
) -> None:
    mine, evil = await make_session(server, brand, ann.id), await make_session(server, brand, ann.id)
    await changes.change_email(server, mine, NEW, PASSWORD)
    await revoke_session(server, mine, evil, clock, how)
    await changes.verify(server, await changes.newest_token(server))
    assert await changes.can_log_in(server, brand, NEW, PASSWORD)
    guest = await changes.make_anonymous(server, brand)
    second = await make_session(server, brand, guest.user_id)
    await changes.change_email(server, second, "guest@example.com", PENDING)
    await revoke_session(server, guest, second, clock, how)
    await changes.verify(server, await changes.newest_token(server, "guest@example.com"))
    assert await changes.can_log_in(server, brand, "guest@example.com", PENDING)


@pytest.mark.parametrize("is_swept", [False, True])
async def test_an_unverified_login_can_be_verified_after_the_intruder_is_signed_out(
    server: Server, brand: ActiveBrand, clock: ManualClock, is_swept: bool
) -> None:
    lax = await change_brand(server, brand, {"features": {"email_verification": False}})
    user = await users.create_user(make_context(server), lax, NewUser(NEW, PENDING))
    await change_brand(server, brand, {"features": {"email_verification": True}})
    mine, evil = await make_session(server, brand, user.id), await make_session(server, brand, user.id)
    await changes.change_email(server, evil, EVE, PENDING)
    if is_swept:
        # Its session was swept without having been revoked: it may have been an intruder's.
        await logout.log_out(await make_caller(server, evil))
        async with server.db.transaction() as tx:
            await refresh_token_store.sweep(tx, clock.advance(seconds=1), 1000)
    else:
        await revoke_session(server, mine, evil, clock, "revoked")
    with pytest.raises(TokenInvalid):
        await changes.preview(server, await changes.newest_token(server, EVE))
    with pytest.raises(TokenInvalid):
        await changes.verify(server, await changes.newest_token(server, EVE))
    assert await changes.resend(server, mine)
    assert await changes.mails_to(server, NEW) == ["verify_email"]
    link = await changes.preview(server, await changes.newest_token(server))
    assert (link.current_address, link.requested_at, link.sets_password) == (NEW, None, False)
    await changes.verify(server, await changes.newest_token(server))
    found = await changes.row(server, user.id)
    assert (found["email"], found["verified_at"], found["pending_email"]) == (NEW, clock.now(), None)


@pytest.mark.parametrize("has_login", [True, False])
async def test_only_a_guests_change_outlives_a_swept_session(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, has_login: bool
) -> None:
    opened = await (make_session(server, brand, ann.id) if has_login else changes.make_anonymous(server, brand))
    await changes.change_email(server, opened, NEW, PASSWORD)
    link = await changes.newest_token(server)
    await logout.log_out(await make_caller(server, opened))
    async with server.db.transaction() as tx:
        await refresh_token_store.sweep(tx, clock.advance(seconds=1), 1000)
    shown = await outcome(changes.preview(server, link))
    assert isinstance(shown, TokenInvalid) is has_login
    used = await outcome(changes.verify(server, link))
    assert isinstance(used, TokenInvalid) is has_login


@pytest.mark.race
async def test_a_change_requested_while_its_session_is_revoked_is_cancelled(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    mine, evil = await make_session(server, brand, ann.id), await make_session(server, brand, ann.id)
    caller, intruder = await make_caller(server, mine), await make_caller(server, evil)
    await asyncio.gather(
        outcome(email_change.change_email(intruder, EVE, PASSWORD)),
        *(outcome(logout.revoke_session(caller, evil.session_id)) for _ in range(3)),
    )
    assert not await is_alive(server, evil)
    assert await changes.pending_email(server, ann.id) is None
    assert await changes.tokens_of(server, ann.id) == []


ANN = "ann@example.com"


async def ask_for_login(server: Server, brand: ActiveBrand) -> None:
    await magic_link.request_magic_link(changes.reader(server), brand, ANN)


async def ask_for_reset(server: Server, brand: ActiveBrand) -> None:
    await password_change.request_reset(changes.reader(server), brand, ANN)


@pytest.mark.race
@pytest.mark.parametrize("ask", [ask_for_login, ask_for_reset], ids=["login", "reset"])
async def test_a_request_for_a_user_who_is_being_deleted_sends_no_mail(
    server: Server, brand: ActiveBrand, ann: User, ask: Callable[[Server, ActiveBrand], Awaitable[None]]
) -> None:
    await ask(server, brand)
    async with server.db.transaction() as tx:
        assert await user_store.delete_users(tx, brand.id, [ann.id]) == 1
        deciding = asyncio.create_task(outcome(process_all(server)))
        assert await is_blocked(deciding)
    await deciding
    assert await outbox(server) == []


@pytest.mark.race
async def test_the_address_of_a_user_who_is_being_deleted_can_be_requested(
    server: Server, brand: ActiveBrand, guest: Opened, ann: User
) -> None:
    async with server.db.transaction() as tx:
        assert await user_store.delete_users(tx, brand.id, [ann.id]) == 1
        task = asyncio.create_task(outcome(changes.change_email(server, guest, ANN)))
        assert await is_blocked(task)
    assert await task is None
    assert [mail.kind for mail in await outbox(server)] == [MailKind.verify_email]
    assert await changes.pending_email(server, guest.user_id) == ANN


async def test_a_reference_to_a_deleted_user_is_retried(server: Server, brand: ActiveBrand) -> None:
    now, key = server.clock.now(), recipient_key(server.master_key, brand.id, ANN)
    mail = NewMail(new_id(now), MailKind.address_taken, new_id(now), ANN, key)
    with pytest.raises(Contention):
        async with server.db.transaction() as tx:
            await mails.insert_mail(tx, brand.id, mail, now)
    secret, address = generate(SecretKind.verify), email_addresses.parse(ANN)
    async with server.db.transaction() as tx:
        assert not await tokens.issue(tx, brand.id, new_id(now), TokenPurpose.verify, address, secret, now)
