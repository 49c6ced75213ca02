"""What the demo's database holds. Each part is made only where it is missing, so that a second start finds it."""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec

from keystead.api_keys import service as api_keys
from keystead.brands import service as brands
from keystead.brands.model import Brand
from keystead.cli.demo.keepsake import Keepsake
from keystead.cli.work import each
from keystead.context import ActiveBrand, Context
from keystead.crypto.secrets import SecretKind, parse
from keystead.entities import record_service as records
from keystead.entities.definition_reader import parse_file
from keystead.entities.definition_service import define_entities
from keystead.entities.registry import get_record_type
from keystead.errors import NotFound
from keystead.mail import service as mail
from keystead.mail.links import recipient_key
from keystead.pagination import PageRequest
from keystead.policy import Features
from keystead.users import credentials, email_addresses
from keystead.users import service as users
from keystead.users.model import NewUser

BRAND: Final = "rainbowMakers"
DOMAIN: Final = "rainbowmakers.example"
ACCOUNT: Final = f"nova@{DOMAIN}"
"""A user with a password and no permission."""
FORGETFUL: Final = f"vega@{DOMAIN}"
"""The same, whose password the tour replaces."""
GUIDE: Final = f"stella@{DOMAIN}"
"""An administrator whose sessions are those of the printed requests, so that those of the others are people's own."""
API_KEY_NAME: Final = "demo"
CUSTOMER: Final = """
[customer]
[customer.fields]
name   = { type = "string", required = true, max_length = 200 }
email  = { type = "email", unique = true }
status = { type = "enum", values = ["active", "paused"], default = "active" }
notes  = { type = "text", read = ["admin"], write = ["admin"] }
"""
_EVERY_FEATURE: Final = Features(**dict.fromkeys(Features.__struct_fields__, True))
_CUSTOMERS: Final[tuple[dict[str, Any], ...]] = (
    {"name": "Aurora Paints", "email": "hello@aurora.example", "notes": "Pays early."},
    {"name": "Prism & Sons", "email": "office@prism.example"},
    {"name": "Umbrella Repairs", "email": "info@umbrella.example", "status": "paused"},
)


async def prepare(ctx: Context, keepsake: Keepsake) -> None:
    """Makes what is missing of brand, brand token, users, API key, entity and records, and notes it in ``keepsake``."""
    brand = await _brand(ctx)
    keepsake.brand_id = brand.id
    await _brand_token(ctx, brand, keepsake)
    await _people(ctx, brand, keepsake)
    await _api_key(ctx, brand, keepsake)
    await define_entities(ctx, brand.id, parse_file(CUSTOMER))
    await _customers(ctx, (await brands.get_brand(ctx, brand.id)).active(), keepsake)


async def _brand(ctx: Context) -> Brand:
    try:
        found = await brands.get_brand_by_name(ctx, BRAND)
    except NotFound:
        found = await brands.create_brand(ctx, BRAND)
    if found.features == _EVERY_FEATURE:
        return found
    return await brands.update_brand(ctx, found.id, {"features": msgspec.structs.asdict(_EVERY_FEATURE)})


async def _brand_token(ctx: Context, brand: Brand, keepsake: Keepsake) -> None:
    kept = parse(keepsake.brand_token, SecretKind.brand_token)
    if kept is None or await brands.find_by_token(ctx.db.reads, kept) is None:
        _, token = await brands.issue_token(ctx, brand.id, revoke_others=True)
        keepsake.brand_token = token.reveal()


async def _people(ctx: Context, brand: Brand, keepsake: Keepsake) -> None:
    keepsake.password = keepsake.password or f"rainbow-{secrets.token_hex(6)}"
    for email in (keepsake.email, GUIDE):
        await _user(ctx, brand, NewUser(email, keepsake.password, is_verified=True, permissions=("admin",)))
    for email in (ACCOUNT, FORGETFUL):
        await _user(ctx, brand, NewUser(email, keepsake.password, is_verified=True))
    # The tour asks for mails to them, however many were asked for in the last hour.
    now = ctx.now()
    async with ctx.db.transaction() as tx:
        for email in (keepsake.email, FORGETFUL):
            canonical = email_addresses.parse(email).canonical
            await mail.note_answered(tx, brand.id, recipient_key(ctx.server.master_key, brand.id, canonical), now)


async def _user(ctx: Context, brand: Brand, wanted: NewUser) -> None:
    """Makes the user: anew, where the password is another one, because the secrets were lost or somebody changed it."""
    candidate = await users.find_login(ctx.db.reads, brand.id, email_addresses.parse(wanted.email))
    if candidate is not None:
        if await credentials.check_password(ctx.server.passwords, candidate, wanted.password or ""):
            return
        await users.delete_users(ctx, brand.id, [candidate.user_id])
    await users.create_user(ctx, brand.active(), wanted)


async def _api_key(ctx: Context, brand: Brand, keepsake: Keepsake) -> None:
    kept = parse(keepsake.api_key, SecretKind.secret_key)
    if kept is not None and await api_keys.find_by_secret(ctx.db.reads, kept, ctx.now()) is not None:
        return
    stale = [
        key.id
        async for key in each(lambda page: api_keys.list_keys(ctx, brand.id, page, with_total=False))
        if key.name == API_KEY_NAME
    ]
    await api_keys.delete_keys(ctx, brand.id, stale)
    asked = api_keys.parse_new_key({"name": API_KEY_NAME, "permissions": ["read", "write"]})
    key, secret = await api_keys.create_key(ctx, brand.id, asked)
    keepsake.api_key, keepsake.api_key_id = secret.reveal(), key.id


async def _customers(ctx: Context, brand: ActiveBrand, keepsake: Keepsake) -> None:
    kind = await get_record_type(ctx.db, brand, "customer")
    page = await records.list_records(ctx, kind, PageRequest(1, 1), frozenset({"id"}))
    if page.items:
        first = page.items[0]
    else:
        first, *_ = [await records.create_record(ctx, kind, values, frozenset({"id"})) for values in _CUSTOMERS]
    keepsake.customer_id = first["id"]
