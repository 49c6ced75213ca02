"""G5: operations of operators are denied to keys, other administrators and operators with a lesser key."""

from __future__ import annotations

import pytest

from keystead.brands import service as brands
from keystead.context import RESERVED_BRAND_ID, ActiveBrand, Server
from keystead.entities.access import RecordAccess
from keystead.graphql.access import BrandToken, Permission, Public, User
from tests.api import Api
from tests.attacks.callers import make_key, make_signed_in, sign_in
from tests.attacks.stored import stored
from tests.attacks.surface import operations
from tests.make import make_api_key, make_brand_token, make_entities, make_entity


@pytest.fixture
async def home(server: Server) -> ActiveBrand:
    found = await brands.find_active_by_name(server.db.reads, RESERVED_BRAND_ID)
    assert found is not None
    return found


@pytest.mark.attack("A68")
@pytest.mark.attack("A71")
async def test_only_a_user_of_the_reserved_brand_with_admin_operates(
    server: Server, api: Api, brand: ActiveBrand, home: ActiveBrand
) -> None:
    shop = await make_entity(server, brand)
    operator = await sign_in(server, home, "admin")
    await make_entities(server, home, "customer")
    lesser = ("read", "write", "customer:read")
    strangers: dict[str, dict[str, str]] = {
        "another brand's admin": {"token": await sign_in(server, shop, "admin")},
        "another brand's key": {"key": await make_key(server, shop, "admin")},
        "the reserved brand's key": {"key": await make_key(server, home, "admin")},
        "the reserved brand's user": {"token": await sign_in(server, home, *lesser)},
        "an operator with a lesser key": {"token": operator, "key": await make_key(server, home, *lesser)},
        "a user with the admin's key": {
            "token": await sign_in(server, home, *lesser),
            "key": await make_key(server, home, "admin"),
        },
        "a user with a publishable key": {
            "token": await sign_in(server, home, *lesser),
            "key": await make_key(server, home, "read", is_publishable=True),
        },
    }
    unauthenticated: dict[str, dict[str, str]] = {
        "anonymous": {},
        "a brand token": {"brand": (await make_brand_token(server, home)).reveal()},
    }
    attacked = [one for one in await operations(server, shop) if one.needs == "operator"]
    assert len(attacked) >= 3
    before = await stored(server)
    for operation in attacked:
        for name, caller in strangers.items():
            refused = await api.send(*operation.request(name=brand.name), **caller)  # type: ignore[arg-type]
            assert refused.code == "FORBIDDEN", (operation, name)
            assert refused.extensions["permission"] == "operator"
        for name, caller in unauthenticated.items():
            refused = await api.send(*operation.request(name=brand.name), **caller)  # type: ignore[arg-type]
            assert refused.code == "UNAUTHENTICATED", (operation, name)
    assert await stored(server) == before
    key = await make_key(server, home, "admin")
    for with_key in (None, key):
        for operation in attacked:
            name = "newMakers" if operation.name == "createBrand" and not with_key else brand.name
            answer = await api.send(*operation.request(name=name), token=operator, key=with_key)
            assert answer.code in (None, "CONFLICT"), operation


@pytest.mark.attack("A68")
async def test_the_permission_of_operators_is_never_granted_by_name(
    server: Server, api: Api, brand: ActiveBrand, home: ActiveBrand
) -> None:
    """By any operation that takes permissions, in either brand."""
    for place in (brand, home):
        token = await sign_in(server, place, "admin")
        attacked = [one for one in await operations(server, place) if "permissions" in one.inputs()]
        assert len(attacked) >= 5
        before = await stored(server)
        for operation in attacked:
            for granted in ("operator", "OPERATOR", " operator", "operator admin", "keystead:operator"):
                answer = await api.send(*operation.request(permissions=[granted]), token=token)
                assert answer.code == "BAD_USER_INPUT", (operation, granted)
        policy = 'mutation { updateBrand(input: {policy: {default_permissions: ["operator"]}}) { data { id } } }'
        assert (await api.send(policy, token=token)).code == "BAD_USER_INPUT"
        assert await stored(server) == before
        allowed = 'mutation { defineRole(input: {name: "readers", permissions: ["read"]}) { data { name } } }'
        assert (await api.send(allowed, token=token)).data


@pytest.mark.attack("A106")
async def test_no_key_of_the_reserved_brand_changes_anything_there(server: Server, api: Api, home: ActiveBrand) -> None:
    """Every mutation, those of an entity among them: settings, features, links, roles, users, keys, records."""
    home = await make_entity(server, home)
    operator_user, operator = await make_signed_in(server, home, "admin")
    kept, _ = await make_api_key(server, home, "read")
    lesser = await sign_in(server, home, "read", "write")
    callers: dict[str, dict[str, str]] = {
        "an admin key": {"key": await make_key(server, home, "admin")},
        "every permission of a key": {"key": await make_key(server, home, "admin", "read", "write")},
        "a user without admin": {"token": lesser},
        "a user without admin, with an admin key": {"token": lesser, "key": await make_key(server, home, "admin")},
        "an operator with a lesser key": {"token": operator, "key": await make_key(server, home, "read", "write")},
    }
    mutations = [one for one in await operations(server, home) if one.type_name == "Mutation"]
    own = [one for one in mutations if isinstance(one.access, Public | BrandToken | User)]
    changes = [one for one in mutations if one not in own]
    assert len(changes) >= 20
    assert {type(one.access) for one in changes} == {Permission, RecordAccess}
    ids = {"createApiKey": "", "updateApiKey": kept.id, "rotateApiKey": kept.id, "deleteApiKey": kept.id}
    before = await stored(server)
    for operation in changes:
        target = ids.get(operation.name, operator_user.id)
        request = operation.request(id=target, ids=[target], base_url="https://evil.example", is_disabled=True)
        for name, caller in callers.items():
            refused = await api.send(*request, **caller)  # type: ignore[arg-type]
            assert refused.code == "FORBIDDEN", (operation, name)
            if name == "an admin key":
                assert refused.extensions["permission"] == "operator", operation
    for operation in own:
        if isinstance(operation.access, User):
            refused = await api.send(*operation.request(), **callers["an admin key"])  # type: ignore[arg-type]
            assert refused.code == "UNAUTHENTICATED", operation
    assert await stored(server) == before
    for operation in changes:
        answer = await api.send(*operation.request(), token=operator)
        assert answer.code != "FORBIDDEN", operation


@pytest.mark.attack("A106")
async def test_a_key_of_the_reserved_brand_still_reads_there(server: Server, api: Api, home: ActiveBrand) -> None:
    home = await make_entity(server, home)
    key = await make_key(server, home, "admin")
    for operation in await operations(server, home):
        if operation.type_name == "Query" and not operation.is_open and not isinstance(operation.access, User):
            answer = await api.send(*operation.request(), key=key)
            assert (answer.code == "FORBIDDEN") is (operation.needs == "operator"), operation


@pytest.mark.attack("A106")
async def test_operators_keep_a_way_to_log_in(server: Server, api: Api, home: ActiveBrand) -> None:
    """Not even an operator switches off the last one."""
    token = await sign_in(server, home, "admin")
    update = "mutation ($features: JSON) { updateBrand(input: {features: $features}) { data { features } } }"
    before = await stored(server)
    refused = await api.send(update, {"features": {"password_login": False}}, token=token)
    assert (refused.code, refused.extensions["field"]) == ("BAD_USER_INPUT", "features")
    assert await stored(server) == before
    mailed = {"password_login": False, "magic_login": True}
    assert (await api.send(update, {"features": mailed}, token=token)).data
    assert (await api.send(update, {"features": {"magic_login": False}}, token=token)).code == "BAD_USER_INPUT"
    assert (await api.send(update, {"features": {"password_login": True}}, token=token)).data
