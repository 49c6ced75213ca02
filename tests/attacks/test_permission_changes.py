"""G7: a permission that is taken away is gone on the next request, on a node that had it in every cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from keystead.api_keys import service as api_keys
from keystead.context import ActiveBrand, Server
from keystead.graphql.resolvers import load_resolvers
from keystead.users import roles
from keystead.users import service as users
from keystead.users.model import UserChanges
from tests.api import Api, make_api
from tests.attacks.callers import make_key, make_signed_in, second_node, sign_in
from tests.clocks import ManualClock
from tests.make import change_brand, make_api_key, make_context, make_entity, make_role

READ = "{ customerList { data { id name } pagination { total } } }"
LOOK = '{ __type(name: "Query") { fields { name } } }'


@pytest.fixture
async def shop(server: Server, brand: ActiveBrand) -> ActiveBrand:
    return await make_entity(server, brand)


@pytest.fixture
async def elsewhere(server: Server, database_url: str, clock: ManualClock) -> AsyncIterator[Api]:
    async with second_node(database_url, clock) as node:
        yield node


async def falls(node: Api, change: Callable[[], Awaitable[Any]], expected: str, **caller: str) -> None:
    """Reading works, and from the change on it does not: neither the records nor, in introspection, the operation."""
    for _ in range(3):
        assert (await node.send(READ, **caller)).data  # type: ignore[arg-type]
        assert "customerList" in str((await node.send(LOOK, **caller)).data)  # type: ignore[arg-type]
    await change()
    assert (await node.send(READ, **caller)).code == expected  # type: ignore[arg-type]
    hidden = await node.send(LOOK, **caller)  # type: ignore[arg-type]
    assert hidden.status == 401 or "customerList" not in str(hidden.data)


@pytest.mark.attack("A97")
async def test_taken_from_the_user(server: Server, api: Api, elsewhere: Api, shop: ActiveBrand) -> None:
    user, token = await make_signed_in(server, shop, "customer:read", "customer:create")
    admin = await make_key(server, shop, "admin")
    update = "mutation($id: ID!, $p: [String!]) { updateUser(input: {id: $id, permissions: $p}) { data { id } } }"

    async def change() -> None:
        assert (await api.send(update, {"id": user.id, "p": ["customer:create"]}, key=admin)).data

    await falls(elsewhere, change, "FORBIDDEN", token=token)
    assert (await elsewhere.send("{ me { permissions } }", token=token)).data["me"]["permissions"] == [
        "customer:create"
    ]
    assert (await api.send(update, {"id": user.id, "p": ["customer:read"]}, key=admin)).data
    assert (await elsewhere.send(READ, token=token)).data


@pytest.mark.attack("A97")
@pytest.mark.parametrize("how", ["changed", "deleted", "taken"])
async def test_taken_from_the_role(server: Server, elsewhere: Api, shop: ActiveBrand, how: str) -> None:
    await make_role(server, shop, "readers", "customer:read")
    user, token = await make_signed_in(server, shop, roles=("readers",))
    ctx = make_context(server, shop)
    changes = {
        "changed": lambda: roles.define_role(ctx, shop.id, "readers", ["customer:create"]),
        "deleted": lambda: roles.delete_roles(ctx, shop.id, ["readers"]),
        "taken": lambda: users.update_user(ctx, shop.id, user.id, UserChanges(roles=())),
    }
    await falls(elsewhere, changes[how], "FORBIDDEN", token=token)


@pytest.mark.attack("A97")
async def test_taken_from_everybody(server: Server, elsewhere: Api, shop: ActiveBrand) -> None:
    await change_brand(server, shop, {"policy": {"default_permissions": ["customer:read"]}})
    token = await sign_in(server, shop)
    taken: dict[str, Any] = {"policy": {"default_permissions": []}}
    await falls(elsewhere, lambda: change_brand(server, shop, taken), "FORBIDDEN", token=token)


@pytest.mark.attack("A97")
async def test_taken_from_the_key(server: Server, elsewhere: Api, shop: ActiveBrand) -> None:
    key, secret = await make_api_key(server, shop, "customer:read")
    ctx, lesser = make_context(server, shop), {"permissions": ["customer:create"]}
    await falls(elsewhere, lambda: api_keys.update_key(ctx, shop.id, key.id, lesser), "FORBIDDEN", key=secret.reveal())


@pytest.mark.attack("A97")
async def test_taken_with_the_key(server: Server, elsewhere: Api, shop: ActiveBrand) -> None:
    key, secret = await make_api_key(server, shop, "customer:read")
    ctx = make_context(server, shop)
    await falls(elsewhere, lambda: api_keys.delete_keys(ctx, shop.id, [key.id]), "UNAUTHORIZED", key=secret.reveal())


@pytest.mark.attack("A97")
@pytest.mark.parametrize("is_publishable", [False, True])
async def test_taken_from_the_key_of_a_user(
    server: Server, elsewhere: Api, shop: ActiveBrand, is_publishable: bool
) -> None:
    """A secret key that bounds the user, or a publishable one that adds to what they may."""
    key, secret = await make_api_key(server, shop, "customer:read", is_publishable=is_publishable)
    token = await sign_in(server, shop, *([] if is_publishable else ["customer:read"]))
    ctx: Any = make_context(server, shop)
    nothing: dict[str, Any] = {"permissions": []}
    await falls(
        elsewhere,
        lambda: api_keys.update_key(ctx, shop.id, key.id, nothing),
        "FORBIDDEN",
        token=token,
        key=secret.reveal(),
    )


@pytest.mark.attack("A97")
@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_taken_with_the_user(server: Server, elsewhere: Api, shop: ActiveBrand, how: str) -> None:
    user, token = await make_signed_in(server, shop, "customer:read")
    ctx = make_context(server, shop)
    changes = {
        "disabled": lambda: users.update_user(ctx, shop.id, user.id, UserChanges(is_disabled=True)),
        "deleted": lambda: users.delete_users(ctx, shop.id, [user.id]),
    }
    await falls(elsewhere, changes[how], "UNAUTHENTICATED", token=token)


@pytest.mark.attack("A97")
async def test_admin_taken_from_the_administrator(server: Server, elsewhere: Api, shop: ActiveBrand) -> None:
    user, token = await make_signed_in(server, shop, "admin")
    await falls(
        elsewhere,
        lambda: users.update_user(make_context(server, shop), shop.id, user.id, UserChanges(permissions=())),
        "FORBIDDEN",
        token=token,
    )
    assert (await elsewhere.send("{ userList { data { id } } }", token=token)).code == "FORBIDDEN"


@pytest.mark.attack("A97")
async def test_taken_while_a_request_is_in_flight(
    server: Server, shop: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that was admitted may end; the next one is refused, though the first still runs."""
    reached, may_continue = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> dict[str, Any]:
        reached.set()
        await may_continue.wait()
        return {"data": {"up": True}}

    monkeypatch.setitem(load_resolvers(), "Query.health", slow)
    api = await make_api(server)
    user, token = await make_signed_in(server, shop, "customer:read")
    in_flight = asyncio.create_task(api.send("{ health { data { up } } }", token=token))
    await reached.wait()
    await users.update_user(make_context(server, shop), shop.id, user.id, UserChanges(permissions=()))
    assert (await api.send(READ, token=token)).code == "FORBIDDEN"
    may_continue.set()
    assert (await in_flight).data
    assert (await api.send(READ, token=token)).code == "FORBIDDEN"
