"""From a command to the database: settings, an open server, and a context in which the installation itself acts."""

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
    """The settings of this command; what is odd about them is said on stderr.

    :raises SettingsError: when one is bad.
    """
    settings = load_settings(os.environ)
    for warning in settings.warnings:
        note(f"warning: {warning}")
    return settings


def configure_logs(settings: Settings) -> None:
    """Log warnings to stderr. Unconfigured, a line would be on stdout, beside the JSON."""
    from keystead.web import logs

    is_quieter = settings.log_level == "error"
    logs.configure(settings if is_quieter else replace(settings, log_level="warning"))


def run(work: Callable[[Context], Awaitable[T]], *, is_new_expected: bool = False) -> T:
    """Runs ``work`` on the database that the settings name, and gives back what it returns.

    A SQLite file that is made on the way is said on stderr, unless it is expected: in a wrong folder it is a surprise.

    :raises StartupError: when the settings or the database do not let us.
    """
    from keystead.web.bootstrap import open_server, system_context

    settings = read_settings()
    configure_logs(settings)
    new = None if is_new_expected else _missing_database(settings)

    async def open_and_work() -> T:
        async with open_server(settings) as server:
            if new is not None:
                note(f"note: {new} is a new database, made just now")
            return await work(system_context(server, f"cli-{os.urandom(8).hex()}"))

    return asyncio.run(open_and_work())


def _missing_database(settings: Settings) -> Path | None:
    path = settings.sqlite_file
    return path.absolute() if path is not None and not path.exists() else None


async def each(list_page: Callable[[PageRequest], Awaitable[Page[Item]]]) -> AsyncIterator[Item]:
    """Every item of a list, page by page."""
    from keystead.pagination import LARGEST_PER_PAGE, PageRequest

    number, has_more = 1, True
    while has_more:
        page = await list_page(PageRequest(number, LARGEST_PER_PAGE))
        for item in page.items:
            yield item
        number, has_more = number + 1, page.has_more_pages


async def brand_of(
    ctx: Context, brand_name: str | None, what: str, find: Callable[[str], Awaitable[object | None]]
) -> Brand:
    """The brand in which ``find(brand_id)`` finds something: the named one, else each is tried in turn.

    An id on the command line comes without its brand, and nothing below this floor reads across brands.

    :raises NotFound: says that there is no such ``what``.
    """
    from keystead.brands import service as brands

    if brand_name is not None:
        candidates = [await brands.get_brand_by_name(ctx, brand_name)]
    else:
        candidates = [brand async for brand in each(lambda page: brands.list_brands(ctx, page))]
    for brand in candidates:
        if await find(brand.id) is not None:
            return brand
    raise NotFound(f"There is no such {what}.")
