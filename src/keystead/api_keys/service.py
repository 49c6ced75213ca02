"""Use cases on API keys. Contract §4."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from keystead.api_keys import store
from keystead.api_keys.model import ApiKey, FoundKey, NewApiKey
from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.context import ApiKeyPrincipal, Context, Principal, Server, UserPrincipal, key_creator
from keystead.crypto.secrets import Secret, SecretKind, generate
from keystead.db.interface import Tx
from keystead.entity_names.service import require_entities
from keystead.errors import BadUserInput, Forbidden, KeysteadError, NotFound, Unauthenticated
from keystead.ids import new_id
from keystead.pagination import Page, PageRequest
from keystead.permissions import READ, PermissionSet
from keystead.users import store as user_store

NAME_LENGTH = 100
DESCRIPTION_LENGTH = 1000
MOST_ORIGINS = 50
LONGEST_ORIGIN = 300
LONGEST_OVERLAP = 30 * 86_400
# A pattern such as *.example.com is no origin that a browser sends: rejected, as it would never match.
_HOST = re.compile(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)


def parse_new_key(given: Mapping[str, Any]) -> NewApiKey:
    """Parse a ``CreateApiKeyInput``.

    :raises BadUserInput: for an invalid value; names the field.
    """
    is_publishable = bool(given.get("publishable"))
    origins = _origins(given.get("allowed_origins") or ())
    if origins and not is_publishable:
        raise BadUserInput("Only a publishable key is bound to origins.", field="allowed_origins")
    return NewApiKey(
        _name(given["name"]),
        PermissionSet.of(given["permissions"]),
        _description(given.get("description")),
        given.get("expires_at"),
        is_publishable,
        origins,
    )


async def create_key(ctx: Context, brand_id: str, new: NewApiKey) -> tuple[ApiKey, Secret]:
    """Create an API key; returns it with its secret, which is not stored.

    :raises BadUserInput: when a permission names no entity; names the field.
    :raises Forbidden: when the key would exceed its creator's permissions, or a publishable key would write.
    :raises Unauthenticated: when creator or creating key was revoked since the request was authenticated.
    """
    now = ctx.now()
    _check_expiry(new.expires_at, now)
    _check_grant(ctx, new.permissions, new.is_publishable)
    secret = generate(SecretKind.publishable_key if new.is_publishable else SecretKind.secret_key)
    key = ApiKey(
        new_id(now),
        new.name,
        new.description,
        new.permissions,
        new.is_publishable,
        new.allowed_origins,
        secret.hint,
        now,
        _creator(ctx.principal),
        new.expires_at,
        None,
    )
    event = describe_key(ctx, "api_key.created", brand_id, key)
    async with ctx.db.transaction() as tx:
        await require_entities(tx, brand_id, new.permissions)
        await _lock_creator(tx, brand_id, ctx.principal)
        await store.insert_key(tx, brand_id, key)
        await store.insert_secret(tx, brand_id, key.id, secret.digest(), now)
        await audit.record(tx, event)
    return key, secret


async def update_key(ctx: Context, brand_id: str, key_id: str, changes: Mapping[str, Any]) -> ApiKey:
    """Change the given values of a key; null clears a description or an expiry.

    :raises NotFound: when there is no such key.
    :raises BadUserInput, Forbidden: as in :func:`create_key`.
    """
    now = ctx.now()
    checked = _checked_changes(changes)
    refused: KeysteadError | None = None
    key: ApiKey | None = None
    async with ctx.db.transaction() as tx:
        await require_entities(tx, brand_id, checked.get("permissions", ()))
        # Locked, against lost updates by a concurrent change.
        current = await store.lock_key(tx, brand_id, key_id)
        if current is not None:
            refused = _why_not(ctx, current, checked, now)
        if current is not None and refused is None:
            names = ("name", "description", "permissions", "expires_at", "allowed_origins")
            new = {name: getattr(current, name) for name in names} | checked
            new["permissions"] = tuple(new["permissions"])
            key = await store.update_key(tx, brand_id, key_id, new)
        if key is not None:
            await audit.record(tx, describe_key(ctx, "api_key.updated", brand_id, key))
    if refused is not None:
        raise refused
    if key is None:
        raise NotFound()
    return key


async def rotate_key(ctx: Context, brand_id: str, key_id: str, overlap_seconds: int) -> tuple[ApiKey, Secret]:
    """Issue a new secret for a key; the old one stays valid for ``overlap_seconds``.

    The caller learns the secret, so the caller needs all permissions of the key.

    :raises BadUserInput: for an overlap out of range; names the field.
    :raises Forbidden: when the key has a permission that the caller lacks.
    :raises NotFound: when there is no such key.
    """
    if not 0 <= overlap_seconds <= LONGEST_OVERLAP:
        raise BadUserInput(f"'overlap_seconds' must be between 0 and {LONGEST_OVERLAP}.", field="overlap_seconds")
    now = ctx.now()
    refused: KeysteadError | None = NotFound()
    async with ctx.db.transaction() as tx:
        # Locked: of two concurrent rotations the second sees, and expires, the secret of the first.
        key = await store.lock_key(tx, brand_id, key_id)
        if key is not None:
            refused = _missing_grant(ctx, key.permissions, key.is_publishable)
        if key is not None and refused is None:
            secret = generate(SecretKind.publishable_key if key.is_publishable else SecretKind.secret_key)
            await store.expire_secrets(tx, brand_id, key_id, now + timedelta(seconds=overlap_seconds))
            key = await store.set_hint(tx, brand_id, key_id, secret.hint) or key
            await store.insert_secret(tx, brand_id, key_id, secret.digest(), now)
            await audit.record(tx, describe_key(ctx, "api_key.rotated", brand_id, key))
            return key, secret
    raise refused or NotFound()


async def delete_keys(ctx: Context, brand_id: str, ids: Sequence[str]) -> None:
    """Delete keys, all or none.

    :raises NotFound: when one of them is unknown.
    """
    wanted = sorted(set(ids))
    async with ctx.db.transaction() as tx:
        deleted = await store.delete_keys(tx, brand_id, wanted)
        if len(deleted) != len(wanted):
            # Raised inside, to roll back.
            raise NotFound()
        for key in deleted:
            await audit.record(tx, describe_key(ctx, "api_key.deleted", brand_id, key))


async def find_key(ctx: Context, brand_id: str, key_id: str) -> ApiKey | None:
    """Return the key of this id, or None."""
    return await store.find_key(ctx.db.reads, brand_id, key_id)


async def list_keys(ctx: Context, brand_id: str, request: PageRequest, *, with_total: bool) -> Page[ApiKey]:
    """Return one page of the brand's keys, oldest first."""
    keys = await store.list_keys(ctx.db.scans, brand_id, request.probe, request.offset)
    total = await store.count_keys(ctx.db.scans, brand_id) if with_total else None
    return Page.cut(keys, request, total)


async def find_by_secret(tx: Tx, secret: Secret, now: datetime) -> FoundKey | None:
    """Return the valid key of a presented secret, by one indexed read."""
    found = await store.find_by_digest(tx, secret.digest(), now)
    # A digest of the other kind of secret, inserted in the database, is not accepted.
    is_publishable = secret.kind is SecretKind.publishable_key
    return found if found is not None and found.is_publishable is is_publishable else None


def note_use(server: Server, found: FoundKey, now: datetime) -> None:
    """Note a use of the key; :func:`write_uses` writes ``last_used_at``."""
    server.key_uses.note(found.brand.id, found.id, found.last_used_at, now)


async def write_uses(server: Server) -> None:
    """Write ``last_used_at`` of the noted keys; ServiceUnavailable keeps the notes for the next call."""
    await server.key_uses.write(server.db, store.touch, server.clock.now())


def _creator(principal: Principal) -> str | None:
    """Return the user to whom a new key is attributed: for keys created by a key, the creator of that key."""
    return principal.user_id if isinstance(principal, UserPrincipal) else key_creator(principal)


async def _lock_creator(tx: Tx, brand_id: str, principal: Principal) -> None:
    """Serialize with a transaction that disables the creator and revokes their keys."""
    creator_id = _creator(principal)
    if creator_id is None:
        return
    is_valid = await user_store.lock_active(tx, brand_id, creator_id)
    if isinstance(principal, ApiKeyPrincipal):
        is_valid = await store.find_key(tx, brand_id, principal.key_id) is not None
    if not is_valid:
        raise Unauthenticated("This credential was revoked a moment ago.")


def describe_key(ctx: Context, name: str, brand_id: str, key: ApiKey) -> AuditEvent:
    """Return the audit event of this name about the key."""
    details = {"name": key.name, "permissions": list(key.permissions), "publishable": key.is_publishable}
    return audit.describe(ctx, name, brand_id=brand_id, subject_id=key.id, details=details)


def _missing_grant(ctx: Context, asked: PermissionSet, is_publishable: bool) -> Forbidden | None:
    """Return why the caller may not grant these permissions: a missing one, or writing by a publishable key."""
    for name in asked:
        if not ctx.permissions.covers(name):
            return Forbidden(permission=name)
        if is_publishable and not _only_reads(name):
            return Forbidden("A publishable key may only hold read permissions.", permission=name)
    return None


def _only_reads(permission: str) -> bool:
    return permission == READ or permission.partition(":")[2] in ("read", "read:own")


def _check_grant(ctx: Context, asked: PermissionSet, is_publishable: bool) -> None:
    refused = _missing_grant(ctx, asked, is_publishable)
    if refused is not None:
        raise refused


def _why_not(ctx: Context, current: ApiKey, checked: Mapping[str, Any], now: datetime) -> KeysteadError | None:
    if checked.get("allowed_origins") and not current.is_publishable:
        return BadUserInput("Only a publishable key is bound to origins.", field="allowed_origins")
    try:
        _check_expiry(checked.get("expires_at"), now)
    except BadUserInput as error:
        return error
    return _missing_grant(ctx, checked["permissions"], current.is_publishable) if "permissions" in checked else None


def _checked_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    if "name" in changes:
        checked["name"] = _name(changes["name"])
    if "description" in changes:
        checked["description"] = _description(changes["description"])
    if changes.get("permissions") is not None:
        checked["permissions"] = PermissionSet.of(changes["permissions"])
    if "expires_at" in changes:
        checked["expires_at"] = changes["expires_at"]
    if changes.get("allowed_origins") is not None:
        checked["allowed_origins"] = _origins(changes["allowed_origins"])
    return checked


def _name(given: object) -> str:
    name = given.strip() if isinstance(given, str) else ""
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable():
        raise BadUserInput(f"'name' must be 1 to {NAME_LENGTH} printable characters.", field="name")
    return name


def _description(given: str | None) -> str | None:
    if given is not None and len(given) > DESCRIPTION_LENGTH:
        raise BadUserInput(f"'description' must be at most {DESCRIPTION_LENGTH} characters.", field="description")
    return given or None


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise BadUserInput("'expires_at' must lie in the future.", field="expires_at")


def _origins(given: Sequence[str]) -> tuple[str, ...]:
    if len(given) > MOST_ORIGINS:
        raise BadUserInput(f"At most {MOST_ORIGINS} origins.", field="allowed_origins")
    return tuple(dict.fromkeys(_origin(text) for text in given))


def _origin(text: str) -> str:
    """Parse an origin to the form that browsers send (RFC 6454 §6.2): scheme, host, and a non-default port."""
    origin = text.strip().lower()
    try:
        # urlsplit() normalises the host, which is quadratic in a run of combining marks.
        parts = urlsplit(origin if len(origin) <= LONGEST_ORIGIN else "")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.netloc
    is_origin = parts.scheme in ("http", "https") and _HOST.fullmatch(host) is not None
    if not is_origin or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadUserInput("An origin looks like https://app.example.com.", field="allowed_origins")
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host.removesuffix(f':{default}') if port == default else host}"
