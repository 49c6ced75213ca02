"""A user without a password sets the first one by an e-mail change."""

from __future__ import annotations

import pytest

from keystead.authentication import email_change, magic_link
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.mail.model import MailKind
from keystead.users import passwords
from keystead.users.model import User
from tests.authentication import email_changes as changes
from tests.authentication.email_changes import NEW, PENDING
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, is_alive
from tests.make import change_brand, make_brand, make_caller, make_session, make_user

BOB = "bob@example.com"


@pytest.fixture(params=[True, False], ids=["verified", "unverified"])
async def brand(server: Server, request: pytest.FixtureRequest) -> ActiveBrand:
    return await make_brand(server, features={"email_verification": request.param, "magic_login": True})


@pytest.fixture
async def bob(server: Server, brand: ActiveBrand) -> User:
    return await make_user(server, brand, BOB)


@pytest.mark.parametrize("spelling", [BOB, "Bob@Example.com"])
@pytest.mark.parametrize("password", [PENDING, None])
async def test_a_first_password_for_the_own_address_is_pending(
    server: Server, brand: ActiveBrand, bob: User, spelling: str, password: str | None
) -> None:
    thief, mine = await make_session(server, brand, bob.id), await make_session(server, brand, bob.id)
    before = await changes.row(server, bob.id)
    await changes.change_email(server, thief, spelling, password)
    found = await changes.row(server, bob.id)
    for name in ("email", "verified_at", "password_hash", "session_epoch"):
        assert found[name] == before[name]
    assert not await changes.can_log_in(server, brand, BOB, PENDING)
    assert await is_alive(server, mine)
    assert [(mail.kind, mail.recipient) for mail in await outbox(server)] == [(MailKind.verify_email, spelling)]
    assert len(await events(server, brand, "user.email_claimed")) == 1
    assert await events(server, brand, "user.email_granted") == []


async def test_the_preview_says_that_a_password_is_set(server: Server, brand: ActiveBrand, bob: User) -> None:
    opened = await make_session(server, brand, bob.id)
    await changes.change_email(server, opened, BOB, PENDING)
    link = await changes.preview(server, await changes.newest_token(server, BOB))
    assert (link.current_address, link.sets_password, link.ends_all_sessions) == (BOB, True, False)
    assert link.requested_from is not None


async def test_the_owner_gets_a_notice_of_the_password_that_the_link_set(
    server: Server, brand: ActiveBrand, bob: User
) -> None:
    opened = await make_session(server, brand, bob.id)
    await changes.change_email(server, opened, "Bob@Example.com", PENDING)
    await changes.verify(server, await changes.newest_token(server, "Bob@Example.com"))
    assert await changes.can_log_in(server, brand, BOB, PENDING)
    assert (await changes.row(server, bob.id))["email"] == "Bob@Example.com"
    assert await changes.mails_to(server, BOB) == ["password_changed"]
    (notice,) = await outbox(server, MailKind.password_changed)
    assert notice.languages == (brand.policy.mail_language,)


@pytest.mark.parametrize("password", [PENDING, None])
async def test_another_address_needs_verification_and_the_old_one_gets_notices(
    server: Server, brand: ActiveBrand, bob: User, password: str | None
) -> None:
    opened = await make_session(server, brand, bob.id)
    await changes.change_email(server, opened, NEW, password)
    assert (await changes.row(server, bob.id))["email"] == BOB
    assert await changes.mails_to(server, BOB) == []
    await changes.verify(server, await changes.newest_token(server))
    assert (await changes.row(server, bob.id))["email"] == NEW
    notices = ["address_changed", "password_changed"] if password else ["address_changed"]
    assert await changes.mails_to(server, BOB) == notices
    assert await changes.can_log_in(server, brand, NEW, PENDING) is (password is not None)


async def test_no_notice_without_a_verified_address_or_a_password(
    server: Server, brand: ActiveBrand, bob: User
) -> None:
    await changes.change_email(server, await make_session(server, brand, bob.id), BOB)
    await changes.verify(server, await changes.newest_token(server, BOB))
    await change_brand(server, brand, {"features": {"email_verification": True}})
    guest = await changes.make_anonymous(server, brand)
    await changes.change_email(server, guest, NEW, PENDING)
    await changes.verify(server, await changes.newest_token(server))
    assert {mail.kind for mail in await outbox(server)} == {MailKind.verify_email}


async def test_a_concurrent_verification_is_visible(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest verifies the address while another request hashes the password for it."""
    guest = await changes.make_anonymous(server, brand)
    await email_change.change_email_by_link(await make_caller(server, guest), NEW)
    token = await changes.newest_token(server, NEW, MailKind.change_email)
    hash_new = passwords.hash_new

    async def verify_meanwhile(*arguments: object, **more: object) -> str:
        await magic_link.redeem(changes.reader(server), secrets.parse(token), None)
        return await hash_new(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(passwords, "hash_new", verify_meanwhile)
    await changes.change_email(server, guest, NEW, PENDING)
    assert await changes.pending_email(server, guest.user_id) == NEW
    assert not await changes.can_log_in(server, brand, NEW, PENDING)
