"""Checks of ``keystead doctor`` that read the database. None of them writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from keystead.brands import service as brand_service
from keystead.brands import store as brand_store
from keystead.brands.model import Brand
from keystead.cli.checks import Finding, Status
from keystead.cli.output import list_names
from keystead.clock import Clock
from keystead.crypto.master_key import MasterKey, missing_key_file
from keystead.db import migrate
from keystead.db.clock import DatabaseClock
from keystead.db.interface import Database, ReadOnly
from keystead.entities import store as entity_store
from keystead.installation import service as installation
from keystead.installation import store as installation_store
from keystead.installation.model import LONGEST_USE, KeyState
from keystead.mail import outbox
from keystead.mail.model import MailState
from keystead.policy import SessionKind, allows
from keystead.settings import Settings

MAX_CLOCK_OFFSET: Final = timedelta(seconds=2)
MAX_ENTITY_TABLES: Final = 1_000
LATE: Final = timedelta(minutes=15)
"""Age at which a waiting mail has failed several times, or no worker delivers mail."""
_LATE_ROTATION: Final = LONGEST_USE + timedelta(days=2)
_MAX_BRANDS: Final = 1_000


async def check_database(db: Database) -> AsyncIterator[Finding]:
    """Whether the database accepts writes; with PostgreSQL also TLS, indexes and rights.

    :raises ServiceUnavailable: if the database is unreachable.
    """
    try:
        await db.ping()
    except ReadOnly as error:
        yield Finding("database_writes", Status.failure, f"the database is read-only: {error.cause}")
    else:
        yield Finding("database_writes", Status.ok, "the database accepts writes")
    if db.dialect == "postgresql":
        async for finding in _postgres(db):
            yield finding


async def _postgres(db: Database) -> AsyncIterator[Finding]:
    # Imported here: with SQLite the driver is not needed.
    from keystead.db.postgres import PostgresDatabase
    from keystead.db.postgres_examination import Examination, examine

    if isinstance(db, PostgresDatabase):
        found: Examination = await examine(db)
        yield Finding("database_encoding", Status.ok, found.encoding)
        yield _encryption(found.encryption, is_verified=found.is_verified, is_local=found.is_local)
        if found.is_pooled:
            detail = "there is one: no prepared statements, time limits per transaction"
            yield Finding("database_pooler", Status.ok, detail)
        if found.invalid_indexes:
            how = "REINDEX INDEX CONCURRENTLY each, unless it is being built"
            detail = f"not valid, so no statement uses them: {list_names(found.invalid_indexes)}. {how}"
            yield Finding("database_indexes", Status.warning, detail)
        else:
            yield Finding("database_indexes", Status.ok, "all are valid")
        for rights, need, status in (
            (found.missing_to_serve, "the server needs", Status.failure),
            (found.missing_to_migrate, "'keystead migrate' needs", Status.warning),
        ):
            if rights:
                yield Finding("database_rights", status, f"the role lacks what {need}: {list_names(rights)}")
        if not found.missing_to_serve and not found.missing_to_migrate:
            yield Finding("database_rights", Status.ok, "the role has every required right")


def _encryption(version: str | None, *, is_verified: bool, is_local: bool) -> Finding:
    if version is not None and is_verified:
        return Finding("database_tls", Status.ok, f"{version}, the certificate is verified")
    if is_local:
        return Finding("database_tls", Status.ok, f"{version or 'not encrypted'}, on this machine")
    what = f"{version}, but the certificate is not verified" if version else "not encrypted"
    return Finding("database_tls", Status.warning, f"{what}: set sslmode=verify-full in KEYSTEAD_DATABASE_URL")


async def check_contents(
    db: Database, settings: Settings, master_key: MasterKey | None, machine: Clock
) -> AsyncIterator[Finding]:
    """Clock, schema, master key, signing keys, brands, outbox. ``machine`` is the clock of this machine."""
    clock = DatabaseClock(machine)
    yield _clock(await clock.measure(db))
    revision, head = await migrate.current_revision(db), migrate.head_revision()
    if revision != head:
        yield Finding("schema", Status.failure, f"{revision or 'empty'}, this release needs {head}: keystead migrate")
        return
    yield Finding("schema", Status.ok, str(head))
    if missing_key_file(settings) is not None and await installation.is_prepared(db):
        yield Finding("master_key", Status.failure, "missing, but this database was created with one: restore it")
        return
    if master_key is not None and await installation.is_master_key_of(db, master_key) is False:
        yield Finding("master_key", Status.failure, "the database was created with another master key")
        return
    yield await _signing_keys(db, clock.now())
    brands = await brand_store.list_brands(db.scans, _MAX_BRANDS, 0)
    yield await _default_brand(db, settings)
    yield _links(settings, brands)
    yield await check_outbox(db, clock.now())
    yield _standing_sessions(brands)
    if db.dialect == "sqlite":
        yield await _entity_tables(db, brands)


def _clock(ahead: timedelta) -> Finding:
    """Servers use the database's clock; token verifiers elsewhere, logs and TLS use those of their machines."""
    if abs(ahead) > MAX_CLOCK_OFFSET:
        seconds = abs(ahead.total_seconds())
        return Finding("clock", Status.warning, f"differs from the database's clock by {seconds:.1f} s")
    return Finding("clock", Status.ok, "agrees with the database's clock")


async def _signing_keys(db: Database, now: datetime) -> Finding:
    keys = await installation_store.list_keys(db.scans)
    active = [key for key in keys if key.state(now) is KeyState.active]
    if not active:
        status = Status.failure if keys else Status.warning
        detail = "none is active: keystead keys rotate" if keys else "none yet: the first start creates one"
        return Finding("signing_keys", status, detail)
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
    return Finding("default_brand", Status.ok, "none: each request must name its brand")


def _links(settings: Settings, brands: Sequence[Brand]) -> Finding:
    """Whether the base of links in mails is configured: only a running server knows the port of the default."""
    if settings.is_base_url_chosen:
        return Finding("links", Status.ok, f"begin with {settings.base_url} unless the brand has its own base URL")
    default = [brand.name for brand in brands if brand.base_url is None and not brand.is_disabled and _has_links(brand)]
    if default:
        detail = f"begin with the default, {settings.base_url}, in {list_names(default)}: set KEYSTEAD_BASE_URL"
        return Finding("links", Status.warning, detail)
    return Finding("links", Status.ok, "begin with each brand's own base URL")


def _has_links(brand: Brand) -> bool:
    features = brand.features
    return features.email_verification or features.magic_login or (features.password_reset and features.password_login)


async def check_outbox(db: Database, now: datetime) -> Finding:
    """Whether mails are delivered."""
    dead = (await outbox.count_states(db)).get(MailState.dead, 0)
    late = await outbox.count_late(db, now - LATE)
    details = []
    if dead:
        details.append(f"{_mails(dead)} given up: keystead mail list --state dead")
    if late:
        minutes = LATE.seconds // 60
        details.append(f"{_mails(late)} waiting for more than {minutes} min: keystead mail list --state waiting")
    return Finding("outbox", Status.warning if details else Status.ok, "; ".join(details) or "no mail waits for long")


def _mails(count: int) -> str:
    return "1 mail" if count == 1 else f"{count} mails"


def _standing_sessions(brands: Sequence[Brand]) -> Finding:
    """The contract allows sessions that never expire; the operator should know of them (security §3)."""
    endless = [brand.name for brand in brands if _has_endless_sessions(brand)]
    if endless:
        detail = f"never expire in {list_names(endless)}: set standing_refresh_ttl or idle_ttl to change that"
        return Finding("standing_sessions", Status.warning, detail)
    return Finding("standing_sessions", Status.ok, "expire in every brand")


def _has_endless_sessions(brand: Brand) -> bool:
    has_an_end = brand.policy.standing_refresh_ttl is not None or brand.policy.idle_ttl is not None
    return allows(brand.preset, SessionKind.standing) and not has_an_end


async def _entity_tables(db: Database, brands: Sequence[Brand]) -> Finding:
    """SQLite parses its whole schema for each new connection (security §17)."""
    count = sum([await entity_store.count(db.scans, brand.id) for brand in brands])
    if count > MAX_ENTITY_TABLES:
        detail = f"{count}: more than {MAX_ENTITY_TABLES} slow SQLite down; use PostgreSQL"
        return Finding("entity_tables", Status.warning, detail)
    return Finding("entity_tables", Status.ok, str(count))
