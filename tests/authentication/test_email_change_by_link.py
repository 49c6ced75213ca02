"""Change an address by a link that logs in, and request the same change again."""

from __future__ import annotations

import pytest

from keystead.authentication import email_change, magic_link
from keystead.authentication.authenticate import Credentials, authenticate
from keystead.authentication.link_request_worker import process_all
from keystead.context import ActiveBrand, Server, UserPrincipal
from keystead.crypto import secrets
from keystead.errors import BadUserInput, Forbidden, InvalidCredentials, TokenInvalid
from keystead.mail.model import MailKind
from keystead.sessions.model import Opened
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.attacks.watched import watch
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, is_alive
from tests.clocks import ManualClock
from tests.make import PASSWORD, REQUEST, change_brand, make_caller, make_context, make_session, make_user

pytestmark = pytest.mark.brand(features={"magic_login": True})


async def test_a_change_by_either_operation_invalidates_the_link_of_the_other(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await changes.change_email(server, guest, "first@example.com")
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    await process_all(server)
    assert await changes.tokens_of(server, guest.user_id) == [TokenPurpose.claim]
    await changes.change_email(server, guest, "third@example.com")
    assert await changes.tokens_of(server, guest.user_id) == [TokenPurpose.verify]


async def test_a_change_by_link_needs_the_link_also_without_verification(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await change_brand(server, brand, {"features": {"email_verification": False}})
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    (mail,) = await outbox(server)
    assert (mail.kind, mail.recipient) == (MailKind.change_email, NEW)
    assert mail.expires_at is not None
    assert (mail.expires_at - mail.created_at).total_seconds() == 600
    found = await changes.row(server, guest.user_id)
    assert (found["email"], found["pending_email"]) == (None, NEW)
    assert await changes.tokens_of(server, guest.user_id) == [TokenPurpose.claim]


async def test_a_change_by_link_needs_the_feature_and_a_user_without_password(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    bob = await make_user(server, brand, "bob@example.com")
    contexts = [await make_caller(server, await make_session(server, brand, user.id)) for user in (ann, bob)]
    closed_brand = await change_brand(server, brand, {"features": {"magic_login": False}})
    with pytest.raises(Forbidden) as refused:
        await email_change.change_email_by_link(make_context(server, closed_brand, contexts[1].principal), NEW)
    assert refused.value.extensions["feature"] == "magic_login"
    open_brand = await change_brand(server, brand, {"features": {"magic_login": True}})
    by_ann, by_bob = (make_context(server, open_brand, ctx.principal) for ctx in contexts)
    with pytest.raises(InvalidCredentials):
        await email_change.change_email_by_link(by_ann, NEW)
    assert await changes.pending_email(server, ann.id) is None
    (event,) = await events(server, brand, "email_claim.refused")
    assert event.reason == "has_password"
    await email_change.change_email_by_link(by_bob, NEW)
    assert await changes.pending_email(server, bob.id) == NEW


async def test_the_link_verifies_the_address_and_opens_a_second_session(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    other = await make_session(server, brand, guest.user_id)
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    opened = await magic_link.redeem(
        changes.reader(server), secrets.parse(await changes.newest_token(server, NEW, MailKind.change_email)), None
    )
    assert opened.auth_token is not None
    assert (await changes.row(server, guest.user_id))["email"] == NEW
    assert await is_alive(server, guest)
    assert not await is_alive(server, other)
    principal = (await authenticate(server, REQUEST, Credentials(opened.auth_token))).principal
    assert isinstance(principal, UserPrincipal)
    assert principal.user_id == guest.user_id


async def test_a_verification_link_verifies_it_too_and_invalidates_the_other_link(
    server: Server, brand: ActiveBrand, guest: Opened, clock: ManualClock
) -> None:
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    clock.advance(minutes=1)
    assert await changes.resend(server, guest)
    assert await changes.tokens_of(server, guest.user_id) == ["claim", "verify"]
    await changes.verify(server, await changes.newest_token(server))
    with pytest.raises(TokenInvalid):
        await magic_link.redeem(
            changes.reader(server), secrets.parse(await changes.newest_token(server, NEW, MailKind.change_email)), None
        )


@pytest.mark.parametrize(
    ("password", "has_login"),
    [
        pytest.param(None, False, id="guest"),
        pytest.param(PENDING, False, id="guest with password"),
        pytest.param(PASSWORD, True, id="login"),
    ],
)
@pytest.mark.parametrize("spelling", [NEW, "New@Example.com"])
async def test_a_repeated_request_is_one_change_with_one_valid_link(
    server: Server, brand: ActiveBrand, ann: User, guest: Opened, clock: ManualClock, spelling: str,
    password: str | None, has_login: bool,
) -> None:  # fmt: skip
    opened = await make_session(server, brand, ann.id) if has_login else guest
    await changes.change_email(server, opened, NEW, password)
    before = await changes.row(server, opened.user_id)
    for _ in range(2):
        clock.advance(seconds=3)
        await changes.change_email(server, opened, spelling, password)
    found = await changes.row(server, opened.user_id)
    assert found["pending_password_hash"] == before["pending_password_hash"]
    assert await changes.mails_to(server, NEW) == ["verify_email"]
    await changes.verify(server, await changes.newest_token(server))
    assert (await changes.row(server, opened.user_id))["email"] == spelling
    assert await changes.can_log_in(server, brand, NEW, password or PENDING) is (password is not None)


async def test_repeated_by_the_other_operation_both_links_stay_valid(server: Server, guest: Opened) -> None:
    await changes.change_email(server, guest)
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    assert await changes.tokens_of(server, guest.user_id) == ["verify"]
    await changes.verify(server, await changes.newest_token(server))


async def test_after_a_minute_a_new_link_replaces_the_older(
    server: Server, brand: ActiveBrand, guest: Opened, clock: ManualClock
) -> None:
    await changes.change_email(server, guest, NEW, PENDING)
    older = await changes.newest_token(server)
    clock.advance(minutes=1)
    await changes.change_email(server, guest, NEW, PENDING)
    with pytest.raises(TokenInvalid):
        await changes.verify(server, older)
    await changes.verify(server, await changes.newest_token(server))
    assert await changes.can_log_in(server, brand, NEW, PENDING)


@pytest.mark.parametrize("first", [None, PENDING])
@pytest.mark.parametrize("second", [None, PENDING, "another one to come"])
@pytest.mark.parametrize("by_same_session", [True, False])
async def test_another_password_or_session_is_another_change(
    server: Server,
    brand: ActiveBrand,
    guest: Opened,
    clock: ManualClock,
    first: str | None,
    second: str | None,
    by_same_session: bool,
) -> None:
    await changes.change_email(server, guest, NEW, first)
    older = await changes.newest_token(server)
    clock.advance(seconds=3)
    again = guest if by_same_session else await make_session(server, brand, guest.user_id)
    await changes.change_email(server, again, NEW, second)
    if by_same_session and first == second:
        await changes.verify(server, older)
        return
    with pytest.raises(TokenInvalid):
        await changes.verify(server, older)
    assert (await changes.row(server, guest.user_id))["pending_session_id"] == again.session_id
    clock.advance(minutes=1)
    await changes.change_email(server, again, NEW, second)
    await changes.verify(server, await changes.newest_token(server))
    assert await changes.can_log_in(server, brand, NEW, second or "nothing at all") is (second is not None)


async def test_the_password_rules_apply_to_the_same_password_too(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await changes.change_email(server, guest, NEW, PENDING)
    await change_brand(server, brand, {"policy": {"password_minimum": len(PENDING) + 1}})
    with pytest.raises(BadUserInput):
        await changes.change_email(server, guest, NEW, PENDING)


@pytest.mark.attack("A62")
@pytest.mark.parametrize("again", [None, PENDING, "another one to come"])
async def test_the_cost_does_not_reveal_that_the_address_was_taken(
    server: Server, brand: ActiveBrand, clock: ManualClock, again: str | None
) -> None:
    """Neither by the statements nor by the hashes: the competing change lost its pending password by then."""
    owner, costs = await changes.make_anonymous(server, brand), []
    await changes.change_email(server, owner)
    others = [await changes.make_anonymous(server, brand) for _ in range(2)]
    for other in others:
        await changes.change_email(server, other, NEW, PENDING)
    contexts = [await make_caller(server, other) for other in others]
    clock.advance(seconds=3)
    for ctx in contexts:
        seen, begun = watch(server), server.passwords.load.begun
        await email_change.change_email(ctx, NEW, again)
        costs.append((seen.texts, server.passwords.load.begun - begun))
        # For the second user the address is taken, and their mails are as rate-limited as the first one's were.
        if ctx is contexts[0]:
            await changes.verify(server, await changes.newest_token(server))
    assert costs[0] == costs[1]
    assert costs[0][0] != []
