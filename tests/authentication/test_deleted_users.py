"""A user who is deleted while mail to them is being written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keystead.authentication import magic_link, password_change
from keystead.authentication.link_request_worker import process_all
from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind, generate
from keystead.db.interface import Contention
from keystead.ids import new_id
from keystead.mail import store as mails
from keystead.mail.links import recipient_key
from keystead.mail.model import MailKind, NewMail
from keystead.users import email_addresses
from keystead.users import store as users
from keystead.users.model import User
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.authentication.email_changes import change_email, make_anonymous, pending_email, reader
from tests.authentication.mailed import outbox
from tests.make import make_brand
from tests.races.conftest import is_held_up, outcome

ANN = "ann@example.com"


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand with every kind of link."""
    return await make_brand(server, features={"magic_login": True})


async def ask_for_login(server: Server, brand: ActiveBrand) -> None:
    await magic_link.request_magic_link(reader(server), brand, ANN)


async def ask_for_reset(server: Server, brand: ActiveBrand) -> None:
    await password_change.request_reset(reader(server), brand, ANN)


@pytest.mark.race
@pytest.mark.parametrize("ask", [ask_for_login, ask_for_reset], ids=["login", "reset"])
async def test_a_request_for_a_user_who_is_being_deleted_sends_no_mail(
    server: Server, brand: ActiveBrand, ann: User, ask: Callable[[Server, ActiveBrand], Awaitable[None]]
) -> None:
    await ask(server, brand)
    async with server.db.transaction() as tx:
        assert await users.delete_users(tx, brand.id, [ann.id]) == 1
        deciding = asyncio.create_task(outcome(process_all(server)))
        assert await is_held_up(deciding)
    await deciding
    assert await outbox(server) == []


@pytest.mark.race
async def test_the_address_of_a_user_who_is_being_deleted_can_be_requested(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    guest = await make_anonymous(server, brand)
    async with server.db.transaction() as tx:
        assert await users.delete_users(tx, brand.id, [ann.id]) == 1
        task = asyncio.create_task(outcome(change_email(server, guest, ANN)))
        assert await is_held_up(task)
    assert await task is None
    assert [mail.kind for mail in await outbox(server)] == [MailKind.verify_email]
    assert await pending_email(server, guest.user_id) == ANN


async def test_a_reference_to_a_deleted_user_is_retried(server: Server, brand: ActiveBrand) -> None:
    now, key = server.clock.now(), recipient_key(server.master_key, brand.id, ANN)
    mail = NewMail(new_id(now), MailKind.address_taken, new_id(now), ANN, key)
    with pytest.raises(Contention):
        async with server.db.transaction() as tx:
            await mails.insert_mail(tx, brand.id, mail, now)
    secret, address = generate(SecretKind.verify), email_addresses.parse(ANN)
    async with server.db.transaction() as tx:
        assert not await tokens.issue(tx, brand.id, new_id(now), TokenPurpose.verify, address, secret, now)
