"""Who acts in the tests of users, and what the audit log says of it."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.context import ActiveBrand, ApiKeyPrincipal, Context, Server
from keystead.ids import new_id
from keystead.pagination import PageRequest
from keystead.permissions import PermissionSet
from tests.make import make_context


def acting(server: Server, brand: ActiveBrand, *permissions: str) -> Context:
    """A request with these permissions."""
    held = PermissionSet(permissions)
    key_id = new_id(server.clock.now())
    return make_context(server, brand, ApiKeyPrincipal(brand.id, key_id, held, is_publishable=False))


async def audited(ctx: Context, brand: ActiveBrand) -> list[str]:
    """The names of the events of users and roles on record, sorted: the clock stands still."""
    page = await audit.list_events(ctx, brand.id, PageRequest(per_page=100))
    return sorted(one.event for one in page.items if one.event.startswith(("user.", "role.")))
