"""Send the verification link again: rate-limited, without revealing who has the address."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.errors import Forbidden, TokenInvalid
from keystead.users.model import User
from tests.authentication.email_changes import (
    NEW,
    change_email,
    mails_to,
    make_anonymous,
    newest_token,
    resend,
    row,
    tokens_of,
    verify,
)
from tests.authentication.mailed import outbox
from tests.authentication.observed import events
from tests.clocks import ManualClock
from tests.make import change_brand, make_session


async def test_without_a_pending_or_unverified_address_nothing_is_sent(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    assert not await resend(server, await make_anonymous(server, brand))
    assert not await resend(server, await make_session(server, brand, ann.id))
    assert await outbox(server) == []


async def test_within_a_minute_nothing_is_sent_and_the_older_link_stays_valid(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    guest = await make_anonymous(server, brand)
    await change_email(server, guest)
    clock.advance(seconds=59)
    assert await resend(server, guest)
    assert await mails_to(server, NEW) == ["verify_email"]
    event, claimed = await events(server, brand, "mail.requested")
    assert (claimed.outcome, event.outcome, event.reason) == ("success", "refused", "rate_limited")
    await verify(server, await newest_token(server))
    assert (await row(server, guest.user_id))["email"] == NEW


async def test_after_a_minute_the_newer_link_replaces_the_older(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    guest = await make_anonymous(server, brand)
    await change_email(server, guest)
    older = await newest_token(server)
    clock.advance(minutes=1)
    assert await resend(server, guest)
    newer = await newest_token(server)
    assert newer != older
    with pytest.raises(TokenInvalid):
        await verify(server, older)
    await verify(server, newer)
    for event in await events(server, brand, "mail.requested"):
        assert (event.outcome, event.reason, event.subject_id) == ("success", None, guest.user_id)


@pytest.mark.attack("A62")
async def test_for_a_taken_address_its_owner_gets_another_notice(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    guest = await make_anonymous(server, brand)
    await change_email(server, guest, "\uff41nn@example.com")
    for passed, sent in ((59, 1), (1, 1), (3539, 1), (1, 2)):
        clock.advance(seconds=passed)
        assert await resend(server, guest)
        assert await mails_to(server, "ann@example.com") == ["address_taken"] * sent
    assert len(await outbox(server)) == 2
    assert await tokens_of(server, guest.user_id) == []


async def test_an_address_that_became_free_gets_its_link(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    one, two = await make_anonymous(server, brand), await make_anonymous(server, brand)
    await change_email(server, one)
    await verify(server, await newest_token(server))
    await change_email(server, two, NEW)
    assert await mails_to(server, NEW) == ["address_taken", "verify_email"]
    await change_email(server, one, "elsewhere@example.com")
    await verify(server, await newest_token(server, "elsewhere@example.com"))
    clock.advance(minutes=1)
    assert await resend(server, two)
    await verify(server, await newest_token(server))
    assert (await row(server, two.user_id))["email"] == NEW


async def test_a_brand_without_verification_sends_no_such_mail(server: Server, brand: ActiveBrand) -> None:
    guest = await make_anonymous(server, brand)
    await change_email(server, guest)
    await change_brand(server, brand, {"features": {"email_verification": False}})
    with pytest.raises(Forbidden) as refused:
        await resend(server, guest)
    assert refused.value.extensions["feature"] == "email_verification"
