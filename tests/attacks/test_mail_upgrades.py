"""A63, A64: a guest becomes an account, keeps what is theirs, and does so once."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Api
from tests.attacks.mail_operations import (
    CLAIMS,
    NEW_PASSWORD,
    assert_cannot_log_in,
    claim,
    claim_magically,
    link_of,
    mailed_token,
    make_mailing_brand,
    redeem,
    use_at_page,
    ways,
    who,
)
from tests.attacks.mails import assert_gone, mails_to, open_link, press, token_to
from tests.attacks.operations import assert_error, assert_token_refused, get_access_token, log_in
from tests.attacks.prehijackers import Guest, make_guest
from tests.attacks.stored import stored
from tests.clocks import ManualClock
from tests.make import change_brand, make_access_token, make_api_key, make_brand_token, make_entity, make_session

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
    """With an entity of which everybody may write and read their own records."""
    made = await make_entity(server, await make_mailing_brand(server), "note", NOTE)
    own = ["note:create", "note:read:own", "note:write:own"]
    return await change_brand(server, made, {"policy": {"default_permissions": own}})


@pytest.fixture
async def guest(api: Api, brand_token: str) -> Guest:
    return await make_guest(api, brand_token)


@pytest.mark.attack("A63")
@every_claim
async def test_a_guest_who_proves_an_address_keeps_what_is_theirs(
    server: Server, api: Api, brand: ActiveBrand, guest: Guest, kind: TokenPurpose
) -> None:
    """Id, brand and records; the session that made the claim goes on with its tokens, the others end."""
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


@pytest.mark.attack("A63")
async def test_the_claimed_password_logs_in_after_the_proof_and_not_before(
    server: Server, api: Api, guest: Guest
) -> None:
    """It waits with the address."""
    assert (await claim(api, guest.access, MINE, NEW_PASSWORD)).data["changeAndValidateEmail"]
    await assert_cannot_log_in(api, MINE, NEW_PASSWORD)
    assert await use_at_page(api, await token_to(server, MINE, MailKind.verify_email))
    assert (await who(api, (await log_in(api, MINE, NEW_PASSWORD))[0]))["id"] == guest.id


@pytest.mark.attack("A64")
@every_claim
async def test_a_guest_becomes_an_account_once(
    server: Server, api: Api, guest: Guest, clock: ManualClock, kind: TokenPurpose
) -> None:
    """Not by the same link again; and not by another claim as if they were a guest still."""
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
async def test_a_link_upgrades_the_guest_who_asked_for_it_alone(
    server: Server, api: Api, brand_token: str, guest: Guest, kind: TokenPurpose
) -> None:
    """Presented by another guest, with their tokens, it joins nothing to them."""
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
async def test_nobody_is_upgraded_who_is_gone(
    server: Server, api: Api, brand: ActiveBrand, guest: Guest, kind: TokenPurpose, end: str
) -> None:
    """The link of a user who was deleted or disabled does nothing; one who threw the claiming session out proves it
    themselves, from a mailbox of theirs, and no session goes on."""
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
async def test_a_link_of_one_brand_upgrades_nobody_with_the_credential_of_another(
    server: Server, api: Api, guest: Guest, other_brand: ActiveBrand, kind: TokenPurpose
) -> None:
    """Refused, and as good as it was where it belongs."""
    token = await mailed_token(api, server, kind, MINE, token=guest.access)
    foreign = (await make_brand_token(server, other_brand)).reveal()
    if kind is TokenPurpose.claim:
        assert_error(await redeem(api, token, brand=foreign), "TOKEN_INVALID")
    assert await use_at_page(api, token)
    assert (await who(api, guest.access))["email"] == MINE
