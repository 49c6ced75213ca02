"""Where the brand asks for no proof an address is a login at once: when it is free, and never as proved."""

from __future__ import annotations

import asyncio

import pytest

from keystead.authentication import email_change
from keystead.authentication.link_request_worker import process_all
from keystead.authentication.magic_link import request_magic_link
from keystead.context import ActiveBrand, Anonymous, Server
from keystead.errors import Conflict, Forbidden, InvalidCredentials
from keystead.mail.model import MailKind
from keystead.users import service as users
from keystead.users.model import User
from tests.authentication.claimants import (
    NEW,
    PENDING,
    can_log_in,
    claim,
    claimed,
    mails_to,
    make_anonymous,
    newest_token,
    row,
    tokens_of,
    verify,
)
from tests.authentication.conftest import PASSWORD
from tests.authentication.mailed import outbox
from tests.authentication.observing import events, is_alive
from tests.make import change_brand, make_brand, make_caller, make_context, make_session
from tests.races.conftest import outcome


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand that asks for no proof."""
    return await make_brand(server, features={"email_verification": False, "magic_login": True})


async def test_a_free_address_is_a_login_with_its_password(server: Server, brand: ActiveBrand) -> None:
    guest = await make_anonymous(server, brand)
    other = await make_session(server, brand, guest.user_id)
    await claim(server, guest, "New@example.com", PENDING)
    assert await can_log_in(server, brand, NEW, PENDING)
    profile = (await users.get_user(make_context(server), brand.id, guest.user_id)).profile
    assert (profile.email, profile.is_verified, profile.is_anonymous) == ("New@example.com", False, False)
    assert await is_alive(server, guest)
    assert await is_alive(server, other)
    assert await outbox(server) == []
    (event,) = await events(server, brand, "user.email_granted")
    assert (event.subject_id, list(event.details or {})) == (guest.user_id, ["address"])


@pytest.mark.parametrize("spelling", ["ann@example.com", "ANN@example.com", "\uff41nn@example.com"])
async def test_a_taken_one_is_a_conflict(server: Server, brand: ActiveBrand, ann: User, spelling: str) -> None:
    guest = await make_anonymous(server, brand)
    with pytest.raises(Conflict) as refused:
        await claim(server, guest, spelling, PENDING)
    assert refused.value.extensions == {"field": "newEmail"}
    found = await row(server, guest.user_id)
    assert (found["email"], found["pending_email"], found["password_hash"]) == (None, None, None)
    assert await outbox(server) == []


@pytest.mark.race
async def test_of_many_at_once_one_gets_it(server: Server, brand: ActiveBrand) -> None:
    contexts = [await make_caller(server, await make_anonymous(server, brand)) for _ in range(5)]
    results = await asyncio.gather(*(outcome(email_change.change_email(ctx, NEW, None)) for ctx in contexts))
    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 4 + ["NoneType"]


async def test_the_password_is_confirmed_here_too(server: Server, brand: ActiveBrand, ann: User) -> None:
    opened = await make_session(server, brand, ann.id)
    for wrong in (None, "wrong password"):
        with pytest.raises(InvalidCredentials):
            await claim(server, opened, NEW, wrong)
    assert (await row(server, ann.id))["email"] == "ann@example.com"
    await claim(server, opened, NEW, PASSWORD)
    assert await can_log_in(server, brand, NEW, PASSWORD)
    assert not await can_log_in(server, brand, "ann@example.com", PASSWORD)


async def test_a_proved_address_is_told_that_it_was_replaced_and_its_links_are_dead(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    opened = await make_session(server, brand, ann.id)
    await request_magic_link(make_context(server, None, Anonymous()), brand, "ann@example.com")
    await process_all(server)
    assert await tokens_of(server, ann.id) == ["login"]
    await claim(server, opened, NEW, PASSWORD)
    assert await tokens_of(server, ann.id) == []
    (notice,) = await outbox(server, MailKind.address_changed)
    assert (notice.recipient, notice.shown["new_address"]) == ("ann@example.com", "n…@example.com")


@pytest.mark.attack("A65")
async def test_an_address_that_was_never_proved_gets_no_mail_by_changing_back_and_forth(
    server: Server, brand: ActiveBrand
) -> None:
    guest = await make_anonymous(server, brand)
    for _ in range(3):
        await claim(server, guest, "victim@example.com")
        await claim(server, guest, NEW)
    assert await outbox(server) == []


async def test_another_spelling_of_a_proved_address_stays_proved_and_another_address_is_not(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    opened = await make_session(server, brand, ann.id)
    proved_at = (await row(server, ann.id))["verified_at"]
    await claim(server, opened, "Ann@example.com", PASSWORD)
    found = await row(server, ann.id)
    assert (found["email"], found["verified_at"]) == ("Ann@example.com", proved_at)
    await claim(server, opened, NEW, PASSWORD)
    assert (await row(server, ann.id))["verified_at"] is None
    assert await mails_to(server, "Ann@example.com") == ["address_changed"]


async def test_an_address_granted_at_once_takes_the_place_of_a_claim(server: Server, brand: ActiveBrand) -> None:
    guest = await make_anonymous(server, brand)
    await email_change.change_email_by_link(await make_caller(server, guest), "first@example.com")
    await claim(server, guest, NEW)
    assert await claimed(server, guest.user_id) is None
    assert await tokens_of(server, guest.user_id) == []


async def test_once_granted_it_stays_when_proof_is_asked_later_and_can_be_proved_then(
    server: Server, brand: ActiveBrand
) -> None:
    guest = await make_anonymous(server, brand)
    await claim(server, guest, NEW, PENDING)
    with pytest.raises(Forbidden):
        await email_change.resend_verification(await make_caller(server, guest))
    await change_brand(server, brand, {"features": {"email_verification": True}})
    assert await can_log_in(server, brand, NEW, PENDING)
    assert await email_change.resend_verification(await make_caller(server, guest))
    await verify(server, await newest_token(server))
    assert (await row(server, guest.user_id))["verified_at"] == server.clock.now()
    assert not await email_change.resend_verification(
        await make_caller(server, await make_session(server, brand, guest.user_id))
    )


async def test_a_claim_made_while_proof_was_asked_can_still_be_proved(server: Server, brand: ActiveBrand) -> None:
    await change_brand(server, brand, {"features": {"email_verification": True}})
    guest = await make_anonymous(server, brand)
    await claim(server, guest, NEW, PENDING)
    await change_brand(server, brand, {"features": {"email_verification": False}})
    await verify(server, await newest_token(server))
    assert await can_log_in(server, brand, NEW, PENDING)
