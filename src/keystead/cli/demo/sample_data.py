"""Sample data of the demo's database, and the secrets file. Idempotent: each start creates only what is missing."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import msgspec

from keystead.api_keys import service as api_keys
from keystead.brands import service as brands
from keystead.brands.model import Brand
from keystead.cli.work import each
from keystead.context import ActiveBrand, Context
from keystead.crypto.secrets import SecretKind, parse
from keystead.entities import record_service as records
from keystead.entities.definition_reader import parse_file
from keystead.entities.definition_service import define_entities
from keystead.entities.registry import get_record_type
from keystead.errors import NotFound, StartupError
from keystead.mail import service as mail
from keystead.mail.links import recipient_key
from keystead.pagination import PageRequest
from keystead.policy import Features
from keystead.users import email_addresses, login_store, passwords
from keystead.users import service as users
from keystead.users.model import NewUser

BRAND: Final = "rainbowMakers"
DOMAIN: Final = "rainbowmakers.example"
ACCOUNT: Final = f"nova@{DOMAIN}"
"""A user with a password and no permission."""
FORGETFUL: Final = f"vega@{DOMAIN}"
"""The same; the tour resets the password."""
GUIDE: Final = f"stella@{DOMAIN}"
"""An administrator whose sessions the printed requests use, so that the other users' session lists stay theirs."""
_API_KEY_NAME: Final = "demo"
_CUSTOMER: Final = """
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


@dataclass
class DemoSecrets:
    """Secrets and ids that persist from one start to the next. Empty text: does not exist yet."""

    email: str = f"luna@{DOMAIN}"
    password: str = ""
    brand_id: str = ""
    brand_token: str = ""
    api_key: str = ""
    api_key_id: str = ""
    customer_id: str = ""
    auth_token: str = ""
    standing_refresh_token: str = ""
    standing_access_token: str = ""
    newcomer_refresh_token: str = ""
    newcomer_access_token: str = ""

    @classmethod
    def read(cls, path: Path) -> DemoSecrets:
        """The content of the file; empty if the file is missing or damaged."""
        known = {field.name for field in fields(cls)}
        with suppress(OSError, ValueError, AttributeError):
            stored = json.loads(path.read_text("utf-8")).items()
            return cls(**{name: value for name, value in stored if name in known and isinstance(value, str)})
        return cls()

    def write(self, path: Path) -> None:
        """Replace the file.

        :raises StartupError: if it cannot be written.
        """
        replace_private_file(path, json.dumps(asdict(self), indent=2) + "\n")


def replace_private_file(path: Path, text: str) -> None:
    """Replace a file atomically, with mode 0600.

    :raises StartupError: if it cannot be written.
    """
    draft = path.with_suffix(".new")
    try:
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise StartupError(f"Cannot write {path}: {error.strerror}.") from None


async def prepare(ctx: Context, kept: DemoSecrets) -> None:
    """Create what is missing of brand, brand token, users, API key, entity and records; record it in ``kept``."""
    brand = await _brand(ctx)
    kept.brand_id = brand.id
    await _brand_token(ctx, brand, kept)
    await _users(ctx, brand, kept)
    await _api_key(ctx, brand, kept)
    await define_entities(ctx, brand.id, parse_file(_CUSTOMER))
    await _customers(ctx, (await brands.get_brand(ctx, brand.id)).active(), kept)


async def _brand(ctx: Context) -> Brand:
    try:
        found = await brands.get_brand_by_name(ctx, BRAND)
    except NotFound:
        found = await brands.create_brand(ctx, BRAND)
    if found.features == _EVERY_FEATURE:
        return found
    return await brands.update_brand(ctx, found.id, {"features": msgspec.structs.asdict(_EVERY_FEATURE)})


async def _brand_token(ctx: Context, brand: Brand, kept: DemoSecrets) -> None:
    token = parse(kept.brand_token, SecretKind.brand_token)
    if token is None or await brands.find_by_token(ctx.db.reads, token) is None:
        _, token = await brands.issue_token(ctx, brand.id, revoke_others=True)
        kept.brand_token = token.reveal()


async def _users(ctx: Context, brand: Brand, kept: DemoSecrets) -> None:
    kept.password = kept.password or f"rainbow-{secrets.token_hex(6)}"
    for email in (kept.email, GUIDE, ACCOUNT, FORGETFUL):
        permissions = ("admin",) if email in (kept.email, GUIDE) else ()
        await _user(ctx, brand, NewUser(email, kept.password, is_verified=True, permissions=permissions))
    # Reset the throttle of mails to these addresses: the tour requests some at each start.
    now = ctx.now()
    async with ctx.db.transaction() as tx:
        for email in (kept.email, FORGETFUL):
            canonical = email_addresses.parse(email).canonical
            await mail.note_answered(tx, brand.id, recipient_key(ctx.server.master_key, brand.id, canonical), now)


async def _user(ctx: Context, brand: Brand, wanted: NewUser) -> None:
    """Create the user; replace one with another password (the secrets file was lost, or the password changed)."""
    candidate = await login_store.find_login(ctx.db.reads, brand.id, email_addresses.parse(wanted.email).canonical)
    if candidate is not None:
        if await passwords.check_password(ctx.server.passwords, candidate, wanted.password or ""):
            return
        await users.delete_users(ctx, brand.id, [candidate.user_id])
    await users.create_user(ctx, brand.active(), wanted)


async def _api_key(ctx: Context, brand: Brand, kept: DemoSecrets) -> None:
    secret = parse(kept.api_key, SecretKind.secret_key)
    if secret is not None and await api_keys.find_by_secret(ctx.db.reads, secret, ctx.now()) is not None:
        return
    listed = each(lambda page: api_keys.list_keys(ctx, brand.id, page, with_total=False))
    await api_keys.delete_keys(ctx, brand.id, [key.id async for key in listed if key.name == _API_KEY_NAME])
    asked = api_keys.parse_new_key({"name": _API_KEY_NAME, "permissions": ["read", "write"]})
    key, secret = await api_keys.create_key(ctx, brand.id, asked)
    kept.api_key, kept.api_key_id = secret.reveal(), key.id


async def _customers(ctx: Context, brand: ActiveBrand, kept: DemoSecrets) -> None:
    kind = await get_record_type(ctx.db, brand, "customer")
    page = await records.list_records(ctx, kind, PageRequest(1, 1), frozenset({"id"}))
    if page.items:
        first = page.items[0]
    else:
        first, *_ = [await records.create_record(ctx, kind, values, frozenset({"id"})) for values in _CUSTOMERS]
    kept.customer_id = first["id"]
