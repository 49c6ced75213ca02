"""Resolvers: one function per field of ``Query`` and ``Mutation``, registered under its name.

A resolver takes the context, its arguments by schema name (a copy) and the selection below the field, and returns plain
values keyed by schema names. Access has been checked; resolvers raise errors of ``keystead.errors``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

from keystead.context import ActiveBrand, Context
from keystead.errors import BadUserInput, StartupError
from keystead.graphql.executor.selection import Selection

Resolver = Callable[[Context, dict[str, Any], Selection], Awaitable[Any]]
Registry = dict[str, Resolver]

RESOLVERS: Registry = {}
"""The resolvers by name, such as ``Query.me``; complete after :func:`load_resolvers`."""


def resolver(*names: str, registry: Registry = RESOLVERS) -> Callable[[Resolver], Resolver]:
    """Register a function as the resolver of ``names``: ``Query.userList`` and an alias of it.

    :raises StartupError: when a name already has a resolver.
    """

    def register(function: Resolver) -> Resolver:
        for name in names:
            if name in registry:
                raise StartupError(f"two resolvers for {name}")
            registry[name] = function
        return function

    return register


def load_resolvers() -> Registry:
    """Import every module of this package, which registers its resolvers."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return RESOLVERS


def require_brand(ctx: Context) -> ActiveBrand:
    """Return the brand of the request.

    :raises BadUserInput: without a brand; names the field ``brand``.
    """
    if ctx.brand is None:
        raise BadUserInput("This needs a brand: send a brand header, an API key or an access token.", field="brand")
    return ctx.brand


def refuse_filter(arguments: Mapping[str, Any]) -> None:
    """Reject a filter on a list that does not support filters, instead of ignoring it.

    :raises BadUserInput: for a filter with content; names the field ``filter``.
    """
    given = arguments.get("filter") or {}
    if given.get("query") or given.get("sortby"):
        raise BadUserInput("Filters are not supported on this list yet.", field="filter")
