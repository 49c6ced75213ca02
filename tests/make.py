"""Things for tests, made by the real services with sensible defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keystead.api_keys import service as api_keys
from keystead.api_keys.model import ApiKey, NewApiKey
from keystead.authentication.authenticate import Credentials, authenticate
from keystead.brands import service as brands
from keystead.clock import Clock
from keystead.context import ActiveBrand, Context, Principal, RequestDetails, Server, System
from keystead.crypto.master_key import MasterKey
from keystead.crypto.passwords import PasswordPool, Profile
from keystead.crypto.secrets import Secret
from keystead.crypto.token_cache import TokenCache
from keystead.db.interface import Database
from keystead.entities import definition_service
from keystead.installation import service as installation
from keystead.permissions import PermissionSet
from keystead.policy import SessionKind
from keystead.sessions import access_tokens
from keystead.sessions import service as sessions
from keystead.sessions.model import Opened
from keystead.sessions.rotation import RotationKeys
from keystead.settings import Settings
from keystead.users import roles
from keystead.users import service as users
from keystead.users.model import NewUser, Role, User

MASTER_KEY = MasterKey.from_text(b"a master key that only tests may use")
PASSWORD = "rainbow123"
SETTINGS = Settings(base_url="https://auth.example.com")
REQUEST = RequestDetails(
    "request-1", address="192.0.2.7", address_prefix="192.0.2.7", user_agent="tests/1.0", origin=None
)


async def make_server(
    db: Database, clock: Clock, *, settings: Settings = SETTINGS, master_key: MasterKey = MASTER_KEY
) -> Server:
    """A server on a migrated database: a real keyring, the operators' brand, and the cheapest password hashes."""
    async with db.transaction() as tx:
        await brands.ensure_reserved(tx, clock.now())
    await installation.prepare(db, master_key, clock.now())
    keyring = await installation.load_keyring(db, master_key, clock.now())
    # Threads start with the first hash; the fixture `server` closes the pool.
    passwords = PasswordPool(Profile.for_tests(), 1)
    return Server(settings, clock, db, master_key, passwords, keyring, TokenCache())


def make_context(
    server: Server,
    brand: ActiveBrand | None = None,
    principal: Principal | None = None,
    *,
    request: RequestDetails = REQUEST,
    brand_is_default: bool = False,
) -> Context:
    """One request; by the installation itself unless a principal is given."""
    return Context(server, request, principal or System(), brand, brand_is_default)


async def make_brand(server: Server, name: str = "rainbowMakers", **choices: Any) -> ActiveBrand:
    """A brand; ``choices`` are preset, features, policy."""
    return (await brands.create_brand(make_context(server), name, **choices)).active()


async def change_brand(server: Server, brand: ActiveBrand, changes: Mapping[str, Any]) -> ActiveBrand:
    """The brand after a change of its features, policy or addresses."""
    return (await brands.update_brand(make_context(server), brand.id, changes)).active()


async def make_brand_token(server: Server, brand: ActiveBrand) -> Secret:
    """A token of the brand."""
    return (await brands.issue_token(make_context(server), brand.name))[1]


async def make_user(server: Server, brand: ActiveBrand, email: str = "ann@example.com", **choices: Any) -> User:
    """A user with a login address, vouched for; ``choices`` are those of ``NewUser``."""
    return await users.create_user(make_context(server), brand, NewUser(email, **{"is_verified": True, **choices}))


async def make_role(server: Server, brand: ActiveBrand, name: str, *permissions: str) -> Role:
    """A role of the brand."""
    return await roles.define_role(make_context(server), brand.id, name, permissions)


async def make_api_key(server: Server, brand: ActiveBrand, *permissions: str, **choices: Any) -> tuple[ApiKey, Secret]:
    """An API key with these permissions; ``choices`` are those of ``NewApiKey``."""
    new = NewApiKey(choices.pop("name", "a key"), PermissionSet.of(permissions), **choices)
    return await api_keys.create_key(make_context(server), brand.id, new)


async def make_session(
    server: Server, brand: ActiveBrand, user_id: str, kind: SessionKind = SessionKind.pair
) -> Opened:
    """A session of the user, opened without a password."""
    keys, device = RotationKeys.of(server), sessions.device(REQUEST)
    async with server.db.transaction() as tx:
        now = server.clock.now()
        opened = await sessions.open_session(tx, brand, user_id, kind, device, keys, now, password_hash=None)
    assert opened is not None
    return opened


def make_access_token(server: Server, opened: Opened, lifetime: int = 3600) -> str:
    """An access token of the session."""
    now = server.clock.now()
    return access_tokens.issue(server, opened.brand_id, opened.user_id, opened.session_id, lifetime, now)


async def make_caller(server: Server, opened: Opened) -> Context:
    """A request of the session's user."""
    return await authenticate(server, REQUEST, Credentials(authorization=make_access_token(server, opened)))


CUSTOMER: dict[str, Any] = {
    "name": {"type": "string", "required": True, "max_length": 200},
    "email": {"type": "email", "unique": True},
    "status": {"type": "enum", "values": ["active", "paused"], "default": "active"},
    "notes": {"type": "text", "read": ["admin"], "write": ["admin"]},
}
"""The fields of the entity ``customer`` of contract §5."""


async def make_entity(
    server: Server, brand: ActiveBrand, name: str = "customer", fields: Mapping[str, Any] = CUSTOMER
) -> ActiveBrand:
    """The brand after an entity was added to it."""
    plan = await definition_service.define_entities(make_context(server, brand), brand.id, {name: {"fields": fields}})
    assert plan.applied, plan
    return replace(brand, schema_version=plan.schema_version)


async def make_entities(server: Server, brand: ActiveBrand, *names: str) -> ActiveBrand:
    """The brand after simple entities were added to it, for what is granted on them."""
    definition = {name: {"fields": {"name": {"type": "string"}}} for name in names}
    plan = await definition_service.define_entities(make_context(server, brand), brand.id, definition)
    assert plan.applied, plan
    return replace(brand, schema_version=plan.schema_version)
