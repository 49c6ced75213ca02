"""API keys: creation, update, rotation, deletion and use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keystead.api_keys import service
from keystead.context import ActiveBrand, ApiKeyPrincipal, Context, Server
from keystead.crypto.secrets import Secret
from keystead.db.interface import Database
from keystead.errors import BadUserInput, NotFound
from keystead.pagination import PageRequest
from keystead.permissions import PermissionSet
from tests.clocks import ManualClock
from tests.make import change_brand, make_api_key, make_brand, make_context, make_entities, make_server


@pytest.fixture
async def server(db: Database, clock: ManualClock) -> Server:
    return await make_server(db, clock)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_entities(server, await make_brand(server), "customer")


def holding(server: Server, brand: ActiveBrand, *permissions: str) -> Context:
    principal = ApiKeyPrincipal(brand.id, "the-key", PermissionSet(permissions), is_publishable=False)
    return make_context(server, brand, principal)


async def found(server: Server, secret: Secret) -> str | None:
    key = await service.find_by_secret(server.db.reads, secret, server.clock.now())
    return key.id if key else None


async def test_a_key_is_found_by_its_secret_with_what_it_may_do(server: Server, brand: ActiveBrand) -> None:
    key, secret = await make_api_key(server, brand, "read", "customer:create")
    seen = await service.find_by_secret(server.db.reads, secret, server.clock.now())
    assert seen is not None
    assert (seen.id, list(seen.permissions), seen.is_publishable) == (key.id, ["customer:create", "read"], False)
    assert seen.brand == brand
    assert secret.reveal().startswith("ks_sk_")
    assert secret.reveal() not in repr(key)
    assert key.hint.endswith(secret.reveal()[-4:])


async def test_keys_do_not_expire_unless_asked_to(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    _, lasting = await make_api_key(server, brand, "read")
    _, ending = await make_api_key(server, brand, "read", expires_at=clock.now() + timedelta(hours=1))
    assert await found(server, ending)
    clock.advance(hours=1)
    assert await found(server, ending) is None
    clock.advance(days=4000)
    assert await found(server, lasting)


async def test_an_update_changes_what_is_given_and_keeps_the_rest(server: Server, brand: ActiveBrand) -> None:
    key, secret = await make_api_key(server, brand, "read", description="first")
    changed = await service.update_key(make_context(server), brand.id, key.id, {"name": "new", "description": None})
    assert (changed.name, changed.description, changed.permissions) == ("new", None, key.permissions)
    await service.update_key(make_context(server), brand.id, key.id, {"permissions": ["write"]})
    seen = await service.find_by_secret(server.db.reads, secret, server.clock.now())
    assert seen is not None
    assert list(seen.permissions) == ["write"]


async def test_rotation_expires_the_old_secret_immediately_or_after_the_overlap(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    ctx = make_context(server)
    key, first = await make_api_key(server, brand, "read")
    rotated, second = await service.rotate_key(ctx, brand.id, key.id, 0)
    assert (await found(server, first), await found(server, second)) == (None, key.id)
    assert rotated.hint == second.hint
    _, third = await service.rotate_key(ctx, brand.id, key.id, 60)
    assert (await found(server, second), await found(server, third)) == (key.id, key.id)
    clock.advance(seconds=60)
    assert (await found(server, second), await found(server, third)) == (None, key.id)


async def test_deletion_is_atomic_and_immediate(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server)
    (one, first), (two, second) = await make_api_key(server, brand, "read"), await make_api_key(server, brand, "read")
    with pytest.raises(NotFound):
        await service.delete_keys(ctx, brand.id, [one.id, "unknown"])
    assert await found(server, first)
    await service.delete_keys(ctx, brand.id, [one.id, two.id, one.id])
    assert (await found(server, first), await found(server, second)) == (None, None)


async def test_a_list_comes_in_pages(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    made = []
    for _ in range(3):
        made.append((await make_api_key(server, brand, "read"))[0].id)
        clock.advance(seconds=1)
    page = await service.list_keys(make_context(server), brand.id, PageRequest(1, 2), with_total=True)
    assert ([key.id for key in page.items], page.has_more_pages, page.total) == (made[:2], True, 3)


async def test_use_is_noted_within_a_minute(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    key, secret = await make_api_key(server, brand, "read")
    for seconds, expected in ((0, 0), (30, 0), (16, 46), (-50, 46), (-50, -54)):
        clock.advance(seconds=seconds)
        seen = await service.find_by_secret(server.db.reads, secret, clock.now())
        assert seen is not None
        service.note_use(server, seen, clock.now())
        await service.write_uses(server)
        now = await service.find_key(make_context(server), brand.id, key.id)
        assert now is not None
        assert now.last_used_at == key.created_at + timedelta(seconds=expected)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"), ({"name": "a\nb"}, "name"), ({"name": "x" * 101}, "name"),
        ({"permissions": ["fly"]}, "permissions"), ({"description": "x" * 1001}, "description"),
        ({"allowed_origins": ["https://a.example"]}, "allowed_origins"),
        ({"publishable": True, "allowed_origins": ["a.example"]}, "allowed_origins"),
        ({"publishable": True, "allowed_origins": ["https://a.example/x"]}, "allowed_origins"),
        ({"publishable": True, "allowed_origins": ["https://u@a.example"]}, "allowed_origins"),
        ({"publishable": True, "allowed_origins": ["https://a.example:99999"]}, "allowed_origins"),
        ({"publishable": True, "allowed_origins": ["https://*.example"]}, "allowed_origins"),
        ({"publishable": True, "allowed_origins": ["https://" + "\u0327\u0301" * 30_000]}, "allowed_origins"),
        ({"publishable": True, "allowed_origins": ["https://a.example\x0bhttps"]}, "allowed_origins"),
        ({"publishable": True, "allowed_origins": ["https://a.example:"]}, "allowed_origins"),
    ],
)  # fmt: skip
def test_bad_input_names_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(BadUserInput) as caught:
        service.parse_new_key({"name": "k", "permissions": ["read"], **given})
    assert caught.value.extensions["field"] == field


def test_origins_are_kept_as_browsers_send_them() -> None:
    given = ["HTTPS://App.Example", "https://app.example:443/", "http://localhost:3000"]
    new = service.parse_new_key({"name": "k", "permissions": ["read"], "publishable": True, "allowed_origins": given})
    assert new.allowed_origins == ("https://app.example", "http://localhost:3000")


async def test_an_expiry_in_the_past_is_refused(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    with pytest.raises(BadUserInput):
        await make_api_key(server, brand, "read", expires_at=clock.now())


async def test_a_change_of_the_brand_reaches_its_keys(server: Server, brand: ActiveBrand) -> None:
    _, secret = await make_api_key(server, brand, "read")
    changed = await change_brand(server, brand, {"policy": {"access_ttl": 60}})
    seen = await service.find_by_secret(server.db.reads, secret, server.clock.now())
    assert seen is not None
    assert seen.brand == changed
