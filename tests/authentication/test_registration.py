"""Create users: anonymous ones, and those whose address an administrator gives."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.authentication import registration
from keystead.authentication.authenticate import Credentials, authenticate
from keystead.authentication.refresh import get_access_token
from keystead.authentication.registration import create_me
from keystead.brands import service as brands
from keystead.context import ActiveBrand, Anonymous, BrandTokenPrincipal, Context, Server, UserPrincipal
from keystead.errors import BrandMismatch, Conflict, Forbidden, KeyRefused, RateLimited, Unauthenticated
from keystead.mail.model import MailKind
from keystead.mail.service import MOST_AN_HOUR
from keystead.pagination import PageRequest
from keystead.users import service as users
from keystead.users.model import NewUser, User
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.authentication.mailed import outbox, token_in
from tests.authentication.observed import events, is_alive
from tests.clocks import ManualClock
from tests.make import REQUEST, change_brand, make_brand, make_context, make_session


def app(server: Server, brand: ActiveBrand) -> Context:
    return make_context(server, brand, BrandTokenPrincipal(brand.id, "token-id"))


async def test_a_new_user_without_address_or_password(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    raw = await create_me(app(server, brand), brand.name)
    clock.advance(days=4000)
    token = await get_access_token(make_context(server), raw, None)
    me = (await authenticate(server, REQUEST, Credentials(token))).principal
    assert isinstance(me, UserPrincipal)
    assert (me.profile.email, me.profile.is_anonymous, list(me.permissions)) == (None, True, [])
    (event,) = await events(server, brand, "user.signed_up")
    assert (event.subject_id, event.actor_kind) == (me.user_id, "brand_token")


async def test_a_user_is_created_only_with_a_credential_of_its_brand(server: Server, brand: ActiveBrand) -> None:
    other = await make_brand(server, "other")
    with pytest.raises(Unauthenticated):
        await create_me(make_context(server, brand, Anonymous(), brand_is_default=True), brand.name)
    with pytest.raises(BrandMismatch):
        await create_me(app(server, brand), other.name)
    assert await create_me(app(server, brand), None) != await create_me(app(server, brand), brand.id)
    assert len({event.subject_id for event in await events(server, brand, "user.signed_up")}) == 2


@pytest.mark.parametrize(
    ("choices", "feature"),
    [
        ({"preset": "pair"}, "standing"),
        ({"preset": "pair", "features": {"anonymous_users": True}}, "standing"),
        ({"features": {"anonymous_users": False}}, "anonymous_users"),
    ],
)
async def test_a_brand_without_anonymous_users_or_standing_sessions(
    server: Server, choices: dict[str, Any], feature: str
) -> None:
    brand = await make_brand(server, "strict", **choices)
    with pytest.raises(Forbidden) as refused:
        await create_me(app(server, brand), None)
    assert refused.value.extensions["feature"] == feature
    assert await events(server, brand, "user.signed_up") == []


async def test_no_user_is_left_when_the_brand_is_disabled_concurrently(server: Server, brand: ActiveBrand) -> None:
    ctx = app(server, brand)
    await brands.set_disabled(make_context(server), brand.name, True)
    with pytest.raises(KeyRefused):
        await create_me(ctx, None)
    page = await users.list_users(make_context(server), brand.id, PageRequest(), with_total=True)
    assert (page.total, await events(server, brand, "user.signed_up")) == (0, [])


async def test_without_a_requesting_session_all_sessions_end(server: Server, brand: ActiveBrand) -> None:
    made = await registration.create_user(make_context(server), brand, NewUser(NEW, PENDING))
    assert await changes.mails_to(server, NEW) == ["verify_email"]
    stray = await make_session(server, brand, made.id)
    await changes.verify(server, await changes.newest_token(server))
    assert not await is_alive(server, stray)
    assert await changes.can_log_in(server, brand, NEW, PENDING)
    assert await is_alive(server, await make_session(server, brand, made.id))


@pytest.mark.parametrize("is_verified", [True, False])
async def test_a_user_whose_address_needs_no_verification_gets_no_mail(
    server: Server, brand: ActiveBrand, is_verified: bool
) -> None:
    if not is_verified:
        brand = await change_brand(server, brand, {"features": {"email_verification": False}})
    await registration.create_user(make_context(server), brand, NewUser(NEW, PENDING, is_verified=is_verified))
    assert await changes.can_log_in(server, brand, NEW, PENDING)
    assert await outbox(server) == []


async def test_when_the_hour_is_used_up_the_wait_ends_with_it(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    for _ in range(MOST_AN_HOUR):
        await changes.change_email(server, await changes.make_anonymous(server, brand), NEW)
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
    await changes.change_email(server, await changes.make_anonymous(server, brand), NEW)
    before = len((await users.list_users(make_context(server), brand.id, PageRequest())).items)
    with pytest.raises(RateLimited) as refused:
        await registration.create_user(make_context(server), brand, NewUser(NEW))
    assert refused.value.extensions["retryAfter"] == 60
    assert len((await users.list_users(make_context(server), brand.id, PageRequest())).items) == before
    clock.advance(seconds=60)
    made = await registration.create_user(make_context(server), brand, NewUser(NEW))
    mails = await outbox(server, MailKind.verify_email)
    assert len(mails) == 2
    assert (await changes.pending_email(server, made.id), await changes.tokens_of(server, made.id)) == (NEW, ["verify"])
    (token,) = [token_in(server, mail) for mail in mails if mail.user_id == made.id]
    await changes.verify(server, token)
    assert (await changes.row(server, made.id))["email"] == NEW
    await registration.create_user(make_context(server), brand, NewUser("other@example.com"))
    await registration.create_user(make_context(server), brand, NewUser("other@example.com", is_verified=True))


async def test_a_taken_address_creates_neither_user_nor_mail(server: Server, brand: ActiveBrand, ann: User) -> None:
    with pytest.raises(Conflict):
        await registration.create_user(make_context(server), brand, NewUser("Ann@example.com"))
    assert await outbox(server) == []
