"""Change a password with the old one: the other sessions end."""

from __future__ import annotations

import pytest

from keystead.authentication import login
from keystead.authentication.password_change import change_password
from keystead.context import ActiveBrand, Context, Server
from keystead.errors import BadUserInput, Forbidden, InvalidCredentials, TokenInvalid
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.sessions import store as session_store
from keystead.sessions.model import EndReason, Opened
from keystead.users import login_store
from keystead.users.model import User
from tests.authentication.email_changes import change_email, newest_token, pending_email, verify
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, is_alive
from tests.make import PASSWORD, change_brand, make_caller, make_context, make_session, make_user

NEW = "another long one"


@pytest.fixture
async def mine(server: Server, brand: ActiveBrand, ann: User) -> Opened:
    return await make_session(server, brand, ann.id)


@pytest.fixture
async def ctx(server: Server, mine: Opened) -> Context:
    return await make_caller(server, mine)


@pytest.mark.attack("A31")
async def test_the_other_sessions_end_and_this_one_stays(
    server: Server, brand: ActiveBrand, ann: User, mine: Opened, ctx: Context
) -> None:
    bob = await make_user(server, brand, "bob@example.com")
    others = [await make_session(server, brand, ann.id, kind) for kind in SessionKind]
    bobs = await make_session(server, brand, bob.id)
    await change_password(ctx, NEW, PASSWORD)
    assert await is_alive(server, mine)
    assert await is_alive(server, bobs)
    assert [await is_alive(server, other) for other in others] == [False, False]
    await login.log_in_pair(make_context(server), brand, "ann@example.com", NEW)
    with pytest.raises(InvalidCredentials):
        await login.log_in_pair(make_context(server), brand, "ann@example.com", PASSWORD)
    (event,) = await events(server, brand, "user.password_changed")
    assert event.subject_id == ann.id


@pytest.mark.attack("A31")
@pytest.mark.parametrize("old", [None, "", "wrong password", NEW])
async def test_without_the_old_password_nothing_changes(
    server: Server, brand: ActiveBrand, ann: User, mine: Opened, ctx: Context, old: str | None
) -> None:
    other = await make_session(server, brand, ann.id)
    with pytest.raises(InvalidCredentials):
        await change_password(ctx, NEW, old)
    assert await is_alive(server, other)
    await login.log_in_pair(make_context(server), brand, "ann@example.com", PASSWORD)
    (event,) = await events(server, brand, "password_change.refused")
    assert (event.outcome, event.subject_id, event.session_id) == ("refused", ann.id, mine.session_id)
    assert event.reason == ("old_password_missing" if old is None else "wrong_password")


async def test_a_token_alone_does_not_set_a_first_password(server: Server, brand: ActiveBrand) -> None:
    bob = await make_user(server, brand, "bob@example.com")
    ctx = await make_caller(server, await make_session(server, brand, bob.id))
    for old in (None, "", NEW):
        with pytest.raises(InvalidCredentials):
            await change_password(ctx, NEW, old)


@pytest.mark.attack("A42")
@pytest.mark.attack("A45")
@pytest.mark.parametrize(
    "new", ["short12", "x" * 257, "nul\0 in the middle", "password1", "rainbowMakers", "Ann20260101"]
)
async def test_the_new_password_is_checked_first(server: Server, ctx: Context, new: str) -> None:
    hashed = server.passwords.load.begun
    with pytest.raises(BadUserInput) as refused:
        await change_password(ctx, new, "wrong password")
    assert refused.value.extensions["field"] == "newPassword"
    assert server.passwords.load.begun == hashed


async def test_a_brand_without_passwords_has_none_to_change(server: Server, brand: ActiveBrand, ctx: Context) -> None:
    brand = await change_brand(server, brand, {"features": {"password_login": False}})
    with pytest.raises(Forbidden) as refused:
        await change_password(make_context(server, brand, ctx.principal), NEW, PASSWORD)
    assert refused.value.extensions["feature"] == "password_login"


async def test_a_session_that_ended_concurrently_changes_nothing(
    server: Server, brand: ActiveBrand, ann: User, mine: Opened, ctx: Context
) -> None:
    async with server.db.transaction() as tx:
        await session_store.end_own_session(
            tx, brand.id, ann.id, mine.session_id, EndReason.revoked, server.clock.now()
        )
    with pytest.raises(InvalidCredentials):
        await change_password(ctx, NEW, PASSWORD)
    candidate = await login_store.find_login_of(server.db.reads, brand.id, ann.id)
    assert candidate is not None
    assert await server.passwords.verify(candidate.password_hash, PASSWORD)


@pytest.mark.attack("A61")
@pytest.mark.parametrize("is_right", [True, False])
async def test_a_new_password_cancels_an_intruders_email_change(
    server: Server, brand: ActiveBrand, ann: User, ctx: Context, is_right: bool
) -> None:
    theirs = await make_session(server, brand, ann.id)
    await change_email(server, theirs, "new@example.com", PASSWORD)
    link = await newest_token(server)
    if is_right:
        await change_password(ctx, NEW, PASSWORD)
        assert await pending_email(server, ann.id) is None
        with pytest.raises(TokenInvalid):
            await verify(server, link)
    else:
        with pytest.raises(InvalidCredentials):
            await change_password(ctx, NEW, "wrong password")
        await verify(server, link)


async def test_the_owner_gets_a_notice(server: Server, brand: ActiveBrand, ann: User, ctx: Context) -> None:
    await change_password(ctx, NEW, PASSWORD)
    (mail,) = await outbox(server)
    assert (mail.kind, mail.recipient, mail.user_id) == (MailKind.password_changed, "ann@example.com", ann.id)
    assert mail.shown["ip_prefix"] == "192.0.2.7"
    with pytest.raises(InvalidCredentials):
        await change_password(ctx, PASSWORD, "wrong password")
    assert len(await outbox(server)) == 1


async def test_an_unverified_address_gets_no_notice(server: Server, brand: ActiveBrand) -> None:
    lax = await change_brand(server, brand, {"features": {"email_verification": False}})
    bob = await make_user(server, lax, "bob@example.com", password=PASSWORD, is_verified=False)
    await change_password(await make_caller(server, await make_session(server, brand, bob.id)), NEW, PASSWORD)
    assert await outbox(server) == []
