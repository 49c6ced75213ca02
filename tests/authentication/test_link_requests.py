"""Request mailed links: the owner gets one mail, the caller learns nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec import structs

from keystead.authentication import magic_link, password_change
from keystead.context import ActiveBrand, Anonymous, Context, RequestDetails, Server
from keystead.crypto import secrets
from keystead.errors import Forbidden, TokenInvalid
from keystead.mail.model import MailKind
from keystead.sessions.model import Opened
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from keystead.users.one_time_tokens import store as one_time_tokens
from tests.attacks.watched import watch
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW
from tests.authentication.mailed import outbox, token_in
from tests.authentication.observed import events
from tests.clocks import ManualClock
from tests.make import REQUEST, change_brand, make_brand, make_context, make_session, make_user

pytestmark = pytest.mark.brand(features={"magic_login": True})

EMAIL = "ann@example.com"

Request = Callable[[Context, ActiveBrand, str], Awaitable[None]]
KINDS: dict[Request, MailKind] = {
    magic_link.request_magic_link: MailKind.magic_login,
    password_change.request_reset: MailKind.reset_password,
}
LIFETIMES = {MailKind.magic_login: timedelta(minutes=10), MailKind.reset_password: timedelta(minutes=30)}

BOTH = pytest.mark.parametrize("request_mail", KINDS, ids=KINDS.values())


def visitor(server: Server, brand: ActiveBrand, request: RequestDetails = REQUEST) -> Context:
    return make_context(server, brand, Anonymous(), request=request, brand_is_default=True)


async def is_good(server: Server, raw: str) -> bool:
    secret = secrets.parse(raw)
    assert secret is not None
    return await one_time_tokens.find(server.db.reads, secret, server.clock.now()) is not None


@BOTH
async def test_the_owner_gets_one_mail_at_the_stored_address(
    server: Server, brand: ActiveBrand, request_mail: Request
) -> None:
    user = await make_user(server, brand, "Ann@Example.com")
    asking = structs.replace(REQUEST, accept_language="de-AT, en;q=0.5")
    await request_mail(visitor(server, brand, asking), brand, "aNN@EXAMPLE.com")
    (mail,) = await outbox(server)
    assert (mail.kind, mail.brand_id, mail.user_id) == (KINDS[request_mail], brand.id, user.id)
    assert mail.recipient == "Ann@Example.com"
    assert mail.link_base == "https://auth.example.com"
    assert mail.languages == ("de-at", "en")
    assert mail.expires_at == server.clock.now() + LIFETIMES[mail.kind]
    assert mail.shown == {"brand": brand.name, "ip_prefix": "192.0.2.7", "user_agent": "tests/1.0"}
    assert await is_good(server, token_in(server, mail))
    (event,) = await events(server, brand, "mail.requested")
    assert (event.outcome, event.reason, event.subject_id) == ("success", None, user.id)
    assert event.details is not None
    assert event.details["kind"] == mail.kind
    assert "example" not in str(event)


@BOTH
async def test_every_address_runs_the_same_statements(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, request_mail: Request
) -> None:
    """Known, unknown, disabled, unverified, rate-limited: one statement, and one mail in all."""
    disabled = await make_user(server, brand, "disabled@example.com")
    await users.update_user(make_context(server), brand.id, disabled.id, UserChanges(is_disabled=True))
    await make_user(server, brand, "waiting@example.com", is_verified=False)
    await make_user(server, await make_brand(server, "other"), "theirs@example.com")
    before = len(await outbox(server))
    seen, courses = watch(server), []
    cases = {
        EMAIL: (None, "success"),
        EMAIL.upper(): ("rate_limited", "refused"),
        "unknown@example.com": ("unknown_address", "refused"),
        "UNKNOWN_ID@example.com": ("unknown_address", "refused"),
        "disabled@example.com": ("unknown_address", "refused"),
        "waiting@example.com": ("unknown_address", "refused"),
        "theirs@example.com": ("unknown_address", "refused"),
        "\uff41nn@example.com": ("unknown_address", "refused"),
    }
    for email in cases:
        seen.forget()
        clock.advance(seconds=1)
        await request_mail(visitor(server, brand), brand, email)
        courses.append(tuple(seen.texts))
    assert len(set(courses)) == 1
    assert len(courses[0]) == 1
    assert len(await outbox(server)) == before + 1
    recorded = [event for event in await events(server, brand, "mail.requested") if event.details]
    assert [(event.reason, event.outcome) for event in reversed(recorded)] == list(cases.values())
    assert [event.subject_id for event in reversed(recorded)] == [ann.id] + [None] * 7


@pytest.mark.parametrize(
    ("request_mail", "feature"),
    [
        (magic_link.request_magic_link, "magic_login"),
        (password_change.request_reset, "password_reset"),
        (password_change.request_reset, "password_login"),
    ],
)
async def test_a_feature_that_is_off_is_forbidden_before_any_query(
    server: Server, brand: ActiveBrand, ann: User, request_mail: Request, feature: str
) -> None:
    brand = await change_brand(server, brand, {"features": {feature: False}})
    counted = watch(server)
    for email in (EMAIL, "unknown@example.com", "no address"):
        with pytest.raises(Forbidden) as refused:
            await request_mail(visitor(server, brand), brand, email)
        assert refused.value.extensions["feature"] == feature
    assert (len(counted.asked), counted.transactions) == (0, 0)


async def test_without_a_pending_or_unverified_address_nothing_is_sent(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    assert not await changes.resend(server, await changes.make_anonymous(server, brand))
    assert not await changes.resend(server, await make_session(server, brand, ann.id))
    assert await outbox(server) == []


async def test_within_a_minute_nothing_is_sent_and_the_older_link_stays_valid(
    server: Server, brand: ActiveBrand, guest: Opened, clock: ManualClock
) -> None:
    await changes.change_email(server, guest)
    clock.advance(seconds=59)
    assert await changes.resend(server, guest)
    assert await changes.mails_to(server, NEW) == ["verify_email"]
    event, first = await events(server, brand, "mail.requested")
    assert (first.outcome, event.outcome, event.reason) == ("success", "refused", "rate_limited")
    await changes.verify(server, await changes.newest_token(server))
    assert (await changes.row(server, guest.user_id))["email"] == NEW


async def test_after_a_minute_the_newer_link_replaces_the_older(
    server: Server, brand: ActiveBrand, guest: Opened, clock: ManualClock
) -> None:
    await changes.change_email(server, guest)
    older = await changes.newest_token(server)
    clock.advance(minutes=1)
    assert await changes.resend(server, guest)
    newer = await changes.newest_token(server)
    assert newer != older
    with pytest.raises(TokenInvalid):
        await changes.verify(server, older)
    await changes.verify(server, newer)
    for event in await events(server, brand, "mail.requested"):
        assert (event.outcome, event.reason, event.subject_id) == ("success", None, guest.user_id)


@pytest.mark.attack("A62")
async def test_for_a_taken_address_its_owner_gets_another_notice(
    server: Server, brand: ActiveBrand, guest: Opened, ann: User, clock: ManualClock
) -> None:
    await changes.change_email(server, guest, "\uff41nn@example.com")
    for passed, sent in ((59, 1), (1, 1), (3539, 1), (1, 2)):
        clock.advance(seconds=passed)
        assert await changes.resend(server, guest)
        assert await changes.mails_to(server, "ann@example.com") == ["address_taken"] * sent
    assert len(await outbox(server)) == 2
    assert await changes.tokens_of(server, guest.user_id) == []


async def test_an_address_that_became_free_gets_its_link(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    one, two = await changes.make_anonymous(server, brand), await changes.make_anonymous(server, brand)
    await changes.change_email(server, one)
    await changes.verify(server, await changes.newest_token(server))
    await changes.change_email(server, two, NEW)
    assert await changes.mails_to(server, NEW) == ["address_taken", "verify_email"]
    await changes.change_email(server, one, "elsewhere@example.com")
    await changes.verify(server, await changes.newest_token(server, "elsewhere@example.com"))
    clock.advance(minutes=1)
    assert await changes.resend(server, two)
    await changes.verify(server, await changes.newest_token(server))
    assert (await changes.row(server, two.user_id))["email"] == NEW


async def test_a_brand_without_verification_sends_no_such_mail(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await changes.change_email(server, guest)
    await change_brand(server, brand, {"features": {"email_verification": False}})
    with pytest.raises(Forbidden) as refused:
        await changes.resend(server, guest)
    assert refused.value.extensions["feature"] == "email_verification"
