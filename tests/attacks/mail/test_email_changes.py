"""A61-A64: addresses that change, addresses that are taken, and guests who become accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.policy import SessionKind
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Answer, Api
from tests.attacks.callers import anonymised
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
    ways,
    who,
)
from tests.attacks.mails import LINK_MAILS, assert_gone, mails_to, open_link, outbox, press, read, token_to
from tests.attacks.operations import assert_error, assert_token_refused, get_access_token, log_in
from tests.attacks.prehijackers import Guest, make_guest
from tests.attacks.stored import stored
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import (
    PASSWORD,
    change_brand,
    make_access_token,
    make_api_key,
    make_brand_token,
    make_entity,
    make_session,
    make_user,
)

OLD, NEW = "ann@example.com", "new@example.org"
every_claim = pytest.mark.parametrize("kind", sorted(CLAIMS))


@pytest.mark.attack("A61")
async def test_the_old_address_logs_in_until_the_new_one_is_verified(server: Server, api: Api, ann: User) -> None:
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
async def test_links_to_the_old_address_do_not_verify_the_new_one(
    server: Server, api: Api, ann: User, clock: ManualClock
) -> None:
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
async def test_another_user_s_link_does_not_change_this_account(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
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
async def test_a_second_change_replaces_the_first(server: Server, api: Api, ann: User, clock: ManualClock) -> None:
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
async def test_responses_do_not_reveal_a_registered_address(
    server: Server,
    api: Api,
    ann: User,
    brand_token: str,
    watched: WatchedDatabase,
    clock: ManualClock,
    kind: TokenPurpose,
) -> None:
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
        # Again within the rate limit, and later.
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
async def test_the_owner_s_links_do_not_verify_another_user_s_change(
    server: Server, api: Api, ann: User, guest: Guest, clock: ManualClock
) -> None:
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


MINE = "mine@example.com"
NOTE = {"text": {"type": "string"}}
CREATE_NOTE = 'mutation { createNote(input: { text: "written as a guest" }) { data { id } } }'
LIST_NOTES = "{ noteList { data { id text } } }"
UPDATE_NOTE = 'mutation ($id: ID!) { updateNote(input: { id: $id, text: "mine" }) { data { id } } }'
DELETE_USER = "mutation ($ids: [ID!]!) { deleteUser(ids: $ids) { data { success } } }"
UPDATE_USER = "mutation ($id: ID!) { updateUser(input: { id: $id, is_disabled: true }) { data { id } } }"
every_claim = pytest.mark.parametrize("kind", sorted(CLAIMS))


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """With an entity of which users read and write their own records."""
    made = await make_entity(server, await make_mailing_brand(server), "note", NOTE)
    own = ["note:create", "note:read:own", "note:write:own"]
    return await change_brand(server, made, {"policy": {"default_permissions": own}})


@pytest.mark.attack("A63")
@every_claim
async def test_a_guest_keeps_id_records_and_session(
    server: Server, api: Api, brand: ActiveBrand, guest: Guest, kind: TokenPurpose
) -> None:
    note = (await api.send(CREATE_NOTE, token=guest.access)).data["createNote"]["data"]["id"]
    others = []
    for session_kind in SessionKind:
        opened = await make_session(server, brand, guest.id, session_kind)
        others.append(Guest(guest.id, opened.refresh_token.reveal(), make_access_token(server, opened)))
    token = await mailed_token(api, server, kind, MINE, token=guest.access)
    for other in others:
        assert await other.is_in(api), "a claim ends nothing"
    assert await use_at_page(api, token)
    assert await guest.is_in(api)
    for other in others:
        assert not await other.is_in(api)
    access = (await who(api, guest.access)), await get_access_token(api, guest.refresh)
    assert access[0] == {"id": guest.id, "email": MINE, "verified": True, "is_anonymous": False}
    for mine in (guest.access, access[1]):
        assert (await api.send(LIST_NOTES, token=mine)).data["noteList"]["data"][0]["id"] == note
        assert (await api.send(UPDATE_NOTE, {"id": note}, token=mine)).data["updateNote"]["data"]["id"] == note
    assert (await api.send("{ me { brand } }", token=access[1])).data["me"]["brand"] == brand.name


@pytest.mark.attack("A64")
@every_claim
async def test_a_guest_becomes_an_account_once(
    server: Server, api: Api, guest: Guest, clock: ManualClock, kind: TokenPurpose
) -> None:
    token = await mailed_token(api, server, kind, MINE, token=guest.access)
    page = await open_link(api, link_of(token))
    assert await use_at_page(api, token)
    before = await stored(server)
    assert_gone(await press(api, link_of(token), page))
    for way in ways(kind):
        assert not await way(api, token)
    if kind is TokenPurpose.verify:
        # The password came with the first claim: it is needed now.
        for refused in (
            await claim(api, guest.access, "other@example.com"),
            await claim(api, guest.access, "other@example.com", "another password"),
            await claim_magically(api, guest.access, "other@example.com"),
        ):
            assert_error(refused, "INVALID_CREDENTIALS")
    assert await stored(server) == before
    clock.advance(seconds=61)
    assert await mails_to(server, "other@example.com") == []


@pytest.mark.attack("A64")
@every_claim
async def test_a_link_upgrades_only_its_own_guest(
    server: Server, api: Api, brand_token: str, guest: Guest, kind: TokenPurpose
) -> None:
    other = await make_guest(api, brand_token)
    token = await mailed_token(api, server, kind, MINE, token=guest.access)
    if kind is TokenPurpose.claim:
        given = (await redeem(api, token, "standing", token=other.access)).data["redeemMagicLink"]["data"]
        assert (await who(api, await get_access_token(api, given["refresh_token"])))["id"] == guest.id
    else:
        api.http.headers["Authorization"] = f"Bearer {other.access}"
        assert await use_at_page(api, token)
        del api.http.headers["Authorization"]
    assert (await who(api, guest.access))["email"] == MINE
    assert await who(api, other.access) == {"id": other.id, "email": None, "verified": False, "is_anonymous": True}


@pytest.mark.attack("A64")
@pytest.mark.parametrize("end", ["deleted", "disabled", "logged out"])
@every_claim
async def test_a_deleted_or_disabled_guest_is_not_upgraded(
    server: Server, api: Api, brand: ActiveBrand, guest: Guest, kind: TokenPurpose, end: str
) -> None:
    token = await mailed_token(api, server, kind, MINE, token=guest.access)
    page = await open_link(api, link_of(token))
    admin = (await make_api_key(server, brand, "admin"))[1].reveal()
    if end == "deleted":
        assert (await api.send(DELETE_USER, {"ids": [guest.id]}, key=admin)).data
    elif end == "disabled":
        assert (await api.send(UPDATE_USER, {"id": guest.id}, key=admin)).data
    else:
        force = "mutation { invalidateRefreshToken(force: true) }"
        assert (await api.send(force, token=guest.access)).data["invalidateRefreshToken"]
    assert_token_refused(await claim(api, guest.access, "other@example.com"))
    if end == "logged out":
        assert await use_at_page(api, token), "the only way back"
        assert not await guest.is_in(api)
        return
    before = await stored(server)
    assert_gone(await press(api, link_of(token), page))
    for way in ways(kind):
        assert not await way(api, token)
    assert await stored(server) == before
    await assert_cannot_log_in(api, MINE, NEW_PASSWORD)


@pytest.mark.attack("A64")
@every_claim
async def test_a_link_is_rejected_with_a_credential_of_another_brand(
    server: Server, api: Api, guest: Guest, other_brand: ActiveBrand, kind: TokenPurpose
) -> None:
    token = await mailed_token(api, server, kind, MINE, token=guest.access)
    foreign = (await make_brand_token(server, other_brand)).reveal()
    if kind is TokenPurpose.claim:
        assert_error(await redeem(api, token, brand=foreign), "TOKEN_INVALID")
    assert await use_at_page(api, token)
    assert (await who(api, guest.access))["email"] == MINE
