"""A key does not change the user who made it; disabling that user shows their keys, and can revoke them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from keystead.api_keys import creators
from keystead.api_keys import service as api_keys
from keystead.api_keys.model import NewApiKey
from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database
from keystead.errors import BadUserInput, Unauthenticated
from keystead.graphql.access import Permission
from keystead.permissions import PermissionSet
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from tests.api import Answer, Api, make_api
from tests.attacks.surface import operations
from tests.clocks import ManualClock
from tests.make import (
    make_access_token,
    make_api_key,
    make_brand,
    make_caller,
    make_context,
    make_role,
    make_server,
    make_session,
    make_user,
)

CREATE = """
mutation ($p: [String!]!) { createApiKey(input: {name: "k", permissions: $p}) { data { id token created_by } } }
"""
DISABLE = """
mutation ($id: ID!, $revoke: Boolean) {
  updateUser(input: {id: $id, is_disabled: true, revoke_api_keys: $revoke}) {
    data { is_disabled } api_keys { id name hint token created_by }
  }
}
"""


@pytest.fixture
async def server(db: Database, clock: ManualClock) -> Server:
    return await make_server(db, clock)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_brand(server)


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    client = await make_api(server)
    yield client
    await client.http.aclose()


@pytest.fixture
async def boss(server: Server, brand: ActiveBrand) -> User:
    await make_role(server, brand, "staff", "admin")
    return await make_user(server, brand, "boss@example.com", roles=("staff",), username="boss")


async def token_of(server: Server, brand: ActiveBrand, user: User) -> str:
    return make_access_token(server, await make_session(server, brand, user.id))


async def make_key_of(api: Api, server: Server, brand: ActiveBrand, user: User, *permissions: str) -> dict[str, Any]:
    """A key that the user makes."""
    answer = await api.send(CREATE, {"p": permissions or ["admin"]}, token=await token_of(server, brand, user))
    made: dict[str, Any] = answer.data["createApiKey"]["data"]
    return made


@pytest.mark.parametrize("is_disabled", [False, True])
@pytest.mark.parametrize("is_joined", [False, True])
async def test_no_mutation_by_a_key_promotes_enables_or_changes_its_maker(
    server: Server, api: Api, brand: ActiveBrand, boss: User, is_disabled: bool, is_joined: bool
) -> None:
    """Every mutation of the fixed schema, by the key alone and by another administrator together with the key."""
    made = await make_key_of(api, server, brand, boss)
    assert made["created_by"] == boss.id
    other = await make_user(server, brand, "other@example.com", permissions=("admin",))
    system = make_context(server, brand)
    await make_role(server, brand, "staff", "read")
    await make_role(server, brand, "chief", "admin")
    await users.update_user(system, brand.id, boss.id, UserChanges(is_disabled=is_disabled))
    caller = {"key": made["token"], **({"token": await token_of(server, brand, other)} if is_joined else {})}
    before = await users.get_user(system, brand.id, boss.id)
    attacked = [
        one
        for one in await operations(server, brand)
        if one.type_name == "Mutation" and isinstance(one.access, Permission) and "Key" not in one.name
    ]
    assert {"updateUser", "deleteUser", "defineRole", "deleteRole", "updateBrand"} <= {one.name for one in attacked}
    change: dict[str, Any] = {"username": "new", "permissions": ["admin"], "roles": ["chief"], "is_disabled": False}
    for operation in attacked:
        for part in (*({name: value} for name, value in change.items()), change, {"is_disabled": True}):
            given = {
                "id": boss.id, "ids": [boss.id], "name": "staff", "names": ["chief"], "email": "new@example.com",
                "policy": {"default_permissions": ["admin"]}, **part,
            }  # fmt: skip
            answer = await api.send(*operation.request(**given), **caller)
            if operation.name in ("updateUser", "deleteUser", "updateBrand"):
                assert answer.code == "FORBIDDEN", (operation, part)
            after = await users.get_user(system, brand.id, boss.id)
            assert (after.is_disabled, after.profile.username) == (is_disabled, "boss"), (operation, part)
            assert after.profile.granted == before.profile.granted, (operation, part)
    # The allowed act: the same key changes another user, and another key this one.
    allowed = UserChanges(username="else")
    third = await make_user(server, brand, "third@example.com")
    rename = 'mutation ($id: ID!) { updateUser(input: {id: $id, username: "else"}) { data { username } } }'
    assert (await api.send(rename, {"id": third.id}, **caller)).data
    _, unattributed = await make_api_key(server, brand, "admin")
    assert (await api.send(rename, {"id": boss.id}, key=unattributed.reveal())).data
    assert (await users.update_user(system, brand.id, boss.id, allowed)).profile.username == "else"


async def test_a_key_that_a_key_made_counts_as_its_makers(
    server: Server, api: Api, brand: ActiveBrand, boss: User
) -> None:
    first = await make_key_of(api, server, brand, boss)
    second = (await api.send(CREATE, {"p": ["admin"]}, key=first["token"])).data["createApiKey"]["data"]
    assert second["created_by"] == boss.id
    refused = await api.send(DISABLE, {"id": boss.id}, key=second["token"])
    assert refused.code == "FORBIDDEN"
    _, unattributed = await make_api_key(server, brand, "admin")
    third = (await api.send(CREATE, {"p": ["admin"]}, key=unattributed.reveal())).data["createApiKey"]["data"]
    assert third["created_by"] is None


async def test_disabling_shows_the_keys_that_still_work(
    server: Server, api: Api, brand: ActiveBrand, boss: User, clock: ManualClock
) -> None:
    kept = await make_key_of(api, server, brand, boss)
    ended = await make_key_of(api, server, brand, boss)
    caller = await make_caller(server, await make_session(server, brand, boss.id))
    soon = {"expires_at": clock.now().replace(year=clock.now().year + 1)}
    await api_keys.update_key(caller, brand.id, ended["id"], soon)
    await make_api_key(server, brand, "read")
    _, admin = await make_api_key(server, brand, "admin")
    look = "query ($id: ID!) { userById(id: $id) { api_keys { id } } }"
    shown = (await api.send(look, {"id": boss.id}, key=admin.reveal())).data["userById"]["api_keys"]
    assert {key["id"] for key in shown} == {kept["id"], ended["id"]}
    clock.advance(days=400)
    answer = (await api.send(DISABLE, {"id": boss.id}, key=admin.reveal())).data["updateUser"]
    assert answer["data"] == {"is_disabled": True}
    assert [(key["id"], key["token"], key["created_by"]) for key in answer["api_keys"]] == [(kept["id"], None, boss.id)]
    assert (await api.send("{ roleList { data { name } } }", key=kept["token"])).data, "keys outlive their maker"


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_keys_are_revoked_in_the_same_act(
    server: Server, api: Api, brand: ActiveBrand, boss: User, is_deleted: bool
) -> None:
    made = await make_key_of(api, server, brand, boss)
    heir = (await api.send(CREATE, {"p": ["read"]}, key=made["token"])).data["createApiKey"]["data"]
    other = await make_user(server, brand, "other@example.com", permissions=("admin",))
    others = await make_key_of(api, server, brand, other)
    _, admin = await make_api_key(server, brand, "admin")
    delete = "mutation ($id: ID!) { deleteUser(ids: [$id], revoke_api_keys: true) { data { success } } }"
    answer = await api.send(*((delete, {"id": boss.id}) if is_deleted else (DISABLE, {"id": boss.id, "revoke": True})),
                            key=admin.reveal())  # fmt: skip
    assert answer.data
    if not is_deleted:
        assert answer.data["updateUser"]["api_keys"] == []
    for gone in (made, heir):
        assert (await api.send("{ roleList { data { name } } }", key=gone["token"])).status == 401
    for kept in (others["token"], admin.reveal()):
        assert (await api.send("{ roleList { data { name } } }", key=kept)).data
    events = "{ auditEventList { data { event subject_id } } }"
    found = (await api.send(events, key=admin.reveal())).data["auditEventList"]["data"]
    assert {one["subject_id"] for one in found if one["event"] == "api_key.deleted"} == {made["id"], heir["id"]}


async def test_keys_are_revoked_of_a_user_disabled_before_and_of_no_enabled_one(
    server: Server, brand: ActiveBrand, boss: User
) -> None:
    system = make_context(server, brand)
    caller = await make_caller(server, await make_session(server, brand, boss.id))
    await api_keys.create_key(caller, brand.id, api_keys.parse_new_key({"name": "k", "permissions": ["read"]}))
    for changes in (UserChanges(), UserChanges(is_disabled=False)):
        with pytest.raises(BadUserInput) as refused:
            await creators.update_user(system, brand.id, boss.id, changes, revoke_api_keys=True)
        assert refused.value.extensions["field"] == "revoke_api_keys"
    off = UserChanges(is_disabled=True)
    await creators.update_user(system, brand.id, boss.id, off)
    assert len(await creators.list_live_keys(system, brand.id, boss.id)) == 1
    await creators.update_user(system, brand.id, boss.id, off, revoke_api_keys=True)
    assert await creators.list_live_keys(system, brand.id, boss.id) == []


@pytest.mark.race
@pytest.mark.parametrize("by_key", [False, True])
async def test_no_key_survives_that_is_made_while_keys_are_revoked(
    server: Server, api: Api, brand: ActiveBrand, boss: User, by_key: bool
) -> None:
    """A request that was authenticated before the revocation makes no key after it."""
    made = await make_key_of(api, server, brand, boss)
    token = await token_of(server, brand, boss)
    caller: dict[str, Any] = {"key": made["token"]} if by_key else {"token": token}
    system, off = make_context(server, brand), UserChanges(is_disabled=True)
    creating = [asyncio.create_task(api.send(CREATE, {"p": ["read"]}, **caller)) for _ in range(5)]
    await creators.update_user(system, brand.id, boss.id, off, revoke_api_keys=True)
    answers: list[Answer] = await asyncio.gather(*creating)
    assert {answer.code for answer in answers} <= {None, "UNAUTHENTICATED", "UNAUTHORIZED"}
    assert await creators.list_live_keys(system, brand.id, boss.id) == []


async def test_a_request_from_before_the_revocation_makes_no_key(
    server: Server, brand: ActiveBrand, boss: User
) -> None:
    caller = await make_caller(server, await make_session(server, brand, boss.id))
    await creators.update_user(make_context(server, brand), brand.id, boss.id, UserChanges(is_disabled=True))
    with pytest.raises(Unauthenticated):
        await api_keys.create_key(caller, brand.id, NewApiKey("k", PermissionSet(("read",))))
