"""G5: what an operator may do, nobody else may: no key, no other administrator, no operator with a lesser key."""

from __future__ import annotations

import pytest

from keystead.brands import service as brands
from keystead.context import RESERVED_BRAND_ID, ActiveBrand, Server
from tests.api import Api
from tests.attacks.callers import make_key, sign_in
from tests.attacks.stored import stored
from tests.attacks.surface import operations
from tests.make import make_brand_token, make_entity


@pytest.fixture
async def home(server: Server) -> ActiveBrand:
    """The operators' brand."""
    found = await brands.find_active(server.db.reads, RESERVED_BRAND_ID)
    assert found is not None
    return found


@pytest.mark.attack("A68")
@pytest.mark.attack("A71")
async def test_only_a_user_of_the_reserved_brand_with_admin_operates(
    server: Server, api: Api, brand: ActiveBrand, home: ActiveBrand
) -> None:
    shop = await make_entity(server, brand)
    operator = await sign_in(server, home, "admin")
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
    nobodies: dict[str, dict[str, str]] = {
        "nobody": {},
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
        for name, caller in nobodies.items():
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
async def test_an_operators_permission_is_given_to_nobody_by_name(
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
