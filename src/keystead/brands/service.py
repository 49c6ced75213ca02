"""Use cases on brands: operators create them, their administrators change them, every credential names one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Any

import msgspec

from keystead.audit import service as audit
from keystead.brands import model, store
from keystead.brands.model import Brand
from keystead.context import RESERVED_BRAND, RESERVED_BRAND_ID, ActiveBrand, Context
from keystead.crypto import secrets
from keystead.crypto.secrets import Secret, SecretKind
from keystead.db.interface import Tx
from keystead.entity_names.service import require_entities
from keystead.errors import BadUserInput, Conflict, NotFound
from keystead.ids import new_id
from keystead.pagination import Page, PageRequest
from keystead.permissions import ADMIN
from keystead.policy import (
    BrandPolicy,
    Features,
    Preset,
    changed_features,
    changed_policy,
    initial_features,
)

Guard = Callable[[Tx], AbstractAsyncContextManager[None]]
"""Wraps a change inside its transaction, and checks the result."""

_CHANGEABLE = ("features", "policy", "base_url", "redirect_urls")


async def find_active_by_name(tx: Tx, name: str) -> ActiveBrand | None:
    """Return the brand of that name or id, or None if it is unknown or disabled."""
    return await store.find_active_by_name(tx, name) if model.is_name_or_id(name) else None


async def find_by_token(tx: Tx, secret: Secret) -> tuple[str, ActiveBrand] | None:
    """Return the token's id and brand, or None if it is unknown or revoked, or the brand is disabled."""
    return await store.find_by_token(tx, secret.digest())


async def default_brand(tx: Tx, configured: str | None) -> ActiveBrand | None:
    """Return the brand of a request without credentials: the configured brand, else the only brand.

    None if the configured brand is unknown or disabled: no other brand replaces it.
    """
    if configured is not None:
        return await find_active_by_name(tx, configured)
    return await store.find_only(tx)


async def bump_schema_version(tx: Tx, brand_id: str) -> int:
    """Increment the schema version, in the transaction of a change of entities; returns the new version.

    :raises NotFound: when there is no such brand.
    """
    version = await store.bump_schema_version(tx, brand_id)
    if version is None:
        raise NotFound("There is no such brand.")
    return version


async def revoke_default_permissions(tx: Tx, brand_id: str, ended: Collection[str], now: datetime) -> None:
    """Remove permissions from the brand's default permissions."""
    brand = await store.lock_brand(tx, brand_id)
    if brand is None or not set(ended) & set(brand.policy.default_permissions):
        return
    left = tuple(name for name in brand.policy.default_permissions if name not in ended)
    policy = msgspec.structs.replace(brand.policy, default_permissions=left)
    await store.change_brand(tx, msgspec.structs.replace(brand, policy=policy, updated_at=now))


async def ensure_reserved(tx: Tx, now: datetime) -> None:
    """Create the operators' brand ``keystead`` if it is missing, without self-registration."""
    features = Features(anonymous_users=False)
    made = _new_brand(RESERVED_BRAND_ID, RESERVED_BRAND, Preset.both, features, BrandPolicy(), now)
    await store.insert_brand(tx, made)


async def create_brand(
    ctx: Context, name: str, preset: str | None = None, features: object = None, policy: object = None
) -> Brand:
    """Create a brand with the features of its preset, changed by ``features`` and ``policy``.

    :raises BadUserInput: for an invalid name, preset, feature or policy; names the field.
    :raises Conflict: when the name is taken; names the field.
    """
    now = ctx.now()
    name, kind = model.new_name(name), model.new_preset(preset)
    chosen = changed_features(initial_features(kind), {} if features is None else features)
    figures = changed_policy(BrandPolicy(), {} if policy is None else policy)
    made = _new_brand(new_id(now), name, kind, chosen, figures, now)
    details = {"name": name, "preset": kind.value}
    async with ctx.db.transaction() as tx:
        is_new = await store.insert_brand(tx, made)
        if is_new:
            await _require_entities(tx, made)  # it has no entities yet
            event = audit.describe(ctx, "brand.created", brand_id=made.id, subject_id=made.id, details=details)
            await audit.record(tx, event)
    if not is_new:
        raise Conflict(f"There is a brand called '{name}' already.", field="name")
    return made


async def update_brand(ctx: Context, brand_id: str, changes: Mapping[str, Any], *, guard: Guard | None = None) -> Brand:
    """Change ``features`` and ``policy`` (partially), ``base_url`` and ``redirect_urls``, as far as given.

    Null clears the addresses, and does not change features and policy. ``guard`` wraps the change inside its
    transaction: default permissions concern users, which a higher layer knows.

    :raises BadUserInput: for an unknown or invalid value, or a permission on an unknown entity; names the field.
    :raises NotFound: when there is no such brand.
    """
    now = ctx.now()
    # Changes are valid or not whatever the brand's other values are: checked before locking.
    _changed(await get_brand(ctx, brand_id), changes, now)
    # With the values: an investigation looks for "default permissions changed to admin".
    details = {"changed": dict(changes)}
    async with ctx.db.transaction() as tx:
        current = await store.lock_brand(tx, brand_id)
        changed = _changed(current, changes, now) if current else None
        if changed is not None and current is not None:
            async with guard(tx) if guard else nullcontext():
                if changed.policy.default_permissions != current.policy.default_permissions:
                    await _require_entities(tx, changed)
                await store.change_brand(tx, changed)
            event = audit.describe(ctx, "brand.updated", brand_id=brand_id, subject_id=brand_id, details=details)
            await audit.record(tx, event)
    return _known(changed)


async def set_disabled(ctx: Context, name: str, is_disabled: bool) -> Brand:
    """Disable or enable a brand by name or id; takes effect on the next request with its credentials.

    :raises BadUserInput: for the operators' brand, which cannot be disabled.
    :raises NotFound: when there is no such brand.
    """
    found = await get_brand_by_name(ctx, name)
    if found.id == RESERVED_BRAND_ID:
        raise BadUserInput("The operators' brand cannot be disabled.", field="name")
    async with ctx.db.transaction() as tx:
        if await store.set_disabled(tx, found.id, is_disabled, ctx.now()):
            event = "brand.disabled" if is_disabled else "brand.enabled"
            await audit.record(tx, audit.describe(ctx, event, brand_id=found.id, subject_id=found.id))
    return await get_brand(ctx, found.id)


async def default_permissions(tx: Tx, brand_id: str) -> tuple[str, ...]:
    """Return the permissions that every user of the brand has.

    :raises NotFound: when there is no such brand.
    """
    return _known(await store.find_brand(tx, brand_id)).policy.default_permissions


async def get_brand(ctx: Context, brand_id: str) -> Brand:
    """Return a brand.

    :raises NotFound: when there is no such brand.
    """
    return _known(await store.find_brand(ctx.db.reads, brand_id))


async def get_brand_by_name(ctx: Context, name: str) -> Brand:
    """Return the brand of that name or id, also a disabled one.

    :raises NotFound: when there is no such brand.
    """
    found = await store.find_brand_by_name(ctx.db.reads, name) if model.is_name_or_id(name) else None
    if found is None:
        raise NotFound(f"There is no brand '{name[:80]}'.")
    return found


async def list_brands(ctx: Context, request: PageRequest, *, with_total: bool = False) -> Page[Brand]:
    """Return one page of brands: the operators' brand first, then oldest first."""
    rows = await store.list_brands(ctx.db.scans, request.probe, request.offset)
    total = await store.count_brands(ctx.db.scans) if with_total else None
    return Page.cut(rows, request, total)


async def issue_token(ctx: Context, name: str, revoke_others: bool = False) -> tuple[str, Secret]:
    """Issue a brand token, for a brand by name or id; returns the brand's name and the secret, which is not stored.

    With ``revoke_others`` the brand's other tokens are rejected from the next request on.

    :raises NotFound: when there is no such brand.
    """
    found = await get_brand_by_name(ctx, name)
    now = ctx.now()
    token_id, secret = new_id(now), secrets.generate(SecretKind.brand_token)
    async with ctx.db.transaction() as tx:
        # Locked: of two concurrent calls that revoke others, the second sees, and revokes, the token of the first.
        await store.lock_brand(tx, found.id)
        revoked = await store.revoke_tokens(tx, found.id, now) if revoke_others else []
        for other in revoked:
            event = audit.describe(ctx, "brand_token.revoked", brand_id=found.id, subject_id=other)
            await audit.record(tx, event)
        await store.insert_token(tx, found.id, token_id, secret.digest(), secret.hint, now)
        await audit.record(tx, audit.describe(ctx, "brand_token.issued", brand_id=found.id, subject_id=token_id))
    return found.name, secret


async def _require_entities(tx: Tx, brand: Brand) -> None:
    await require_entities(tx, brand.id, brand.policy.default_permissions, field="policy.default_permissions")


def _new_brand(
    brand_id: str, name: str, preset: Preset, features: Features, policy: BrandPolicy, now: datetime
) -> Brand:
    return Brand(
        id=brand_id,
        name=name,
        preset=preset,
        features=features,
        policy=policy,
        base_url=None,
        redirect_urls=(),
        is_disabled=False,
        schema_version=1,
        created_at=now,
        updated_at=now,
    )


def _changed(current: Brand, changes: Mapping[str, Any], now: datetime) -> Brand:
    for name in changes:
        if name not in _CHANGEABLE:
            raise BadUserInput(f"'{name}' of a brand cannot be changed.", field=name)
    new: dict[str, Any] = {"updated_at": now}
    if changes.get("features") is not None:
        new["features"] = changed_features(current.features, changes["features"])
    if changes.get("policy") is not None:
        new["policy"] = changed_policy(current.policy, changes["policy"])
    if "base_url" in changes:
        new["base_url"] = model.new_base_url(changes["base_url"])
    if "redirect_urls" in changes:
        new["redirect_urls"] = model.new_redirect_urls(changes["redirect_urls"])
    changed = msgspec.structs.replace(current, **new)
    if current.id == RESERVED_BRAND_ID:
        _check_reserved(changed)
    return changed


def _check_reserved(changed: Brand) -> None:
    features = changed.features
    if features.anonymous_users:
        raise BadUserInput("Operators cannot be anonymous.", field="features.anonymous_users")
    if not (features.password_login or features.magic_login):
        raise BadUserInput(
            "Operators need a way to log in: leave 'password_login' or 'magic_login' on.", field="features"
        )
    if ADMIN in changed.policy.default_permissions:
        raise BadUserInput("Operators are made one by one.", field="policy.default_permissions")


def _known(found: Brand | None) -> Brand:
    if found is None:
        raise NotFound("There is no such brand.")
    return found
