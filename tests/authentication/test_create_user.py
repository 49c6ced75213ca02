"""Administrators create users whose address has to be verified by a link."""

from __future__ import annotations

import pytest

from keystead.authentication import registration
from keystead.context import ActiveBrand, Server
from keystead.errors import Conflict, RateLimited
from keystead.mail.model import MailKind
from keystead.mail.service import MOST_AN_HOUR
from keystead.pagination import PageRequest
from keystead.users import service as users
from keystead.users.model import NewUser, User
from tests.authentication.email_changes import (
    NEW,
    PENDING,
    can_log_in,
    change_email,
    mails_to,
    make_anonymous,
    newest_token,
    pending_email,
    row,
    tokens_of,
    verify,
)
from tests.authentication.mailed import outbox, token_in
from tests.authentication.observed import is_alive
from tests.clocks import ManualClock
from tests.make import change_brand, make_context, make_session


async def test_without_a_requesting_session_all_sessions_end(server: Server, brand: ActiveBrand) -> None:
    made = await registration.create_user(make_context(server), brand, NewUser(NEW, PENDING))
    assert await mails_to(server, NEW) == ["verify_email"]
    stray = await make_session(server, brand, made.id)
    await verify(server, await newest_token(server))
    assert not await is_alive(server, stray)
    assert await can_log_in(server, brand, NEW, PENDING)
    assert await is_alive(server, await make_session(server, brand, made.id))


@pytest.mark.parametrize("is_verified", [True, False])
async def test_a_user_whose_address_needs_no_verification_gets_no_mail(
    server: Server, brand: ActiveBrand, is_verified: bool
) -> None:
    if not is_verified:
        brand = await change_brand(server, brand, {"features": {"email_verification": False}})
    await registration.create_user(make_context(server), brand, NewUser(NEW, PENDING, is_verified=is_verified))
    assert await can_log_in(server, brand, NEW, PENDING)
    assert await outbox(server) == []


async def test_when_the_hour_is_used_up_the_wait_ends_with_it(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    for _ in range(MOST_AN_HOUR):
        await change_email(server, await make_anonymous(server, brand), NEW)
        clock.advance(minutes=2)
    with pytest.raises(RateLimited, match=r"try again in 3000 seconds") as refused:
        await registration.create_user(make_context(server), brand, NewUser(NEW))
    assert refused.value.extensions["retryAfter"] == 3000
    clock.advance(seconds=2999)
    with pytest.raises(RateLimited):
        await registration.create_user(make_context(server), brand, NewUser(NEW))
    clock.advance(seconds=1)
    await registration.create_user(make_context(server), brand, NewUser(NEW))


async def test_the_link_counts_against_the_recipients_rate_limit(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    """One a minute, from any caller; without the link no user is made, and vouching for the address needs none."""
    await change_email(server, await make_anonymous(server, brand), NEW)
    before = len((await users.list_users(make_context(server), brand.id, PageRequest())).items)
    with pytest.raises(RateLimited) as refused:
        await registration.create_user(make_context(server), brand, NewUser(NEW))
    assert refused.value.extensions["retryAfter"] == 60
    assert len((await users.list_users(make_context(server), brand.id, PageRequest())).items) == before
    clock.advance(seconds=60)
    made = await registration.create_user(make_context(server), brand, NewUser(NEW))
    mails = await outbox(server, MailKind.verify_email)
    assert len(mails) == 2
    assert (await pending_email(server, made.id), await tokens_of(server, made.id)) == (NEW, ["verify"])
    (token,) = [token_in(server, mail) for mail in mails if mail.user_id == made.id]
    await verify(server, token)
    assert (await row(server, made.id))["email"] == NEW
    await registration.create_user(make_context(server), brand, NewUser("other@example.com"))
    await registration.create_user(make_context(server), brand, NewUser("other@example.com", is_verified=True))


async def test_a_taken_address_creates_neither_user_nor_mail(server: Server, brand: ActiveBrand, ann: User) -> None:
    with pytest.raises(Conflict):
        await registration.create_user(make_context(server), brand, NewUser("Ann@example.com"))
    assert await outbox(server) == []
