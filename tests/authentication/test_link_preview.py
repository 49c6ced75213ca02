"""Preview what a link would do, without consuming it."""

from __future__ import annotations

import pytest

from keystead.authentication import email_change, registration
from keystead.authentication.links import preview
from keystead.authentication.magic_link import request_magic_link
from keystead.authentication.password_change import request_reset
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.errors import TokenInvalid
from keystead.mail.model import MailKind
from keystead.sessions import store as session_store
from keystead.sessions.model import Device, EndReason, Opened
from keystead.users import service as users
from keystead.users.model import NewUser, User, UserChanges
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.clocks import ManualClock
from tests.make import PASSWORD, change_brand, make_brand, make_caller, make_context, make_session, make_user

BROWSER = Device("192.0.2.7", "tests/1.0")


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand that uses every kind of link."""
    made = await make_brand(server, features={"magic_login": True})
    urls = ["https://app.example.com/in"]
    return await change_brand(server, made, {"base_url": "https://auth.example.net", "redirect_urls": urls})


async def test_a_change_shows_when_and_from_where_it_was_requested(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    guest, made_at = await changes.make_anonymous(server, brand), clock.now()
    requested_at = clock.advance(hours=1)
    await changes.change_email(server, guest, NEW, PENDING)
    before = await changes.row(server, guest.user_id)
    link = await changes.preview(server, await changes.newest_token(server))
    assert (link.token.email, link.token.user_id, link.current_address) == (NEW, guest.user_id, None)
    assert (link.user_created_at, link.requested_at, link.requested_from) == (made_at, requested_at, BROWSER)
    assert (link.sets_password, link.ends_all_sessions) == (True, False)
    assert (link.brand.name, link.brand.base_url) == (brand.name, "https://auth.example.net")
    assert link.brand.redirect_urls == ("https://app.example.com/in",)
    assert await changes.row(server, guest.user_id) == before
    assert await changes.tokens_of(server, guest.user_id) == ["verify"]
    await changes.verify(server, await changes.newest_token(server))
    with pytest.raises(TokenInvalid):
        await preview(changes.reader(server), secrets.parse(await changes.newest_token(server), SecretKind.verify))


async def test_a_change_shows_the_current_address(server: Server, brand: ActiveBrand, ann: User) -> None:
    await changes.change_email(server, await make_session(server, brand, ann.id), NEW, PASSWORD)
    link = await changes.preview(server, await changes.newest_token(server))
    assert (link.current_address, link.sets_password, link.ends_all_sessions) == ("ann@example.com", False, False)


async def test_a_change_by_link_is_previewed_alike(server: Server, brand: ActiveBrand, guest: Opened) -> None:
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    token = await changes.newest_token(server, NEW, MailKind.change_email)
    link = await changes.preview(server, token, SecretKind.magic)
    assert (link.requested_from, link.sets_password, link.ends_all_sessions) == (BROWSER, False, False)
    with pytest.raises(TokenInvalid):
        await preview(changes.reader(server), secrets.parse(token, SecretKind.verify))


async def test_an_administrators_change_shows_no_device(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    await registration.create_user(make_context(server), brand, NewUser(NEW, PENDING))
    link = await changes.preview(server, await changes.newest_token(server))
    assert (link.requested_at, link.requested_from) == (clock.now(), None)
    assert (link.sets_password, link.ends_all_sessions) == (True, True)


@pytest.mark.parametrize("how", ["resend", "change"])
async def test_an_unverified_login_loses_its_password(server: Server, brand: ActiveBrand, how: str) -> None:
    lax = await change_brand(server, brand, {"features": {"email_verification": False}})
    made = await users.create_user(make_context(server), lax, NewUser(NEW, PENDING))
    await change_brand(server, brand, {"features": {"email_verification": True}})
    opened = await make_session(server, brand, made.id)
    await (changes.resend(server, opened) if how == "resend" else changes.change_email(server, opened, NEW, PENDING))
    link = await changes.preview(server, await changes.newest_token(server))
    assert (link.current_address, link.sets_password, link.ends_all_sessions) == (NEW, False, True)
    assert (link.requested_from is None) is (how == "resend")


@pytest.mark.parametrize("is_verified", [True, False])
async def test_links_that_log_in_or_reset(
    server: Server, brand: ActiveBrand, is_verified: bool, clock: ManualClock
) -> None:
    lax = await change_brand(server, brand, {"features": {"email_verification": False}})
    await users.create_user(make_context(server), lax, NewUser(NEW, PENDING, is_verified=is_verified))
    await request_magic_link(changes.reader(server), brand, NEW)
    link = await changes.preview(
        server, await changes.newest_token(server, NEW, MailKind.magic_login), SecretKind.magic
    )
    assert (link.current_address, link.requested_at, link.requested_from) == (NEW, None, None)
    assert (link.sets_password, link.ends_all_sessions) == (False, not is_verified)
    clock.advance(minutes=1)
    await request_reset(changes.reader(server), brand, NEW)
    link = await changes.preview(
        server, await changes.newest_token(server, NEW, MailKind.reset_password), SecretKind.reset
    )
    assert link.ends_all_sessions


@pytest.mark.parametrize("fate", ["taken", "disabled", "deleted", "other brand", "expired", "revoked"])
async def test_a_link_that_would_be_rejected_has_no_preview(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, fate: str
) -> None:
    opened, admin = await make_session(server, brand, ann.id), make_context(server)
    await changes.change_email(server, opened, NEW, PASSWORD)
    token, ctx = await changes.newest_token(server), changes.reader(server)
    match fate:
        case "taken":
            await make_user(server, brand, "NEW@example.com")
        case "disabled":
            await users.update_user(admin, brand.id, ann.id, UserChanges(is_disabled=True))
        case "deleted":
            await users.delete_users(admin, brand.id, [ann.id])
        case "other brand":
            ctx = make_context(server, await make_brand(server, "other"))
        case "expired":
            clock.advance(hours=24)
        case _:
            async with server.db.transaction() as tx:
                await session_store.end_own_session(
                    tx, brand.id, ann.id, opened.session_id, EndReason.revoked, clock.now()
                )
    with pytest.raises(TokenInvalid):
        await preview(ctx, secrets.parse(token, SecretKind.verify))
