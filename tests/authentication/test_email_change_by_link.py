"""Change an address by a link that logs in (``changeEmailMagically``)."""

from __future__ import annotations

import pytest

from keystead.authentication import email_change, magic_link
from keystead.authentication.authenticate import Credentials, authenticate
from keystead.authentication.link_request_worker import process_all
from keystead.context import ActiveBrand, Server, UserPrincipal
from keystead.crypto import secrets
from keystead.errors import Forbidden, InvalidCredentials, TokenInvalid
from keystead.mail.model import MailKind
from keystead.sessions.model import Opened
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication.email_changes import (
    NEW,
    change_email,
    make_anonymous,
    newest_token,
    pending_email,
    reader,
    resend,
    row,
    tokens_of,
    verify,
)
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, is_alive
from tests.clocks import ManualClock
from tests.make import REQUEST, change_brand, make_caller, make_context, make_session, make_user


@pytest.fixture
async def guest(server: Server, brand: ActiveBrand) -> Opened:
    """A session of an anonymous user."""
    return await make_anonymous(server, brand)


async def test_a_change_by_either_operation_invalidates_the_link_of_the_other(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await change_brand(server, brand, {"features": {"magic_login": True}})
    await change_email(server, guest, "first@example.com")
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    await process_all(server)
    assert await tokens_of(server, guest.user_id) == [TokenPurpose.claim]
    await change_email(server, guest, "third@example.com")
    assert await tokens_of(server, guest.user_id) == [TokenPurpose.verify]


async def test_a_change_by_link_needs_the_link_also_without_verification(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await change_brand(server, brand, {"features": {"magic_login": True, "email_verification": False}})
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    (mail,) = await outbox(server)
    assert (mail.kind, mail.recipient) == (MailKind.change_email, NEW)
    assert mail.expires_at is not None
    assert (mail.expires_at - mail.created_at).total_seconds() == 600
    found = await row(server, guest.user_id)
    assert (found["email"], found["pending_email"]) == (None, NEW)
    assert await tokens_of(server, guest.user_id) == [TokenPurpose.claim]


async def test_a_change_by_link_needs_the_feature_and_a_user_without_password(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    bob = await make_user(server, brand, "bob@example.com")
    contexts = [await make_caller(server, await make_session(server, brand, user.id)) for user in (ann, bob)]
    with pytest.raises(Forbidden) as refused:
        await email_change.change_email_by_link(contexts[1], NEW)
    assert refused.value.extensions["feature"] == "magic_login"
    open_brand = await change_brand(server, brand, {"features": {"magic_login": True}})
    by_ann, by_bob = (make_context(server, open_brand, ctx.principal) for ctx in contexts)
    with pytest.raises(InvalidCredentials):
        await email_change.change_email_by_link(by_ann, NEW)
    assert await pending_email(server, ann.id) is None
    (event,) = await events(server, brand, "email_claim.refused")
    assert event.reason == "has_password"
    await email_change.change_email_by_link(by_bob, NEW)
    assert await pending_email(server, bob.id) == NEW


async def test_the_link_verifies_the_address_and_opens_a_second_session(
    server: Server, brand: ActiveBrand, guest: Opened
) -> None:
    await change_brand(server, brand, {"features": {"magic_login": True}})
    other = await make_session(server, brand, guest.user_id)
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    opened = await magic_link.redeem(
        reader(server), secrets.parse(await newest_token(server, NEW, MailKind.change_email)), None
    )
    assert opened.auth_token is not None
    assert (await row(server, guest.user_id))["email"] == NEW
    assert await is_alive(server, guest)
    assert not await is_alive(server, other)
    principal = (await authenticate(server, REQUEST, Credentials(opened.auth_token))).principal
    assert isinstance(principal, UserPrincipal)
    assert principal.user_id == guest.user_id


async def test_a_verification_link_verifies_it_too_and_invalidates_the_other_link(
    server: Server, brand: ActiveBrand, guest: Opened, clock: ManualClock
) -> None:
    await change_brand(server, brand, {"features": {"magic_login": True}})
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    clock.advance(minutes=1)
    assert await resend(server, guest)
    assert await tokens_of(server, guest.user_id) == ["claim", "verify"]
    await verify(server, await newest_token(server))
    with pytest.raises(TokenInvalid):
        await magic_link.redeem(
            reader(server), secrets.parse(await newest_token(server, NEW, MailKind.change_email)), None
        )
