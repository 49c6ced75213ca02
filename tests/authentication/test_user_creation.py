"""Administrators make users whose address has to be proved: a link goes to it, and nobody is signed in by it."""

from __future__ import annotations

import pytest

from keystead.authentication import user_creation
from keystead.context import ActiveBrand, Server
from keystead.errors import Conflict
from keystead.mail.model import MailKind
from keystead.users.model import NewUser, User
from tests.authentication.claimants import (
    NEW,
    PENDING,
    can_log_in,
    claim,
    claimed,
    mails_to,
    make_anonymous,
    newest_token,
    row,
    tokens_of,
    verify,
)
from tests.authentication.mailed import outbox, token_in
from tests.authentication.observing import is_alive
from tests.make import change_brand, make_context, make_session


async def test_without_a_claiming_session_all_end(server: Server, brand: ActiveBrand) -> None:
    made = await user_creation.create_user(make_context(server), brand, NewUser(NEW, PENDING))
    assert await mails_to(server, NEW) == ["verify_email"]
    stray = await make_session(server, brand, made.id)
    await verify(server, await newest_token(server))
    assert not await is_alive(server, stray)
    assert await can_log_in(server, brand, NEW, PENDING)
    assert await is_alive(server, await make_session(server, brand, made.id))


@pytest.mark.parametrize("is_verified", [True, False])
async def test_a_user_whose_address_needs_no_proof_gets_no_mail(
    server: Server, brand: ActiveBrand, is_verified: bool
) -> None:
    if not is_verified:
        brand = await change_brand(server, brand, {"features": {"email_verification": False}})
    await user_creation.create_user(make_context(server), brand, NewUser(NEW, PENDING, is_verified=is_verified))
    assert await can_log_in(server, brand, NEW, PENDING)
    assert await outbox(server) == []


async def test_the_link_is_mailed_however_much_was_sent_there(server: Server, brand: ActiveBrand) -> None:
    """Strangers who claim the address first must not keep the user from it."""
    for _ in range(2):
        await claim(server, await make_anonymous(server, brand), NEW)
    made = [await user_creation.create_user(make_context(server), brand, NewUser(NEW)) for _ in range(2)]
    mails = await outbox(server, MailKind.verify_email)
    assert len(mails) == 3, "the second claim was one too many"
    assert {user.id for user in made} < {mail.user_id for mail in mails}
    assert [await claimed(server, user.id) for user in made] == [NEW, NEW]
    assert [await tokens_of(server, user.id) for user in made] == [["verify"], ["verify"]]
    (token,) = [token_in(server, mail) for mail in mails if mail.user_id == made[0].id]
    await verify(server, token)
    assert (await row(server, made[0].id))["email"] == NEW


async def test_a_taken_address_makes_neither_user_nor_mail(server: Server, brand: ActiveBrand, ann: User) -> None:
    with pytest.raises(Conflict):
        await user_creation.create_user(make_context(server), brand, NewUser("Ann@example.com"))
    assert await outbox(server) == []
