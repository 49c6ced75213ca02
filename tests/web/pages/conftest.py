"""A brand with every kind of mail, a user with an address and a guest without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from keystead.authentication import email_change, magic_link, password_change
from keystead.context import ActiveBrand, Anonymous, Context, Server
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.users import service as users
from keystead.users.model import User
from tests.api import Api
from tests.make import PASSWORD, REQUEST, make_brand, make_caller, make_session
from tests.web.pages.visiting import Visitor, newest_link

ANN = "ann@example.com"
NEW = "ann.new@example.com"

Asked = Callable[[MailKind], Awaitable[str]]


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """``rainbowMakers``, with magic login."""
    return await make_brand(server, features={"magic_login": True})


@pytest.fixture
async def guest(server: Server, brand: ActiveBrand) -> Context:
    """A request of an anonymous user."""
    async with server.db.transaction() as tx:
        user_id = await users.create_anonymous(tx, brand.id, server.clock.now())
    return await make_caller(server, await make_session(server, brand, user_id, SessionKind.standing))


@pytest.fixture
def visitor(api: Api) -> Visitor:
    """A browser."""
    return Visitor(api)


@pytest.fixture
def asked(server: Server, brand: ActiveBrand, ann: User, guest: Context) -> Asked:
    """Requests a mail of some kind and returns its link."""
    stranger = Context(server, REQUEST, Anonymous())

    async def ask(kind: MailKind) -> str:
        match kind:
            case MailKind.verify_email:
                await email_change.change_email(guest, NEW, PASSWORD)
            case MailKind.change_email:
                await email_change.change_email_by_link(guest, NEW)
            case MailKind.magic_login:
                await magic_link.request_magic_link(stranger, brand, ANN)
            case _:
                await password_change.request_reset(stranger, brand, ANN)
        return await newest_link(server, kind)

    return ask
