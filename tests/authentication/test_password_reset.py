"""Change a password with the old one, or reset a forgotten one by a mailed link."""

from __future__ import annotations

import pytest

from keystead.authentication import login, magic_link, password_change
from keystead.authentication.password_change import change_password
from keystead.context import ActiveBrand, Context, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind, generate
from keystead.errors import BadUserInput, Forbidden, InvalidCredentials, TokenInvalid
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.sessions import store as session_store
from keystead.sessions.model import EndReason, Opened
from keystead.users import email_addresses, login_store
from keystead.users import service as users
from keystead.users import store as user_store
from keystead.users.model import User
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication.email_changes import row, set_columns
from tests.authentication.mailed import outbox, token_in
from tests.authentication.observed import events, is_alive, visitor
from tests.make import PASSWORD, change_brand, make_caller, make_context, make_session, make_user

pytestmark = pytest.mark.brand(features={"magic_login": True})

EMAIL = "ann@example.com"
NEW = "a fresh secret sentence"


async def ask(server: Server, brand: ActiveBrand, email: str = EMAIL) -> str:
    """The token in a link that was just mailed."""
    await password_change.request_reset(visitor(server), brand, email)
    return token_in(server, (await outbox(server, MailKind.reset_password))[-1])


async def reset(server: Server, token: str, password: str = NEW) -> None:
    await password_change.reset_password(visitor(server), secrets.parse(token), password)


async def assert_refused(server: Server, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await reset(server, token)


async def log_in(server: Server, brand: ActiveBrand, password: str) -> str:
    return await login.log_in_standing(visitor(server), brand, EMAIL, password)


async def test_the_new_password_logs_in_and_the_old_one_does_not(server: Server, brand: ActiveBrand, ann: User) -> None:
    await reset(server, await ask(server, brand))
    await log_in(server, brand, NEW)
    with pytest.raises(InvalidCredentials):
        await log_in(server, brand, PASSWORD)
    (event,) = await events(server, brand, "user.password_reset")
    assert (event.subject_id, event.outcome) == (ann.id, "success")


async def test_a_user_without_a_password_gets_one_and_a_notice(server: Server, brand: ActiveBrand) -> None:
    user = await make_user(server, brand, "Ann@example.com")
    await reset(server, await ask(server, brand))
    await log_in(server, brand, NEW)
    (mail,) = await outbox(server, MailKind.password_changed)
    assert (mail.recipient, mail.user_id, mail.expires_at) == ("Ann@example.com", user.id, None)
    assert mail.shown == {"brand": brand.name, "ip_prefix": "192.0.2.7", "user_agent": "tests/1.0"}


@pytest.mark.attack("A60")
async def test_a_reset_cancels_a_change_and_invalidates_other_links(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    """What an intruder could return by: a change to an address of theirs, and unused links."""
    theirs, now = email_addresses.parse("thief@example.com"), server.clock.now()
    await set_columns(
        server,
        ann.id,
        pending_email=theirs.display,
        pending_email_canonical=theirs.canonical,
        pending_email_skeleton=theirs.skeleton,
        pending_password_hash="x",
        pending_at=now,
    )
    verify, magic = generate(SecretKind.verify), generate(SecretKind.magic)
    async with server.db.transaction() as tx:
        await one_time_tokens.issue(tx, brand.id, ann.id, TokenPurpose.verify, theirs, verify, now)
        await one_time_tokens.issue(tx, brand.id, ann.id, TokenPurpose.claim, theirs, magic, now)
    await reset(server, await ask(server, brand))
    assert await one_time_tokens.find(server.db.reads, verify, now) is None
    with pytest.raises(TokenInvalid):
        await magic_link.redeem(visitor(server), secrets.parse(magic.reveal()), None)
    async with server.db.transaction() as tx:
        assert not await user_store.is_taken(tx, brand.id, theirs)
    assert (await users.get_user(make_context(server), brand.id, ann.id)).profile.email == EMAIL
    pending = [value for name, value in (await row(server, ann.id)).items() if name.startswith("pending_")]
    assert pending == [None] * 6


@pytest.mark.parametrize(
    "password", ["short", "password1234", "rainbowMakers", "Ann", "ann.longname1", "x" * 257, "nul\0nul\0nul"]
)
async def test_a_rejected_password_leaves_the_link_valid(server: Server, brand: ActiveBrand, password: str) -> None:
    await make_user(server, brand, "ann.longname@example.com")
    token, hashed = await ask(server, brand, "ann.longname@example.com"), server.passwords.load.begun
    with pytest.raises(BadUserInput) as refused:
        await reset(server, token, password)
    assert refused.value.extensions["field"] == "newPassword"
    with pytest.raises(BadUserInput) as refused:
        await password_change.reset_password(visitor(server), secrets.parse(token), password, field="password")
    assert refused.value.extensions["field"] == "password"
    assert server.passwords.load.begun == hashed
    await reset(server, token)


async def test_an_invalid_token_costs_no_hash(server: Server, brand: ActiveBrand, ann: User) -> None:
    hashed = server.passwords.load.begun
    for raw in (generate(SecretKind.reset).reveal(), "x"):
        await assert_refused(server, raw)
        with pytest.raises(TokenInvalid):
            await reset(server, raw, "short")
    assert server.passwords.load.begun == hashed


async def test_a_reset_verifies_an_unverified_login(server: Server, brand: ActiveBrand) -> None:
    brand = await change_brand(server, brand, {"features": {"email_verification": False}})
    ann = await make_user(server, brand, password=PASSWORD, is_verified=False)
    before = await make_session(server, brand, ann.id)
    await reset(server, await ask(server, brand))
    assert not await is_alive(server, before)
    await log_in(server, brand, NEW)
    with pytest.raises(InvalidCredentials):
        await log_in(server, brand, PASSWORD)
    assert (await users.get_user(make_context(server), brand.id, ann.id)).profile.is_verified
    assert len(await events(server, brand, "user.email_proved")) == 1
    assert len(await outbox(server, MailKind.password_changed)) == 1


CHANGED = "another long one"


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
    await change_password(ctx, CHANGED, PASSWORD)
    assert await is_alive(server, mine)
    assert await is_alive(server, bobs)
    assert [await is_alive(server, other) for other in others] == [False, False]
    await login.log_in_pair(make_context(server), brand, "ann@example.com", CHANGED)
    with pytest.raises(InvalidCredentials):
        await login.log_in_pair(make_context(server), brand, "ann@example.com", PASSWORD)
    (event,) = await events(server, brand, "user.password_changed")
    assert event.subject_id == ann.id


@pytest.mark.attack("A31")
@pytest.mark.parametrize("old", [None, "", "wrong password", CHANGED])
async def test_without_the_old_password_nothing_changes(
    server: Server, brand: ActiveBrand, ann: User, mine: Opened, ctx: Context, old: str | None
) -> None:
    """Nor does a user without a password set a first one by a token alone."""
    other = await make_session(server, brand, ann.id)
    with pytest.raises(InvalidCredentials):
        await change_password(ctx, CHANGED, old)
    assert await is_alive(server, other)
    await login.log_in_pair(make_context(server), brand, "ann@example.com", PASSWORD)
    (event,) = await events(server, brand, "password_change.refused")
    assert (event.outcome, event.subject_id, event.session_id) == ("refused", ann.id, mine.session_id)
    assert event.reason == ("old_password_missing" if old is None else "wrong_password")
    bob = await make_user(server, brand, "bob@example.com")
    with pytest.raises(InvalidCredentials):
        await change_password(await make_caller(server, await make_session(server, brand, bob.id)), CHANGED, old)


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
        await change_password(make_context(server, brand, ctx.principal), CHANGED, PASSWORD)
    assert refused.value.extensions["feature"] == "password_login"


async def test_a_session_that_ended_concurrently_changes_nothing(
    server: Server, brand: ActiveBrand, ann: User, mine: Opened, ctx: Context
) -> None:
    async with server.db.transaction() as tx:
        await session_store.end_own_session(
            tx, brand.id, ann.id, mine.session_id, EndReason.revoked, server.clock.now()
        )
    with pytest.raises(InvalidCredentials):
        await change_password(ctx, CHANGED, PASSWORD)
    candidate = await login_store.find_login_of(server.db.reads, brand.id, ann.id)
    assert candidate is not None
    assert await server.passwords.verify(candidate.password_hash, PASSWORD)


async def test_a_change_sends_the_owner_a_notice(server: Server, brand: ActiveBrand, ann: User, ctx: Context) -> None:
    await change_password(ctx, CHANGED, PASSWORD)
    (mail,) = await outbox(server)
    assert (mail.kind, mail.recipient, mail.user_id) == (MailKind.password_changed, "ann@example.com", ann.id)
    assert mail.shown["ip_prefix"] == "192.0.2.7"
    with pytest.raises(InvalidCredentials):
        await change_password(ctx, PASSWORD, "wrong password")
    assert len(await outbox(server)) == 1


async def test_an_unverified_address_gets_no_notice(server: Server, brand: ActiveBrand) -> None:
    lax = await change_brand(server, brand, {"features": {"email_verification": False}})
    bob = await make_user(server, lax, "bob@example.com", password=PASSWORD, is_verified=False)
    await change_password(await make_caller(server, await make_session(server, brand, bob.id)), CHANGED, PASSWORD)
    assert await outbox(server) == []
