"""Request an e-mail change: who may, what is stored, and that nothing reveals whether the address is taken."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.authentication import email_change
from keystead.context import ActiveBrand, Anonymous, Context, Server
from keystead.errors import BadUserInput, Forbidden, InvalidCredentials, Unauthenticated
from keystead.mail.model import MailKind
from keystead.sessions import store as session_store
from keystead.sessions.model import EndReason, Opened
from keystead.users import passwords
from keystead.users import service as users
from keystead.users.model import User
from tests.attacks.watched import watch
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.authentication.mailed import outbox
from tests.authentication.observed import events
from tests.clocks import ManualClock
from tests.make import PASSWORD, change_brand, make_caller, make_context, make_session

LOOK_ALIKE = "\uff41nn@example.com"
"""Another mailbox than ann@example.com, and no reader can tell."""


async def try_change(ctx: Context, email: str, password: str | None) -> type[Exception] | None:
    try:
        await email_change.change_email(ctx, email, password)
    except (BadUserInput, Forbidden, InvalidCredentials, Unauthenticated) as refused:
        return type(refused)
    return None


async def test_a_new_address_is_pending_until_the_link_is_used(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await changes.change_email(server, guest, "New@Example.com", PENDING)
    profile = (await users.get_user(make_context(server), brand.id, guest.user_id)).profile
    assert (profile.email, profile.is_verified, profile.is_anonymous) == ("New@Example.com", False, True)
    (mail,) = await outbox(server)
    assert (mail.kind, mail.recipient, mail.user_id) == (MailKind.verify_email, "New@Example.com", guest.user_id)
    assert mail.shown["ip_prefix"] == "192.0.2.7"
    assert not await changes.can_log_in(server, brand, NEW, PENDING)
    assert await changes.tokens_of(server, guest.user_id) == ["verify"]
    found = await changes.row(server, guest.user_id)
    assert (found["pending_session_id"], found["pending_at"]) == (guest.session_id, server.clock.now())
    assert found["password_hash"] is None
    await changes.verify(server, await changes.newest_token(server, "New@Example.com"))
    assert await changes.can_log_in(server, brand, NEW, PENDING)


@pytest.mark.attack("A62")
@pytest.mark.parametrize("spelling", ["ann@example.com", "Ann@EXAMPLE.com", LOOK_ALIKE])
async def test_a_taken_address_is_pending_too_and_its_owner_gets_a_notice(
    server: Server, brand: ActiveBrand, ann: User, guest: Opened, spelling: str
) -> None:
    before = await changes.row(server, ann.id)
    await changes.change_email(server, guest, spelling, PENDING)
    (mail,) = await outbox(server)
    assert (mail.kind, mail.recipient, mail.user_id) == (MailKind.address_taken, "ann@example.com", ann.id)
    assert mail.expires_at is None
    assert await changes.tokens_of(server, guest.user_id) == []
    found = await changes.row(server, guest.user_id)
    assert found["pending_email"] == spelling
    assert found["pending_password_hash"] is not None
    assert await changes.row(server, ann.id) == before
    assert await changes.can_log_in(server, brand, "ann@example.com", PASSWORD)


@pytest.mark.attack("A62")
async def test_a_free_a_taken_and_a_rate_limited_change_cost_the_same_statements_and_hashes(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    contexts = [await make_caller(server, await changes.make_anonymous(server, brand)) for _ in range(4)]
    runs, seen = [], watch(server)
    # The last two within a minute of the first two.
    for ctx, email in zip(contexts, (NEW, "ann@example.com", NEW, "ann@example.com"), strict=True):
        seen.forget()
        begun = server.passwords.load.begun
        await email_change.change_email(ctx, email, PENDING)
        runs.append((seen.texts, server.passwords.load.begun - begun))
    assert runs == [runs[0]] * 4
    assert runs[0][0] != []
    assert runs[0][1] == 1
    assert len(await outbox(server)) == 2


async def test_two_users_may_request_one_address_and_both_get_a_link(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    one, two = await changes.make_anonymous(server, brand), await changes.make_anonymous(server, brand)
    await changes.change_email(server, one)
    clock.advance(minutes=2)
    await changes.change_email(server, two)
    assert await changes.mails_to(server, NEW) == ["verify_email", "verify_email"]
    assert await changes.tokens_of(server, one.user_id) == await changes.tokens_of(server, two.user_id) == ["verify"]


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("no address", None, "newEmail"),
        ("a@example.com,b@example.com", None, "newEmail"),
        (NEW, "short", "password"),
        (NEW, "", "password"),
        (NEW, "password1", "password"),
        ("annabelle@example.com", "Annabelle99", "password"),
        (NEW, "rainbowMakers1", "password"),
    ],
)
async def test_an_invalid_address_or_password_is_named_and_changes_nothing(
    server: Server, guest: Opened, email: str, password: str | None, field: str
) -> None:
    with pytest.raises(BadUserInput) as refused:
        await changes.change_email(server, guest, email, password)
    assert refused.value.extensions["field"] == field
    assert await changes.pending_email(server, guest.user_id) is None
    assert await outbox(server) == []


async def test_a_password_needs_a_brand_with_passwords_and_an_address_alone_does_not(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await change_brand(server, brand, {"features": {"password_login": False}})
    with pytest.raises(Forbidden) as refused:
        await changes.change_email(server, guest, NEW, PENDING)
    assert refused.value.extensions["feature"] == "password_login"
    assert await changes.pending_email(server, guest.user_id) is None
    await changes.change_email(server, guest, NEW)
    assert await changes.pending_email(server, guest.user_id) == NEW


@pytest.mark.parametrize("given", [None, "", "wrong password", PASSWORD])
async def test_a_user_with_a_password_confirms_it(
    server: Server, brand: ActiveBrand, ann: User, given: str | None
) -> None:
    opened = await make_session(server, brand, ann.id)
    if given == PASSWORD:
        await changes.change_email(server, opened, NEW, given)
        found = await changes.row(server, ann.id)
        assert (found["pending_email"], found["pending_password_hash"]) == (NEW, None)
        return
    with pytest.raises(InvalidCredentials):
        await changes.change_email(server, opened, NEW, given)
    assert await changes.pending_email(server, ann.id) is None
    assert await outbox(server) == []
    (event,) = await events(server, brand, "email_claim.refused")
    assert event.reason == ("password_missing" if given is None else "wrong_password")
    assert (event.outcome, event.subject_id, event.session_id) == ("refused", ann.id, opened.session_id)


async def test_a_change_over_the_rate_limit_is_stored_without_a_mail(
    server: Server, brand: ActiveBrand, guest: Opened, clock: ManualClock
) -> None:
    await changes.change_email(server, guest, NEW)
    clock.advance(seconds=59)
    await changes.change_email(server, guest, "New@example.com", PENDING)
    assert await changes.pending_email(server, guest.user_id) == "New@example.com"
    assert await changes.mails_to(server, NEW) == ["verify_email"]
    assert await changes.mails_to(server, "New@example.com") == []
    assert await changes.tokens_of(server, guest.user_id) == []
    clock.advance(seconds=1)
    assert await email_change.resend_verification(await make_caller(server, guest))
    await changes.verify(server, await changes.newest_token(server, "New@example.com"))
    assert (await changes.row(server, guest.user_id))["email"] == "New@example.com"


@pytest.mark.parametrize("verified", [True, False])
async def test_a_session_that_ended_concurrently_changes_nothing(
    server: Server, brand: ActiveBrand, guest: Opened, ann: User, verified: bool
) -> None:
    await change_brand(server, brand, {"features": {"email_verification": verified}})
    ctx, anns = await make_caller(server, guest), await make_session(server, brand, ann.id)
    by_ann = await make_caller(server, anns)
    async with server.db.transaction() as tx:
        for opened in (guest, anns):
            at = server.clock.now()
            await session_store.end_own_session(tx, brand.id, opened.user_id, opened.session_id, EndReason.revoked, at)
    assert await try_change(ctx, NEW, PENDING) is InvalidCredentials
    assert await try_change(by_ann, NEW, PASSWORD) is InvalidCredentials
    assert await changes.pending_email(server, guest.user_id) is await changes.pending_email(server, ann.id) is None
    assert (await changes.row(server, guest.user_id))["email"] is None
    assert await outbox(server) == []


async def test_a_password_that_was_set_concurrently_has_to_be_confirmed(
    server: Server, brand: ActiveBrand, guest: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    await changes.change_email(server, guest, "first@example.com", PENDING)
    token, ctx = await changes.newest_token(server, "first@example.com"), await make_caller(server, guest)
    hash_new = passwords.hash_new

    async def verify_meanwhile(*arguments: Any, **more: Any) -> str:
        await changes.verify(server, token)
        found: str = await hash_new(*arguments, **more)
        return found

    monkeypatch.setattr(passwords, "hash_new", verify_meanwhile)
    assert await try_change(ctx, NEW, "another one to come") is InvalidCredentials
    assert await changes.pending_email(server, guest.user_id) is None
    (event,) = await events(server, brand, "email_claim.refused")
    assert event.reason == "overtaken"


@pytest.mark.parametrize("is_taken", [True, False])
async def test_the_audit_log_names_no_address(
    server: Server, brand: ActiveBrand, ann: User, guest: Opened, is_taken: bool
) -> None:
    await changes.change_email(server, guest, "ann@example.com" if is_taken else NEW)
    (event,) = await events(server, brand, "user.email_claimed")
    assert event.subject_id == guest.user_id
    assert event.details is not None
    assert len(event.details.pop("address")) == 32
    assert event.details == {"purpose": "verify"}
    (event,) = await events(server, brand, "mail.requested")
    assert event.subject_id == guest.user_id
    assert (event.outcome, event.reason) == (("refused", "taken") if is_taken else ("success", None))
    assert "example.com" not in str(event.details)


async def test_an_anonymous_request_is_unauthenticated(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server, brand, Anonymous())
    for attempt in (email_change.change_email(ctx, NEW, None), email_change.change_email_by_link(ctx, NEW)):
        with pytest.raises(Unauthenticated):
            await attempt
    with pytest.raises(Unauthenticated):
        await email_change.resend_verification(ctx)
