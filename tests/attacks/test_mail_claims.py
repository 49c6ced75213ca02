"""A61-A64: addresses that change, addresses that are taken, and guests who become accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Answer, Api
from tests.attacks.callers import anonymised
from tests.attacks.conftest import PASSWORD
from tests.attacks.mail_operations import (
    CLAIMS,
    NEW_PASSWORD,
    WHO_AM_I,
    assert_cannot_log_in,
    cause_mail,
    claim,
    claim_magically,
    link_of,
    mailed_token,
    make_mailing_brand,
    redeem,
    request_login,
    request_reset,
    resend,
    reset,
    use_at_page,
    who,
)
from tests.attacks.mails import LINK_MAILS, mails_to, open_link, outbox, read, token_to
from tests.attacks.operations import assert_error, log_in
from tests.attacks.prehijackers import Guest, make_guest
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import make_user

OLD, NEW = "ann@example.com", "new@example.org"
every_claim = pytest.mark.parametrize("kind", sorted(CLAIMS))


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_mailing_brand(server)


@pytest.fixture
async def guest(api: Api, brand_token: str) -> Guest:
    return await make_guest(api, brand_token)


@pytest.mark.attack("A61")
async def test_the_old_address_logs_in_until_the_new_one_is_proved(server: Server, api: Api, ann: User) -> None:
    """Then the new one alone; the old one is told, and what it is told holds no link."""
    access, _ = await log_in(api, OLD, PASSWORD)
    assert_error(await claim(api, access, NEW), "INVALID_CREDENTIALS")
    assert_error(await claim(api, access, NEW, "not ann's password"), "INVALID_CREDENTIALS")
    assert_error(await claim_magically(api, access, NEW), "INVALID_CREDENTIALS")
    assert await outbox(server) == []
    assert (await claim(api, access, NEW, PASSWORD)).data["changeAndValidateEmail"]
    assert (await who(api, access))["email"] == OLD
    await assert_cannot_log_in(api, NEW, PASSWORD)
    assert await log_in(api, OLD, PASSWORD)
    assert await mails_to(server, OLD) == []
    assert await use_at_page(api, await token_to(server, NEW, MailKind.verify_email))
    assert (await who(api, access)) == {"id": ann.id, "email": NEW, "verified": True, "is_anonymous": False}
    await assert_cannot_log_in(api, OLD, PASSWORD)
    assert await log_in(api, NEW, PASSWORD)
    (notice,) = await mails_to(server, OLD)
    assert notice.kind is MailKind.address_changed
    said = await read(server, notice)
    assert "token=" not in said.text + said.html


@pytest.mark.attack("A61")
async def test_links_in_the_old_mailbox_do_not_prove_the_new_address(
    server: Server, api: Api, ann: User, clock: ManualClock
) -> None:
    """Neither to log in nor to reset; the latter ends the claim, as whoever made it may be the one to be locked out."""
    access, _ = await log_in(api, OLD, PASSWORD)
    assert (await claim(api, access, NEW, PASSWORD)).data["changeAndValidateEmail"]
    to_prove = await token_to(server, NEW, MailKind.verify_email)
    token = await mailed_token(api, server, TokenPurpose.login, OLD)
    again = (await redeem(api, token)).data["redeemMagicLink"]["data"]["auth_token"]
    assert ((await who(api, again))["email"], (await who(api, again))["id"]) == (OLD, ann.id)
    assert (await open_link(api, link_of(to_prove))).status_code == 200
    clock.advance(seconds=61)
    assert (await reset(api, await mailed_token(api, server, TokenPurpose.reset, OLD))).data["resetPassword"]
    assert not await use_at_page(api, to_prove)
    assert (await who(api, (await log_in(api, OLD, NEW_PASSWORD))[0]))["email"] == OLD


@pytest.mark.attack("A61")
async def test_another_users_link_changes_nothing_of_mine(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    """Whoever presses it, and whoever is signed in while they do."""
    bob = await make_user(server, brand, "bob@example.com", password=PASSWORD)
    of_ann, _ = await log_in(api, OLD, PASSWORD)
    of_bob, _ = await log_in(api, "bob@example.com", PASSWORD)
    assert (await claim(api, of_ann, NEW, PASSWORD)).data["changeAndValidateEmail"]
    assert (await claim(api, of_bob, "bobby@example.com", PASSWORD)).data["changeAndValidateEmail"]
    link = link_of(await token_to(server, "bobby@example.com", MailKind.verify_email))
    api.http.headers["Authorization"] = f"Bearer {of_ann}"
    assert await use_at_page(api, link.partition("token=")[2])
    del api.http.headers["Authorization"]
    assert (await who(api, of_ann))["email"] == OLD
    assert (await who(api, of_bob))["email"] == "bobby@example.com"
    token = await mailed_token(api, server, TokenPurpose.login, OLD)
    opened = (await redeem(api, token, token=of_bob)).data["redeemMagicLink"]["data"]["auth_token"]
    assert (await who(api, opened))["id"] == ann.id != bob.id
    assert (await open_link(api, link_of(await token_to(server, NEW, MailKind.verify_email)))).status_code == 200


@pytest.mark.attack("A61")
async def test_of_two_changes_the_second_counts(server: Server, api: Api, ann: User, clock: ManualClock) -> None:
    """And back again: each change is of one address, and each old address is told."""
    access, _ = await log_in(api, OLD, PASSWORD)
    tokens = []
    for address in ("first@example.com", "second@example.com"):
        assert (await claim(api, access, address, PASSWORD)).data["changeAndValidateEmail"]
        tokens.append(await token_to(server, address, MailKind.verify_email))
    assert [await use_at_page(api, token) for token in tokens] == [False, True]
    await assert_cannot_log_in(api, OLD, PASSWORD)
    await assert_cannot_log_in(api, "first@example.com", PASSWORD)
    clock.advance(seconds=61)
    assert (await claim(api, access, OLD, PASSWORD)).data["changeAndValidateEmail"]
    assert await use_at_page(api, await token_to(server, OLD, MailKind.verify_email))
    assert (await who(api, (await log_in(api, OLD, PASSWORD))[0]))["id"] == ann.id
    for token in tokens:
        assert not await use_at_page(api, token)
    told = [mail.recipient for mail in await outbox(server) if mail.kind is MailKind.address_changed]
    assert told == [OLD, "second@example.com"]


@pytest.mark.attack("A62")
@every_claim
async def test_a_taken_address_is_answered_like_a_free_one(
    server: Server,
    api: Api,
    ann: User,
    brand_token: str,
    watched: WatchedDatabase,
    clock: ManualClock,
    kind: TokenPurpose,
) -> None:
    """Same answers, same ``me``, same statements in the same order. Its owner hears of it and keeps everything."""
    seen = []
    for address in (OLD, NEW):
        guest = await make_guest(api, brand_token)
        answers, asked = await _claim_and_look(api, guest, kind, address, watched, clock)
        seen.append((str(answers).replace(address, "it").replace(guest.id, "me"), asked))
        clock.advance(minutes=30)
    assert seen[0] == seen[1]
    assert await mails_to(server, NEW, LINK_MAILS[kind])
    to_owner = await mails_to(server, OLD)
    assert to_owner
    assert {mail.kind for mail in to_owner} == {MailKind.address_taken}
    assert {mail.user_id for mail in to_owner} == {ann.id}
    for mail in to_owner:
        said = await read(server, mail)
        assert "token=" not in said.text + said.html
    access, _ = await log_in(api, OLD, PASSWORD)
    assert (await who(api, access)) == {"id": ann.id, "email": OLD, "verified": True, "is_anonymous": False}
    await assert_cannot_log_in(api, OLD, NEW_PASSWORD)


async def _claim_and_look(
    api: Api, guest: Guest, kind: TokenPurpose, address: str, watched: WatchedDatabase, clock: ManualClock
) -> tuple[list[Any], list[str]]:
    watched.forget()
    asks: list[Callable[[], Any]] = [
        lambda: cause_mail(api, kind, address, token=guest.access),
        # Once more at once, which is too soon for another mail; and later.
        lambda: cause_mail(api, kind, address, token=guest.access),
        lambda: resend(api, guest.access),
        lambda: api.send(WHO_AM_I, token=guest.access),
    ]
    answers: list[Answer] = []
    for ask in asks:
        answers.append(await ask())
        clock.advance(seconds=40)
    return [anonymised(answer) for answer in answers], [asked.text for asked in watched.asked]


@pytest.mark.attack("A62")
async def test_the_owner_may_use_their_links_while_somebody_claims_their_address(
    server: Server, api: Api, ann: User, guest: Guest, clock: ManualClock
) -> None:
    """What the owner does in their mailbox attaches nothing to the guest; nor does it once the owner is gone."""
    assert (await claim(api, guest.access, OLD, NEW_PASSWORD)).data["changeAndValidateEmail"]
    clock.advance(seconds=61)
    assert (await request_login(api, OLD)).data["requestMagicLogin"]
    assert await use_at_page(api, await token_to(server, OLD, MailKind.magic_login))
    clock.advance(seconds=61)
    assert (await request_reset(api, OLD)).data["requestPasswordReset"]
    assert await use_at_page(api, await token_to(server, OLD, MailKind.reset_password))
    assert not (await who(api, guest.access))["verified"]
    assert (await who(api, (await log_in(api, OLD, NEW_PASSWORD))[0]))["id"] == ann.id
    assert {mail.kind for mail in await outbox(server)} & set(LINK_KINDS) == {
        MailKind.magic_login,
        MailKind.reset_password,
    }
