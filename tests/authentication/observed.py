"""What tests look at afterwards: the audit log, and whether a session is alive."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication.authenticate import Credentials, authenticate
from keystead.authentication.link_request_worker import process_all
from keystead.context import ActiveBrand, Anonymous, Context, Server
from keystead.errors import AccessTokenRefused
from keystead.pagination import PageRequest
from keystead.sessions.model import Opened
from tests.make import REQUEST, make_access_token, make_context


def visitor(server: Server, brand: ActiveBrand | None = None) -> Context:
    """An anonymous request; ``brand`` is that of its credential."""
    return make_context(server, brand, Anonymous(), brand_is_default=brand is None)


async def events(server: Server, brand: ActiveBrand, name: str) -> list[AuditEvent]:
    """The events of that name in the brand, the newest first; those of one millisecond in no order.

    With what the mail worker has to say of the mails that were asked for until now.
    """
    await process_all(server)
    page = await audit.list_events(make_context(server), brand.id, PageRequest(per_page=100))
    return [event for event in page.items if event.event == name]


async def is_alive(server: Server, opened: Opened) -> bool:
    """Whether an access token of the session is accepted."""
    try:
        await authenticate(server, REQUEST, Credentials(make_access_token(server, opened)))
    except AccessTokenRefused:
        return False
    return True
