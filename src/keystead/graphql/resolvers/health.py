"""Whether the server is up."""

from __future__ import annotations

from typing import Any

from keystead.context import Context
from keystead.graphql.resolvers import resolver
from keystead.graphql.selection import Selection


@resolver("Query.health")
async def health(_ctx: Context, _arguments: dict[str, Any], _selection: Selection) -> dict[str, Any]:
    """Who gets this answer is talking to a server that is up. ``GET /ready`` also asks the database."""
    return {"data": {"up": True}}
