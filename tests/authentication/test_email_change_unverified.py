"""Change an address where the brand asks for no verification: it is the login immediately, unverified."""

from __future__ import annotations

import asyncio

import pytest

from keystead.authentication import email_change
from keystead.authentication.link_request_worker import process_all
from keystead.authentication.magic_link import request_magic_link
from keystead.context import ActiveBrand, Anonymous, Server
from keystead.errors import Conflict, Forbidden, InvalidCredentials
from keystead.mail.model import MailKind
from keystead.sessions.model import Opened
from keystead.users import service as users
from keystead.users.model import User
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, is_alive
from tests.make import PASSWORD, change_brand, make_caller, make_context, make_session
from tests.races.conftest import outcome

pytestmark = pytest.mark.brand(features={"email_verification": False, "magic_login": True})


async def test_a_free_address_becomes_the_login_with_its_password(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    other = await make_session(server, brand, guest.user_id)
    await changes.change_email(server, guest, "New@example.com", PENDING)
    assert await changes.can_log_in(server, brand, NEW, PENDING)
    profile = (await users.get_user(make_context(server), brand.id, guest.user_id)).profile
    assert (profile.email, profile.is_verified, profile.is_anonymous) == ("New@example.com", False, False)
    assert await is_alive(server, guest)
    assert await is_alive(server, other)
    assert await outbox(server) == []
    (event,) = await events(server, brand, "user.email_granted")
    assert (event.subject_id, list(event.details or {})) == (guest.user_id, ["address"])


@pytest.mark.parametrize("spelling", ["ann@example.com", "ANN@example.com", "\uff41nn@example.com"])
async def test_a_taken_address_is_a_conflict(
    server: Server, brand: ActiveBrand, guest: Opened, ann: User, spelling: str
) -> None:
    with pytest.raises(Conflict) as refused:
        await changes.change_email(server, guest, spelling, PENDING)
    assert refused.value.extensions == {"field": "newEmail"}
    found = await changes.row(server, guest.user_id)
    assert (found["email"], found["pending_email"], found["password_hash"]) == (None, None, None)
    assert await outbox(server) == []


@pytest.mark.race
async def test_one_of_many_concurrent_requests_gets_the_address(server: Server, brand: ActiveBrand) -> None:
    contexts = [await make_caller(server, await changes.make_anonymous(server, brand)) for _ in range(5)]
    results = await asyncio.gather(*(outcome(email_change.change_email(ctx, NEW, None)) for ctx in contexts))
    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 4 + ["NoneType"]


async def test_a_user_with_a_password_confirms_it(server: Server, brand: ActiveBrand, ann: User) -> None:
    opened = await make_session(server, brand, ann.id)
    for wrong in (None, "wrong password"):
        with pytest.raises(InvalidCredentials):
            await changes.change_email(server, opened, NEW, wrong)
    assert (await changes.row(server, ann.id))["email"] == "ann@example.com"
    await changes.change_email(server, opened, NEW, PASSWORD)
    assert await changes.can_log_in(server, brand, NEW, PASSWORD)
    assert not await changes.can_log_in(server, brand, "ann@example.com", PASSWORD)


async def test_a_verified_address_gets_a_notice_and_its_links_are_invalidated(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    opened = await make_session(server, brand, ann.id)
    await request_magic_link(make_context(server, None, Anonymous()), brand, "ann@example.com")
    await process_all(server)
    assert await changes.tokens_of(server, ann.id) == ["login"]
    await changes.change_email(server, opened, NEW, PASSWORD)
    assert await changes.tokens_of(server, ann.id) == []
    (notice,) = await outbox(server, MailKind.address_changed)
    assert (notice.recipient, notice.shown["new_address"]) == ("ann@example.com", "n…@example.com")


@pytest.mark.attack("A65")
async def test_an_unverified_address_gets_no_mail_by_changing_back_and_forth(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    for _ in range(3):
        await changes.change_email(server, guest, "victim@example.com")
        await changes.change_email(server, guest, NEW)
    assert await outbox(server) == []


async def test_another_spelling_of_a_verified_address_stays_verified(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    opened = await make_session(server, brand, ann.id)
    verified_at = (await changes.row(server, ann.id))["verified_at"]
    await changes.change_email(server, opened, "Ann@example.com", PASSWORD)
    found = await changes.row(server, ann.id)
    assert (found["email"], found["verified_at"]) == ("Ann@example.com", verified_at)
    await changes.change_email(server, opened, NEW, PASSWORD)
    assert (await changes.row(server, ann.id))["verified_at"] is None
    assert await changes.mails_to(server, "Ann@example.com") == ["address_changed"]


async def test_a_direct_change_replaces_a_pending_one(server: Server, brand: ActiveBrand, guest: Opened) -> None:
    await email_change.change_email_by_link(await make_caller(server, guest), "first@example.com")
    await changes.change_email(server, guest, NEW)
    assert await changes.pending_email(server, guest.user_id) is None
    assert await changes.tokens_of(server, guest.user_id) == []


async def test_an_unverified_login_stays_and_can_be_verified_later(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await changes.change_email(server, guest, NEW, PENDING)
    with pytest.raises(Forbidden):
        await email_change.resend_verification(await make_caller(server, guest))
    await change_brand(server, brand, {"features": {"email_verification": True}})
    assert await changes.can_log_in(server, brand, NEW, PENDING)
    assert await email_change.resend_verification(await make_caller(server, guest))
    await changes.verify(server, await changes.newest_token(server))
    assert (await changes.row(server, guest.user_id))["verified_at"] == server.clock.now()
    assert not await email_change.resend_verification(
        await make_caller(server, await make_session(server, brand, guest.user_id))
    )


async def test_a_pending_address_can_be_verified_after_the_feature_is_off(server: Server, brand: ActiveBrand) -> None:
    await change_brand(server, brand, {"features": {"email_verification": True}})
    guest = await changes.make_anonymous(server, brand)
    await changes.change_email(server, guest, NEW, PENDING)
    await change_brand(server, brand, {"features": {"email_verification": False}})
    await changes.verify(server, await changes.newest_token(server))
    assert await changes.can_log_in(server, brand, NEW, PENDING)
