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
async def test_a_permission_is_taken_from_a_user_and_given_again(
    server: Server, api: Api, elsewhere: Api, shop: ActiveBrand
) -> None:
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


CASES = {
    "role changed": "FORBIDDEN", "role deleted": "FORBIDDEN", "role taken": "FORBIDDEN",
    "default permissions": "FORBIDDEN", "admin": "FORBIDDEN", "user disabled": "UNAUTHENTICATED",
    "user deleted": "UNAUTHENTICATED", "key changed": "FORBIDDEN", "key deleted": "UNAUTHORIZED",
    "secret key of a user": "FORBIDDEN", "publishable key of a user": "FORBIDDEN",
}  # fmt: skip
"""How the permission is taken away, and the error after it."""


async def prepare(server: Server, shop: ActiveBrand, case: str) -> tuple[dict[str, str], Callable[[], Awaitable[Any]]]:
    """The credentials of a caller who may read, and the change that takes that away."""
    ctx: Any = make_context(server, shop)
    if case == "default permissions":
        await change_brand(server, shop, {"policy": {"default_permissions": ["customer:read"]}})
        taken: dict[str, Any] = {"policy": {"default_permissions": []}}
        return {"token": await sign_in(server, shop)}, lambda: change_brand(server, shop, taken)
    if "key" in case:
        is_publishable = case.startswith("publishable")
        key, secret = await make_api_key(server, shop, "customer:read", is_publishable=is_publishable)
        caller = {"key": secret.reveal()}
        if "user" in case:  # A secret key bounds the user's permissions, a publishable one adds to them.
            caller["token"] = await sign_in(server, shop, *([] if is_publishable else ["customer:read"]))
        lesser: dict[str, Any] = {"permissions": ["customer:create"] if case == "key changed" else []}
        if case == "key deleted":
            return caller, lambda: api_keys.delete_keys(ctx, shop.id, [key.id])
        return caller, lambda: api_keys.update_key(ctx, shop.id, key.id, lesser)
    await make_role(server, shop, "readers", "customer:read")
    held = {"admin": ("admin",), "user": ("customer:read",), "role": ()}[case.split()[0]]
    user, token = await make_signed_in(server, shop, *held, roles=("readers",) if case.startswith("role") else ())
    changes: dict[str, Callable[[], Awaitable[Any]]] = {
        "role changed": lambda: roles.define_role(ctx, shop.id, "readers", ["customer:create"]),
        "role deleted": lambda: roles.delete_roles(ctx, shop.id, ["readers"]),
        "role taken": lambda: users.update_user(ctx, shop.id, user.id, UserChanges(roles=())),
        "admin": lambda: users.update_user(ctx, shop.id, user.id, UserChanges(permissions=())),
        "user disabled": lambda: users.update_user(ctx, shop.id, user.id, UserChanges(is_disabled=True)),
        "user deleted": lambda: users.delete_users(ctx, shop.id, [user.id]),
    }
    return {"token": token}, changes[case]


@pytest.mark.attack("A97")
@pytest.mark.parametrize("case", CASES)
async def test_a_permission_that_is_taken_away(server: Server, elsewhere: Api, shop: ActiveBrand, case: str) -> None:
    caller, change = await prepare(server, shop, case)
    await falls(elsewhere, change, CASES[case], **caller)
    if case == "admin":
        assert (await elsewhere.send("{ userList { data { id } } }", **caller)).code == "FORBIDDEN"  # type: ignore[arg-type]


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
