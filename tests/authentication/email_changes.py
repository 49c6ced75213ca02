"""Users who change their e-mail address, and what is stored of it."""

from __future__ import annotations

from keystead.authentication import email_change, email_verification, login
from keystead.authentication.link_request_worker import process_all
from keystead.authentication.links import LinkPreview
from keystead.authentication.links import preview as preview_link
from keystead.context import ActiveBrand, Anonymous, Context, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.db.statements import Statement
from keystead.errors import InvalidCredentials
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.sessions.model import Opened
from keystead.users import service as users
from keystead.users.one_time_tokens.store import one_time_tokens
from keystead.users.store import users as user_table
from tests.authentication.mailed import outbox, token_in
from tests.make import make_caller, make_context, make_session

NEW = "new@example.com"
PENDING = "a password to come"

_ROWS = Statement(user_table.select(), unbranded="a test reads what is stored")
_TOKENS = Statement(one_time_tokens.select(), unbranded="a test reads what is stored")
_NAMES = user_table.columns.keys()


async def make_anonymous(server: Server, brand: ActiveBrand) -> Opened:
    """The session of a new anonymous user."""
    async with server.db.transaction() as tx:
        user_id = await users.create_anonymous(tx, brand.id, server.clock.now())
    return await make_session(server, brand, user_id, SessionKind.standing)


async def change_email(server: Server, opened: Opened, email: str = NEW, password: str | None = None) -> None:
    """The session's user requests an e-mail change, and the mail worker processes it."""
    await email_change.change_email(await make_caller(server, opened), email, password)
    await process_all(server)


async def resend(server: Server, opened: Opened) -> bool:
    """Request the link again."""
    is_asked = await email_change.resend_verification(await make_caller(server, opened))
    await process_all(server)
    return is_asked


async def verify(server: Server, token: str) -> None:
    """Use a verification link."""
    await email_verification.verify_email(reader(server), secrets.parse(token))


async def preview(server: Server, token: str, kind: SecretKind = SecretKind.verify) -> LinkPreview:
    """What the page shows before the link is used."""
    found = await preview_link(reader(server), secrets.parse(token, kind))
    assert found is not None
    return found


def reader(server: Server) -> Context:
    """A request of the page behind a link."""
    return make_context(server, None, Anonymous())


async def row(server: Server, user_id: str) -> dict[str, object]:
    """The user's row."""
    rows = [dict(zip(_NAMES, found, strict=True)) for found in await server.db.reads.list(_ROWS)]
    return next(found for found in rows if found["id"] == user_id)


async def pending_email(server: Server, user_id: str) -> object:
    """The user's pending address, or None."""
    return (await row(server, user_id))["pending_email"]


async def tokens_of(server: Server, user_id: str) -> list[str]:
    """What the user's tokens are for, used ones left out."""
    found = [dict(zip(one_time_tokens.columns.keys(), one, strict=True)) for one in await server.db.reads.list(_TOKENS)]
    return sorted(one["purpose"] for one in found if one["user_id"] == user_id and one["consumed_at"] is None)


async def mails_to(server: Server, address: str) -> list[MailKind]:
    """The kinds of the mails to this address, exactly so written."""
    return sorted(mail.kind for mail in await outbox(server) if mail.recipient == address)


async def newest_token(server: Server, email: str = NEW, kind: MailKind = MailKind.verify_email) -> str:
    """The token in the newest mail of this kind to the address; the clock must have advanced since the one before."""
    found = [mail for mail in await outbox(server, kind) if mail.recipient == email]
    latest = max(mail.created_at for mail in found)
    (mail,) = [mail for mail in found if mail.created_at == latest]
    return token_in(server, mail)


async def can_log_in(server: Server, brand: ActiveBrand, email: str, password: str) -> bool:
    """Whether this address and password are a login."""
    try:
        await login.log_in_pair(make_context(server, None, Anonymous()), brand, email, password)
    except InvalidCredentials:
        return False
    return True


async def set_columns(server: Server, user_id: str, **values: object) -> None:
    """Write columns of the user's row, past all services."""
    change = Statement(user_table.update().where(user_table.c.id == user_id).values(values), unbranded="a test")
    async with server.db.transaction() as tx:
        await tx.execute(change)
