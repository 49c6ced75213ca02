"""Log in by a mailed link, or by the token that the hosted page exchanges it for."""

from __future__ import annotations

import pytest

from keystead.authentication import login, magic_link, password_change
from keystead.authentication.magic_link import MagicLogin
from keystead.authentication.refresh import get_access_token, refresh_pair
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import Secret, SecretKind, generate
from keystead.errors import Forbidden, InvalidCredentials, TokenInvalid
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.sessions import access_tokens
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication.mailed import only_token, outbox, token_in
from tests.authentication.observed import events, is_alive, visitor
from tests.clocks import ManualClock
from tests.make import PASSWORD, change_brand, make_brand, make_context, make_session, make_user

pytestmark = pytest.mark.brand(features={"magic_login": True})

EMAIL = "ann@example.com"


async def ask(server: Server, brand: ActiveBrand, email: str = EMAIL) -> str:
    """The token in a link that was just mailed."""
    await magic_link.request_magic_link(visitor(server), brand, email)
    return token_in(server, (await outbox(server, MailKind.magic_login))[-1])


async def redeem(server: Server, token: str, kind: SessionKind | None = None) -> MagicLogin:
    return await magic_link.redeem(visitor(server), secrets.parse(token), kind)


async def assert_refused(server: Server, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await redeem(server, token)


@pytest.mark.parametrize("kind", SessionKind)
async def test_a_link_opens_a_session(server: Server, brand: ActiveBrand, ann: User, kind: SessionKind) -> None:
    opened = await redeem(server, await ask(server, brand), kind)
    assert (opened.kind, opened.auth_token is None) == (kind, kind is SessionKind.standing)
    assert opened.refresh_token not in repr(opened)
    assert str(opened.auth_token) not in repr(opened) or opened.auth_token is None
    (event,) = await events(server, brand, "session.opened")
    assert (event.subject_id, event.details) == (ann.id, {"kind": kind, "method": "magic"})
    user = await users.get_user(make_context(server), brand.id, ann.id)
    assert user.profile.last_login_at == server.clock.now()
    if opened.auth_token is None:
        assert await get_access_token(visitor(server), opened.refresh_token, None)
        return
    claims = access_tokens.verify(server, opened.auth_token, server.clock.now())
    assert claims is not None
    assert (claims.user_id, claims.brand_id, claims.session_id) == (ann.id, brand.id, event.session_id)
    assert claims.expires_at - claims.issued_at == 3600
    assert (await refresh_pair(visitor(server), opened.refresh_token)).auth_token


@pytest.mark.parametrize(
    ("preset", "kind", "lacking"),
    [("pair", "pair", "standing"), ("both", "pair", None), ("standing", "standing", "pair")],
)
async def test_the_preset_decides_the_default_kind_and_a_link_survives_a_forbidden_one(
    server: Server, preset: str, kind: str, lacking: str | None
) -> None:
    brand = await make_brand(server, "strict", preset=preset, features={"magic_login": True})
    await make_user(server, brand)
    token = await ask(server, brand)
    if lacking:
        with pytest.raises(Forbidden) as refused:
            await redeem(server, token, SessionKind(lacking))
        assert refused.value.extensions["feature"] == lacking
    assert (await redeem(server, token)).kind == kind


async def test_other_sessions_and_the_password_stay(server: Server, brand: ActiveBrand, ann: User) -> None:
    other = await make_session(server, brand, ann.id)
    await redeem(server, await ask(server, brand))
    assert await is_alive(server, other)
    assert await login.log_in_standing(visitor(server), brand, EMAIL, PASSWORD)
    assert await events(server, brand, "user.email_proved") == []


async def test_a_link_verifies_an_unverified_login(server: Server, brand: ActiveBrand) -> None:
    """The password and the sessions may be those of a stranger, not of the owner of the mailbox."""
    brand = await change_brand(server, brand, {"features": {"email_verification": False}})
    ann = await make_user(server, brand, password=PASSWORD, is_verified=False)
    before = await make_session(server, brand, ann.id)
    opened = await redeem(server, await ask(server, brand))
    assert not await is_alive(server, before)
    assert opened.auth_token is not None
    assert (await refresh_pair(visitor(server), opened.refresh_token)).auth_token
    with pytest.raises(InvalidCredentials):
        await login.log_in_pair(visitor(server), brand, EMAIL, PASSWORD)
    assert (await users.get_user(make_context(server), brand.id, ann.id)).profile.is_verified
    assert len(await events(server, brand, "user.email_proved")) == 1


async def test_after_a_used_link_the_next_one_is_mailed_immediately(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    for number in range(1, 9):
        clock.advance(seconds=1)
        await redeem(server, await ask(server, brand))
        assert len(await outbox(server, MailKind.magic_login)) == number


async def test_sessions_over_the_limit_are_ended_and_recorded(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    brand = await change_brand(server, brand, {"policy": {"max_sessions": 1}})
    first = await make_session(server, brand, ann.id)
    clock.advance(seconds=1)
    await redeem(server, await ask(server, brand))
    (event,) = await events(server, brand, "session.ended")
    assert (event.session_id, event.reason) == (first.session_id, "limit")


async def hand_over(server: Server, token: str) -> Secret:
    return await magic_link.hand_over(visitor(server), secrets.parse(token))


async def issue_change_link(server: Server, brand: ActiveBrand, user: User, email: str) -> str:
    """A token that verifies the address and logs in, as ``changeEmailMagically`` mails it."""
    secret, address = generate(SecretKind.magic), email_addresses.parse(email)
    async with server.db.transaction() as tx:
        now = server.clock.now()
        await one_time_tokens.issue(tx, brand.id, user.id, TokenPurpose.claim, address, secret, now)
    return secret.reveal()


@pytest.mark.attack("A58")
async def test_a_fresh_token_replaces_the_mailed_one_once(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """Neither is handed over again: else a link could be extended without limit."""
    mailed = await ask(server, brand)
    assert await events(server, brand, "magic_link.handed_over") == []
    fresh = (await hand_over(server, mailed)).reveal()
    assert fresh != mailed
    await assert_refused(server, mailed)
    clock.advance(seconds=110)
    for token in (mailed, fresh):
        with pytest.raises(TokenInvalid):
            await hand_over(server, token)
    (event,) = await events(server, brand, "magic_link.handed_over")
    assert (event.outcome, event.subject_id, event.actor_kind) == ("success", ann.id, "anonymous")
    assert event.details == {"purpose": "login"}
    clock.advance(seconds=10)
    await assert_refused(server, fresh)
    clock.advance(seconds=-1)
    await redeem(server, fresh)
    await assert_refused(server, fresh)
    (event,) = await events(server, brand, "session.opened")
    assert event.subject_id == ann.id


async def test_a_newer_link_leaves_a_handed_over_token_valid(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """A stranger may have requested it while the owner's app is about to redeem its token."""
    fresh = (await hand_over(server, await ask(server, brand))).reveal()
    clock.advance(seconds=1)
    newer = await ask(server, brand)
    await redeem(server, fresh)
    await redeem(server, newer)
    assert len(await outbox(server, MailKind.magic_login)) == 2


@pytest.mark.parametrize("ending", ["password", "disabled"])
async def test_a_handed_over_token_ends_with_a_new_password_or_a_disabled_user(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, ending: str
) -> None:
    fresh = (await hand_over(server, await ask(server, brand))).reveal()
    if ending == "disabled":
        await users.update_user(make_context(server), brand.id, ann.id, UserChanges(is_disabled=True))
    else:
        await password_change.request_reset(visitor(server), brand, EMAIL)
        token = await only_token(server, MailKind.reset_password)
        await password_change.reset_password(visitor(server), secrets.parse(token), "violet indigo blue")
    await assert_refused(server, fresh)


@pytest.mark.parametrize("at_page", [True, False])
async def test_a_link_of_an_email_change_verifies_and_logs_in(
    server: Server, brand: ActiveBrand, at_page: bool
) -> None:
    user = await make_user(server, brand, is_verified=False)
    token = await issue_change_link(server, brand, user, EMAIL)
    if at_page:
        fresh = (await hand_over(server, token)).reveal()
        profile = (await users.get_user(make_context(server), brand.id, user.id)).profile
        assert profile.is_verified, "whatever becomes of the fresh token"
        await assert_refused(server, token)
        token = fresh
    await redeem(server, token)
    profile = (await users.get_user(make_context(server), brand.id, user.id)).profile
    assert (profile.email, profile.is_verified, profile.is_anonymous) == (EMAIL, True, False)
    assert len(await events(server, brand, "user.email_proved")) == 1
    (event,) = await events(server, brand, "session.opened")
    assert event.subject_id == user.id


@pytest.mark.parametrize("at_page", [True, False])
async def test_a_link_to_an_address_that_was_taken_since_is_rejected(
    server: Server, brand: ActiveBrand, at_page: bool
) -> None:
    user = await make_user(server, brand, is_verified=False)
    token = await issue_change_link(server, brand, user, EMAIL)
    await make_user(server, brand)
    with pytest.raises(TokenInvalid):
        await (hand_over(server, token) if at_page else redeem(server, token))
    await assert_refused(server, token)
    assert await events(server, brand, "session.opened") == []
