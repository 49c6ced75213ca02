"""The hosted page exchanges a mailed token for one that the app redeems."""

from __future__ import annotations

import pytest

from keystead.authentication import magic_link, password_change
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import Secret, SecretKind, generate
from keystead.errors import TokenInvalid
from keystead.mail.model import MailKind
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication.mailed import only_token, outbox
from tests.authentication.observed import events
from tests.authentication.test_magic_link import EMAIL, ask, assert_refused, redeem, visitor
from tests.clocks import ManualClock
from tests.make import make_brand, make_context, make_user


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand with magic login."""
    return await make_brand(server, features={"magic_login": True})


async def hand_over(server: Server, token: str) -> Secret:
    return await magic_link.hand_over(visitor(server), secrets.parse(token))


async def claim(server: Server, brand: ActiveBrand, user: User, email: str) -> str:
    """A token that proves the address and logs in, as ``changeEmailMagically`` mails it."""
    secret, address = generate(SecretKind.magic), email_addresses.parse(email)
    async with server.db.transaction() as tx:
        now = server.clock.now()
        await one_time_tokens.issue(tx, brand.id, user.id, TokenPurpose.claim, address, secret, now)
    return secret.reveal()


async def test_a_fresh_token_replaces_the_mailed_one(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    mailed = await ask(server, brand)
    fresh = (await hand_over(server, mailed)).reveal()
    assert fresh != mailed
    await assert_refused(server, mailed)
    clock.advance(minutes=2)
    await assert_refused(server, fresh)
    clock.advance(seconds=-1)
    await redeem(server, fresh)
    await assert_refused(server, fresh)
    (event,) = await events(server, brand, "session.opened")
    assert event.subject_id == ann.id


async def test_handing_over_is_recorded(server: Server, brand: ActiveBrand, ann: User, clock: ManualClock) -> None:
    mailed = await ask(server, brand)
    assert await events(server, brand, "magic_link.handed_over") == []
    await hand_over(server, mailed)
    with pytest.raises(TokenInvalid):
        await hand_over(server, mailed)
    (event,) = await events(server, brand, "magic_link.handed_over")
    assert (event.outcome, event.subject_id, event.actor_kind) == ("success", ann.id, "anonymous")
    assert event.details == {"purpose": "login"}


@pytest.mark.attack("A58")
async def test_a_token_handed_over_is_not_handed_over_again(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """Else a link could be extended without limit. The app's token stays valid."""
    fresh = (await hand_over(server, await ask(server, brand))).reveal()
    clock.advance(seconds=110)
    with pytest.raises(TokenInvalid):
        await hand_over(server, fresh)
    assert len(await events(server, brand, "magic_link.handed_over")) == 1
    await redeem(server, fresh)


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
    token = await claim(server, brand, user, EMAIL)
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
    token = await claim(server, brand, user, EMAIL)
    await make_user(server, brand)
    with pytest.raises(TokenInvalid):
        await (hand_over(server, token) if at_page else redeem(server, token))
    await assert_refused(server, token)
    assert await events(server, brand, "session.opened") == []
