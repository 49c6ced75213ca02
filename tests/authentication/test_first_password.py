"""A user without a password sets the first one by an e-mail change."""

from __future__ import annotations

import pytest

from keystead.authentication import email_change, magic_link
from keystead.authentication.links import preview
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.mail.model import MailKind
from keystead.users import passwords
from keystead.users.model import User
from tests.authentication.email_changes import (
    NEW,
    PENDING,
    can_log_in,
    change_email,
    mails_to,
    make_anonymous,
    newest_token,
    pending_email,
    reader,
    row,
    verify,
)
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, is_alive
from tests.make import change_brand, make_brand, make_caller, make_session, make_user

BOB = "bob@example.com"


@pytest.fixture(params=[True, False], ids=["proof", "no proof"])
async def brand(server: Server, request: pytest.FixtureRequest) -> ActiveBrand:
    """A brand that asks for proof, and one that does not."""
    return await make_brand(server, features={"email_verification": request.param, "magic_login": True})


@pytest.fixture
async def bob(server: Server, brand: ActiveBrand) -> User:
    """A user who logs in by links."""
    return await make_user(server, brand, BOB)


@pytest.mark.parametrize("spelling", [BOB, "Bob@Example.com"])
@pytest.mark.parametrize("password", [PENDING, None])
async def test_a_first_password_for_the_own_address_is_pending(
    server: Server, brand: ActiveBrand, bob: User, spelling: str, password: str | None
) -> None:
    thief, mine = await make_session(server, brand, bob.id), await make_session(server, brand, bob.id)
    before = await row(server, bob.id)
    await change_email(server, thief, spelling, password)
    found = await row(server, bob.id)
    for name in ("email", "verified_at", "password_hash", "session_epoch"):
        assert found[name] == before[name]
    assert not await can_log_in(server, brand, BOB, PENDING)
    assert await is_alive(server, mine)
    assert [(mail.kind, mail.recipient) for mail in await outbox(server)] == [(MailKind.verify_email, spelling)]
    assert len(await events(server, brand, "user.email_claimed")) == 1
    assert await events(server, brand, "user.email_granted") == []


async def test_the_preview_says_that_a_password_is_set(server: Server, brand: ActiveBrand, bob: User) -> None:
    opened = await make_session(server, brand, bob.id)
    await change_email(server, opened, BOB, PENDING)
    link = await preview(reader(server), secrets.parse(await newest_token(server, BOB), SecretKind.verify))
    assert link is not None
    assert (link.current_address, link.sets_password, link.ends_all_sessions) == (BOB, True, False)
    assert link.requested_from is not None


async def test_the_owner_gets_a_notice_of_the_password_that_the_link_set(
    server: Server, brand: ActiveBrand, bob: User
) -> None:
    opened = await make_session(server, brand, bob.id)
    await change_email(server, opened, "Bob@Example.com", PENDING)
    await verify(server, await newest_token(server, "Bob@Example.com"))
    assert await can_log_in(server, brand, BOB, PENDING)
    assert (await row(server, bob.id))["email"] == "Bob@Example.com"
    assert await mails_to(server, BOB) == ["password_changed"]
    (notice,) = await outbox(server, MailKind.password_changed)
    assert notice.languages == (brand.policy.mail_language,)


@pytest.mark.parametrize("password", [PENDING, None])
async def test_another_address_needs_verification_and_the_old_one_gets_notices(
    server: Server, brand: ActiveBrand, bob: User, password: str | None
) -> None:
    opened = await make_session(server, brand, bob.id)
    await change_email(server, opened, NEW, password)
    assert (await row(server, bob.id))["email"] == BOB
    assert await mails_to(server, BOB) == []
    await verify(server, await newest_token(server))
    assert (await row(server, bob.id))["email"] == NEW
    told = ["address_changed", "password_changed"] if password else ["address_changed"]
    assert await mails_to(server, BOB) == told
    assert await can_log_in(server, brand, NEW, PENDING) is (password is not None)


async def test_no_notice_without_a_verified_address_or_a_password(
    server: Server, brand: ActiveBrand, bob: User
) -> None:
    await change_email(server, await make_session(server, brand, bob.id), BOB)
    await verify(server, await newest_token(server, BOB))
    await change_brand(server, brand, {"features": {"email_verification": True}})
    guest = await make_anonymous(server, brand)
    await change_email(server, guest, NEW, PENDING)
    await verify(server, await newest_token(server))
    assert {mail.kind for mail in await outbox(server)} == {MailKind.verify_email}


async def test_a_concurrent_verification_is_visible(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest claims and proves an address while the password for it is still being hashed by another request."""
    guest = await make_anonymous(server, brand)
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    token = await newest_token(server, NEW, MailKind.change_email)
    hash_new = passwords.hash_new

    async def prove_meanwhile(*arguments: object, **more: object) -> str:
        await magic_link.redeem(reader(server), secrets.parse(token), None)
        return await hash_new(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(passwords, "hash_new", prove_meanwhile)
    await change_email(server, guest, NEW, PENDING)
    assert await pending_email(server, guest.user_id) == NEW
    assert not await can_log_in(server, brand, NEW, PENDING)
