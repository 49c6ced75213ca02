"""Runs a command's work: settings, an open server, and a context of the system principal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from keystead.cli.output import note
from keystead.errors import NotFound
from keystead.settings import Settings, load_settings

if TYPE_CHECKING:
    from keystead.brands.model import Brand
    from keystead.context import Context
    from keystead.pagination import Page, PageRequest

T = TypeVar("T")
Item = TypeVar("Item")


def read_settings() -> Settings:
    """Load the settings; print their warnings.

    :raises SettingsError: if one is invalid.
    """
    settings = load_settings(os.environ)
    for warning in settings.warnings:
        note(f"warning: {warning}")
    return settings


def configure_logs(settings: Settings) -> None:
    """Log warnings and errors to stderr. Unconfigured, structlog would write to stdout, into the JSON."""
    from keystead.web import logs

    is_quieter = settings.log_level == "error"
    logs.configure(settings if is_quieter else replace(settings, log_level="warning"))


def run(work: Callable[[Context], Awaitable[T]], *, is_new_expected: bool = False) -> T:
    """Run ``work`` on the configured database; return its result.

    Reports a newly created SQLite file on stderr, unless ``is_new_expected``: it may be the wrong folder.

    :raises StartupError: if the settings or the database are unusable.
    """
    from keystead.web.bootstrap import open_server, system_context

    settings = read_settings()
    configure_logs(settings)
    new = None if is_new_expected else _missing_database(settings)

    async def open_and_work() -> T:
        async with open_server(settings) as server:
            if new is not None:
                note(f"note: created a new database: {new}")
            return await work(system_context(server, f"cli-{os.urandom(8).hex()}"))

    return asyncio.run(open_and_work())


def _missing_database(settings: Settings) -> Path | None:
    path = settings.sqlite_file
    return path.absolute() if path is not None and not path.exists() else None


async def each(list_page: Callable[[PageRequest], Awaitable[Page[Item]]]) -> AsyncIterator[Item]:
    """Iterate over all pages of a list."""
    from keystead.pagination import LARGEST_PER_PAGE, PageRequest

    number, has_more = 1, True
    while has_more:
        page = await list_page(PageRequest(number, LARGEST_PER_PAGE))
        for item in page.items:
            yield item
        number, has_more = number + 1, page.has_more_pages


async def get_brand(ctx: Context, name: str) -> Brand:
    """The brand with this name or id.

    :raises NotFound: if there is none.
    """
    from keystead.brands import service as brands

    try:
        return await brands.get_brand_by_name(ctx, name)
    except NotFound:
        raise NotFound(f"No brand named '{name[:80]}'. List brands with: keystead brand list") from None


async def brand_of(
    ctx: Context, brand_name: str | None, what: str, find: Callable[[str], Awaitable[object | None]]
) -> Brand:
    """The brand in which ``find(brand_id)`` returns something: the named brand only, or each in turn.

    An id on the command line comes without its brand, and no lower layer reads across brands.

    :raises NotFound: with a message about ``what``.
    """
    from keystead.brands import service as brands

    if brand_name is not None:
        candidates = [await get_brand(ctx, brand_name)]
    else:
        candidates = [brand async for brand in each(lambda page: brands.list_brands(ctx, page))]
    for brand in candidates:
        if await find(brand.id) is not None:
            return brand
    group = what.lower().replace(" ", "-")
    raise NotFound(f"No {what} with this id. List them with: keystead {group} list --brand {brand_name or 'BRAND'}")
