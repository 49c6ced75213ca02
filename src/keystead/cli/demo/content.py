"""What the demo's database holds. Each part is made only where it is missing, so that a second start finds it."""

from __future__ import annotations

import secrets
from typing import Any, Final

from keystead.api_keys import service as api_keys
from keystead.brands import service as brands
from keystead.brands.model import Brand
from keystead.cli.demo.keepsake import Keepsake
from keystead.cli.work import each
from keystead.context import ActiveBrand, Context
from keystead.crypto.secrets import SecretKind, parse
from keystead.entities import service as records
from keystead.entities.definition_file import parse_file
from keystead.entities.definitions import define_entities
from keystead.entities.registry import get_record_type
from keystead.errors import NotFound
from keystead.pagination import PageRequest
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import NewUser

BRAND: Final = "rainbowMakers"
API_KEY_NAME: Final = "demo"
CUSTOMER: Final = """
[customer]
[customer.fields]
name   = { type = "string", required = true, max_length = 200 }
email  = { type = "email", unique = true }
status = { type = "enum", values = ["active", "paused"], default = "active" }
notes  = { type = "text", read = ["admin"], write = ["admin"] }
"""
_CUSTOMERS: Final[tuple[dict[str, Any], ...]] = (
    {"name": "Aurora Paints", "email": "hello@aurora.example", "notes": "Pays early."},
    {"name": "Prism & Sons", "email": "office@prism.example"},
    {"name": "Umbrella Repairs", "email": "info@umbrella.example", "status": "paused"},
)


async def prepare(ctx: Context, keepsake: Keepsake) -> None:
    """Makes what is missing of brand, brand token, user, API key, entity and records, and notes it in ``keepsake``."""
    brand = await _brand(ctx)
    await _brand_token(ctx, brand, keepsake)
    await _user(ctx, brand, keepsake)
    await _api_key(ctx, brand, keepsake)
    await define_entities(ctx, brand.id, parse_file(CUSTOMER))
    await _customers(ctx, (await brands.get_brand(ctx, brand.id)).active(), keepsake)


async def _brand(ctx: Context) -> Brand:
    try:
        return await brands.get_brand_by_name(ctx, BRAND)
    except NotFound:
        return await brands.create_brand(ctx, BRAND)


async def _brand_token(ctx: Context, brand: Brand, keepsake: Keepsake) -> None:
    kept = parse(keepsake.brand_token, SecretKind.brand_token)
    if kept is None or await brands.find_by_token(ctx.db.reads, kept) is None:
        _, token = await brands.issue_token(ctx, brand.id, revoke_others=True)
        keepsake.brand_token = token.reveal()


async def _user(ctx: Context, brand: Brand, keepsake: Keepsake) -> None:
    address = email_addresses.parse(keepsake.email)
    found = await users.find_login(ctx.db.reads, brand.id, address)
    if found is not None and keepsake.password:
        return
    if found is not None:
        await users.delete_users(ctx, brand.id, [found.user_id])
    keepsake.password = f"rainbow-{secrets.token_hex(6)}"
    new = NewUser(keepsake.email, keepsake.password, is_verified=True, permissions=("admin",))
    await users.create_user(ctx, brand.active(), new)


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
