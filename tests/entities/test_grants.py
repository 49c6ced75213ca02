"""What is granted on an entity ends with it, and names an entity that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keystead.api_keys import service as api_keys
from keystead.api_keys.model import NewApiKey
from keystead.audit import service as audit
from keystead.brands import service as brands
from keystead.context import ActiveBrand, Context, Server
from keystead.entities import definition_service, grants
from keystead.entities.definition_service import Deletion
from keystead.errors import BadUserInput
from keystead.pagination import PageRequest
from keystead.permissions import PermissionSet, entity_of, of_entity
from keystead.users import roles
from keystead.users import service as users
from keystead.users.model import NewUser, UserChanges
from tests.make import change_brand, make_api_key, make_brand, make_context, make_entities, make_role, make_user


@pytest.fixture
async def brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    return await make_entities(server, brand, "thing", "thingTwo")


@pytest.fixture
def ctx(server: Server, brand: ActiveBrand) -> Context:
    return make_context(server, brand)


async def granted(server: Server, brand: ActiveBrand, *permissions: str) -> None:
    """To a role, a user, a key and everybody."""
    await make_role(server, brand, "clerk", *permissions)
    await make_user(server, brand, permissions=permissions)
    await make_api_key(server, brand, *permissions)
    await change_brand(server, brand, {"policy": {"default_permissions": list(permissions)}})


async def held(ctx: Context, brand: ActiveBrand) -> list[list[str]]:
    """What role, user, key and brand hold."""
    [role] = (await roles.list_roles(ctx, brand.id, PageRequest())).items
    [user] = (await users.list_users(ctx, brand.id, PageRequest())).items
    [key] = (await api_keys.list_keys(ctx, brand.id, PageRequest(), with_total=False)).items
    policy = (await brands.get_brand(ctx, brand.id)).policy
    return [list(role.permissions), list(user.profile.granted), list(key.permissions), [*policy.default_permissions]]


async def test_every_permission_on_an_entity_ends_with_it(server: Server, ctx: Context, brand: ActiveBrand) -> None:
    others = ["read", "thingTwo:read", "thingTwo:write:own"]
    await granted(server, brand, *of_entity("thing"), *others)
    other = await make_entities(server, await make_brand(server, "other"), "thing")
    await granted(server, other, "thing:read")
    planned = await definition_service.delete_entities(ctx, brand.id, ["thing"], dry_run=True)
    assert [one.grants.counts() for one in planned] == [
        {"roles": 1, "users": 1, "api_keys": 1, "default_permissions": len(of_entity("thing"))}
    ]
    assert all(len(permissions) == 10 for permissions in await held(ctx, brand))
    deleted = await definition_service.delete_entities(ctx, brand.id, ["thing"])
    assert [one.grants.counts() for one in deleted] == [one.grants.counts() for one in planned]
    assert await held(ctx, brand) == [others] * 4
    assert await held(make_context(server, other), other) == [["thing:read"]] * 4
    await make_entities(server, brand, "thing")
    assert await held(ctx, brand) == [others] * 4


async def test_the_audit_log_says_which_grants_ended(server: Server, ctx: Context, brand: ActiveBrand) -> None:
    await granted(server, brand, "thing:read", "read")
    await definition_service.delete_entities(ctx, brand.id, ["thing"])
    events = (await audit.list_events(ctx, brand.id, PageRequest(per_page=100))).items
    [ended] = [(event.details or {})["grants"] for event in events if event.event == "entity.deleted"]
    assert ended["roles"] == {"clerk": ["thing:read"]}
    assert [list(ended[kind].values()) for kind in ("users", "api_keys")] == [[["thing:read"]]] * 2
    assert ended["default_permissions"] == ["thing:read"]
    assert ended["counts"] == {"roles": 1, "users": 1, "api_keys": 1, "default_permissions": 1}


async def test_an_entity_starts_without_grants(
    server: Server, ctx: Context, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier releases left them behind, and so may a dump that is restored in parts."""
    await granted(server, brand, "thing:read", "thingTwo:read")

    async def leave(*_: Any) -> grants.Grants:
        return grants.Grants()

    with monkeypatch.context() as patched:
        patched.setattr(definition_service, "revoke_grants", leave)
        await definition_service.delete_entities(ctx, brand.id, ["thing"])
    assert "thing:read" in (await held(ctx, brand))[0]
    await make_entities(server, brand, "thing")
    assert await held(ctx, brand) == [["thingTwo:read"]] * 4
    events = (await audit.list_events(ctx, brand.id, PageRequest(per_page=100))).items
    ended = [event.details["grants_ended"] for event in events if event.details and "grants_ended" in event.details]
    assert [list(one) for one in ended] == [["thing"]]


Grant = Callable[[Server, ActiveBrand, str], Awaitable[Any]]


def _key(permission: str) -> NewApiKey:
    return NewApiKey("k", PermissionSet([permission]))


async def _update_user(server: Server, brand: ActiveBrand, permission: str) -> None:
    user = await make_user(server, brand, "bob@example.com")
    await users.update_user(make_context(server), brand.id, user.id, UserChanges(permissions=(permission,)))


async def _update_key(server: Server, brand: ActiveBrand, permission: str) -> None:
    key, _ = await make_api_key(server, brand, "read")
    await api_keys.update_key(make_context(server), brand.id, key.id, {"permissions": [permission]})


GRANTS: dict[str, Grant] = {
    "role": lambda server, brand, name: roles.define_role(make_context(server), brand.id, "clerk", [name]),
    "new user": lambda server, brand, name: users.create_user(
        make_context(server), brand, NewUser("ann@example.com", permissions=(name,))
    ),
    "user": _update_user,
    "new key": lambda server, brand, name: api_keys.create_key(make_context(server), brand.id, _key(name)),
    "key": _update_key,
    "brand": lambda server, brand, name: brands.update_brand(
        make_context(server), brand.id, {"policy": {"default_permissions": [name]}}
    ),
    "new brand": lambda server, _, name: brands.create_brand(
        make_context(server), "new", policy={"default_permissions": [name]}
    ),
}
"""Everything that grants a permission."""


@pytest.mark.attack("A107")
@pytest.mark.parametrize("way", GRANTS)
async def test_a_permission_that_names_no_entity_is_refused(server: Server, brand: ActiveBrand, way: str) -> None:
    with pytest.raises(BadUserInput, match="names no entity of this brand") as refused:
        await GRANTS[way](server, brand, "thnig:read:own")
    field = "policy.default_permissions" if "brand" in way else "permissions"
    assert refused.value.extensions["field"] == field
    if way != "new brand":
        assert "did you mean 'thing:read:own'?" in refused.value.message
        with pytest.raises(BadUserInput, match="define the entity 'qqqq' first"):
            await GRANTS[way](server, await make_brand(server, "empty"), "qqqq:read")


@pytest.mark.parametrize("key", ["read", "write"])
async def test_the_permissions_of_a_field_name_entities_too(ctx: Context, brand: ActiveBrand, key: str) -> None:
    fields = {"name": {"type": "string", key: ["thnig:read"]}}
    with pytest.raises(BadUserInput, match="did you mean 'thing:read'") as refused:
        await definition_service.define_entities(ctx, brand.id, {"other": {"fields": fields}}, dry_run=True)
    assert refused.value.extensions["field"] == f"other.fields.name.{key}"
    for known in ("thing:read", "other:read", "admin"):
        fields = {"name": {"type": "string", key: [known]}}
        plan = await definition_service.define_entities(ctx, brand.id, {"other": {"fields": fields}}, dry_run=True)
        assert not plan.is_refused


@pytest.mark.race
@pytest.mark.parametrize("way", [way for way in GRANTS if way != "new brand"])
async def test_a_grant_beside_a_deletion_leaves_nothing_behind(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Started while the deletion has taken the entity out of the registry, and before it ends the grants."""
    started: list[asyncio.Task[Any]] = []
    find = grants.find_grants

    async def meanwhile(*arguments: Any) -> grants.Grants:
        if not started and arguments[0] is not server.db.scans:
            started.append(asyncio.ensure_future(GRANTS[way](server, brand, "thing:read")))
            await asyncio.wait(started, timeout=0.2)
        return await find(*arguments)

    monkeypatch.setattr(grants, "find_grants", meanwhile)
    await definition_service.delete_entities(make_context(server), brand.id, ["thing"])
    with pytest.raises(BadUserInput, match="names no entity"):
        await started[0]
    assert not await grants.find_grants(server.db.scans, brand.id, "thing")


@pytest.mark.race
@pytest.mark.parametrize("way", [way for way in GRANTS if way != "new brand"])
async def test_a_deletion_beside_a_grant_ends_it(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Started while the grant has seen that the entity is there, and before it is written."""
    from keystead.entity_names import store

    started: list[asyncio.Task[list[Deletion]]] = []
    hold = store.lock_names

    async def held_then_deleted(*arguments: Any) -> list[str]:
        found = await hold(*arguments)
        deletion = definition_service.delete_entities(make_context(server), brand.id, ["thing"])
        started.append(asyncio.ensure_future(deletion))
        await asyncio.wait(started, timeout=0.2)
        return found

    monkeypatch.setattr(store, "lock_names", held_then_deleted)
    await GRANTS[way](server, brand, "thing:read")
    [deleted] = await started[0]
    assert sum(deleted.grants.counts().values()) == 1
    assert not await grants.find_grants(server.db.scans, brand.id, "thing")


def test_every_permission_of_an_entity_names_it() -> None:
    assert PermissionSet.of(of_entity("thing"))
    assert {entity_of(permission) for permission in of_entity("thing")} == {"thing"}
    assert [entity_of(name) for name in ("admin", "read", "write", "operator")] == [None] * 4
