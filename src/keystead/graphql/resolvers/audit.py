"""The audit events of a brand, for its administrator."""

from __future__ import annotations

from typing import Any

import msgspec

from keystead.audit import service
from keystead.context import Context
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import refuse_filter, require_brand, resolver
from keystead.pagination import PageRequest, needs_total


@resolver("Query.auditEventList")
async def audit_event_list(ctx: Context, arguments: dict[str, Any], selection: Selection) -> dict[str, Any]:
    """One page of the audit events of the request's brand, newest first."""
    refuse_filter(arguments)
    request = PageRequest.parse(arguments.get("pagination"))
    page = await service.list_events(ctx, require_brand(ctx).id, request, with_total=needs_total(selection))
    return {"data": [msgspec.structs.asdict(event) for event in page.items], "pagination": page.pagination()}
