"""What ``keystead doctor`` looks at. Nothing here writes, and no check stops the others."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keystead.brands import service as brand_service
from keystead.brands import store as brand_store
from keystead.brands.model import Brand
from keystead.cli.database_checks import examine_database
from keystead.cli.findings import Finding, Status, list_names
from keystead.cli.mail_checks import examine_links, examine_outbox, examine_sending
from keystead.clock import Clock
from keystead.crypto.master_key import GUESSABLE_ADVICE, MasterKey, key_file_beside, load_master_key, missing_key_file
from keystead.db import migrate
from keystead.db.clock import DatabaseClock
from keystead.db.factory import open_database
from keystead.db.interface import Database
from keystead.entities import store as entity_store
from keystead.errors import KeysteadError, StartupError
from keystead.installation import service as installation
from keystead.installation import store as installation_store
from keystead.installation.model import LONGEST_USE, KeyState
from keystead.policy import SessionKind, allows
from keystead.settings import Settings

__all__ = ["Finding", "Status", "examine"]

CLOCKS_APART: Final = timedelta(seconds=2)
MOST_ENTITY_TABLES: Final = 1_000
_LATE_ROTATION: Final = LONGEST_USE + timedelta(days=2)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MOST_BRANDS: Final = 1_000
_HERE: Final = ("localhost", "127.0.0.1", "::1")


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """Every check that these settings allow, in the order in which trouble is best mended."""
    findings = [*_settings(settings), *_files(settings)]
    master_key, about_key = _master_key(settings)
    findings.append(about_key)
    findings += [finding async for finding in examine_sending(settings)]
    file = settings.sqlite_file
    if file is not None and not file.exists():
        return [*findings, Finding("database", Status.warning, "not made yet: the first start makes it")]
    before = len(findings)
    try:
        async with _opened(settings) as db:
            findings += [finding async for finding in examine_database(db)]
            findings += [finding async for finding in _database(db, settings, master_key, clock)]
            reached = Finding("database", Status.ok, db.dialect)
    except StartupError as error:
        reached = Finding("database", Status.failure, error.message)
    except KeysteadError as error:
        reached = Finding("database", Status.failure, error.cause or error.message)
    return [*findings[:before], reached, *findings[before:]]


def _settings(settings: Settings) -> Iterator[Finding]:
    for warning in settings.warnings:
        yield Finding("settings", Status.warning, warning)
    if not settings.warnings:
        yield Finding("settings", Status.ok, "every setting is understood")
    if settings.throttling:
        detail = "of mails alone: logins are not limited yet, put a rate limit in front of a server on the internet"
        yield Finding("throttling", Status.warning, detail)
    else:
        yield Finding("throttling", Status.failure, "KEYSTEAD_THROTTLING=off: mails to an address are not limited")
    yield _base_url(settings)
    yield _proxies(settings)


def _base_url(settings: Settings) -> Finding:
    parts = urlsplit(settings.base_url)
    if parts.hostname not in _HERE and parts.scheme != "https":
        return Finding("base_url", Status.warning, f"{settings.base_url} is not https: tokens travel in the clear")
    return Finding("base_url", Status.ok, settings.base_url)


def _proxies(settings: Settings) -> Finding:
    if settings.trusted_proxies:
        listed = ", ".join(map(str, settings.trusted_proxies))
        return Finding("trusted_proxies", Status.ok, f"{listed}: an application server with the SDK must be among them")
    hint = "none: a proxy, or an application server with the SDK, must be listed in KEYSTEAD_TRUSTED_PROXIES"
    is_here = urlsplit(settings.base_url).hostname in _HERE
    return Finding("trusted_proxies", Status.ok if is_here else Status.warning, hint)


def _files(settings: Settings) -> Iterator[Finding]:
    """The files that hold secrets or hashes must be their owner's alone."""
    database = settings.sqlite_file
    own = [database, database and Path(f"{database}-wal"), key_file_beside(settings.database_url)]
    for path in own:
        if path is not None and path.exists():
            yield _mode(path, Status.failure)
    if settings.master_key_file is not None and Path(settings.master_key_file).exists():
        # Mounted secrets are often readable by a group that the operator chose.
        yield _mode(Path(settings.master_key_file), Status.warning)


def _mode(path: Path, when_open: Status) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        return Finding("file_mode", when_open, f"{path} can be used by others ({mode:04o}): chmod 600 it")
    return Finding("file_mode", Status.ok, f"{path} ({mode:04o})")


def _master_key(settings: Settings) -> tuple[MasterKey | None, Finding]:
    if missing_key_file(settings) is not None:
        return None, Finding("master_key", Status.warning, "not made yet: the first start makes it")
    try:
        key = load_master_key(settings)
    except StartupError as error:
        return None, Finding("master_key", Status.failure, error.message)
    if key.is_guessable:
        return key, Finding("master_key", Status.failure, f"easy to guess: {GUESSABLE_ADVICE}")
    return key, Finding("master_key", Status.ok, "long enough")


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Database]:
    db = open_database(settings.database_url)
    await db.open()
    try:
        yield db
    finally:
        await db.close()


async def _database(
    db: Database, settings: Settings, master_key: MasterKey | None, machine: Clock
) -> AsyncIterator[Finding]:
    clock = DatabaseClock(machine)
    yield _clock(await clock.measure(db))
    revision, head = await migrate.current_revision(db), migrate.head_revision()
    if revision != head:
        yield Finding("schema", Status.failure, f"{revision or 'empty'}, this release needs {head}: keystead migrate")
        return
    yield Finding("schema", Status.ok, str(head))
    if missing_key_file(settings) is not None and await installation.is_prepared(db):
        yield Finding("master_key", Status.failure, "missing, and the database was made with one: put it back")
        return
    if master_key is not None and await installation.is_master_key_of(db, master_key) is False:
        yield Finding("master_key", Status.failure, "the database was made with another master key")
        return
    yield await _signing_keys(db, clock.now())
    brands = await brand_store.list_brands(db.scans, _MOST_BRANDS, 0)
    yield await _default_brand(db, settings)
    yield examine_links(settings, brands)
    yield await examine_outbox(db, clock.now())
    yield _standing_sessions(brands)
    if db.dialect == "sqlite":
        yield await _entity_tables(db, brands)


def _clock(ahead: timedelta) -> Finding:
    """The servers go by the database's clock; verifiers elsewhere, logs and TLS go by those of their machines."""
    if abs(ahead) > CLOCKS_APART:
        seconds = abs(ahead.total_seconds())
        return Finding("clock", Status.warning, f"the database's clock is {seconds:.1f} s away from ours")
    return Finding("clock", Status.ok, "as the database's")


async def _signing_keys(db: Database, now: datetime) -> Finding:
    keys = await installation_store.list_keys(db.scans)
    active = [key for key in keys if key.state(now) is KeyState.active]
    if not active:
        status = Status.failure if keys else Status.warning
        return Finding("signing_keys", status, "none is active: keystead keys rotate" if keys else "made at start")
    age = now - max(key.activates_at for key in active)
    if age > _LATE_ROTATION:
        detail = f"the active one is {age.days} days old, the server should have rotated it: keystead keys rotate"
        return Finding("signing_keys", Status.warning, detail)
    return Finding("signing_keys", Status.ok, f"the active one is {age.days} days old")


async def _default_brand(db: Database, settings: Settings) -> Finding:
    found = await brand_service.default_brand(db.reads, settings.default_brand)
    if found is not None:
        return Finding("default_brand", Status.ok, found.name)
    if settings.default_brand is not None:
        detail = f"KEYSTEAD_DEFAULT_BRAND: '{settings.default_brand}' is unknown or disabled"
        return Finding("default_brand", Status.warning, detail)
    return Finding("default_brand", Status.ok, "none: requests name their brand themselves")


def _standing_sessions(brands: Sequence[Brand]) -> Finding:
    """Sessions without an end are what the contract asks for; whoever runs the server should know (security §3)."""
    endless = [brand.name for brand in brands if _has_endless_sessions(brand)]
    if endless:
        detail = f"never expire in {list_names(endless)}: set standing_refresh_ttl or idle_ttl to change that"
        return Finding("standing_sessions", Status.warning, detail)
    return Finding("standing_sessions", Status.ok, "expire in every brand")


def _has_endless_sessions(brand: Brand) -> bool:
    has_an_end = brand.policy.standing_refresh_ttl is not None or brand.policy.idle_ttl is not None
    return allows(brand.preset, SessionKind.standing) and not has_an_end


async def _entity_tables(db: Database, brands: Sequence[Brand]) -> Finding:
    """SQLite reads its whole schema for each new connection (security §17)."""
    count = sum([await entity_store.count(db.scans, brand.id) for brand in brands])
    if count > MOST_ENTITY_TABLES:
        detail = f"{count}: more than {MOST_ENTITY_TABLES} slow SQLite down, PostgreSQL is the answer"
        return Finding("entity_tables", Status.warning, detail)
    return Finding("entity_tables", Status.ok, str(count))
