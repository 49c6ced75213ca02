"""What most resolvers begin with: which brand this is about, and what they do not serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keystead.context import ActiveBrand, Context
from keystead.errors import BadUserInput


def require_brand(ctx: Context) -> ActiveBrand:
    """The brand of the request.

    :raises BadUserInput: when there is none; names the field ``brand``.
    """
    if ctx.brand is None:
        raise BadUserInput("This needs a brand: send a brand header, an API key or an access token.", field="brand")
    return ctx.brand


def refuse_filter(arguments: Mapping[str, Any]) -> None:
    """Filters are not served on this list: refused, rather than ignored.

    :raises BadUserInput: when a filter with content was sent; names the field ``filter``.
    """
    given = arguments.get("filter") or {}
    if given.get("query") or given.get("sortby"):
        raise BadUserInput("Filters are not served on this list yet.", field="filter")
