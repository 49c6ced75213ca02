"""G5: what API keys may not do. Brand tokens are in test_brands.py."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from graphql import get_named_type

from keystead.api_keys import service as api_keys
from keystead.api_keys.model import NewApiKey
from keystead.context import ActiveBrand, ApiKeyPrincipal, Server
from keystead.crypto.secrets import SecretKind, generate
from keystead.entities.access import RecordAccess
from keystead.errors import Forbidden
from keystead.graphql.access import User as SignedIn
from keystead.permissions import ENTITY_ACTIONS, PermissionSet
from tests.api import Api
from tests.attacks.callers import make_key, second_node, sign_in
from tests.attacks.stored import stored
from tests.attacks.surface import UNKNOWN_ID, operations, whole_selection
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import make_api_key, make_context, make_entity

READ_CUSTOMERS = "{ customerList { data { id name } } }"
MAKE_CUSTOMER = 'mutation { createCustomer(input: {name: "Ada"}) { data { id } } }'
READ_INVOICES = "{ invoiceList { data { id } } }"
EVERY_GRANT = ["admin", "read", "write"] + [
    f"customer:{action}" for action in (*ENTITY_ACTIONS, "read:own", "write:own")
]
ACTIONS = ("read", "create", "update", "delete")
ONLY_READING = {"read", "customer:read", "customer:read:own"}


@pytest.fixture
async def shop(server: Server, brand: ActiveBrand) -> ActiveBrand:
    return await make_entity(server, await make_entity(server, brand), "invoice", {"total": {"type": "decimal"}})


@pytest.mark.attack("A68")
@pytest.mark.parametrize(
    "held",
    [
        pytest.param(held, id=" ".join(held))
        for held in (("read",), ("write",), ("invoice:read", "invoice:write"), *((f"customer:{x}",) for x in ACTIONS))
    ],
)
async def test_a_key_runs_what_it_holds_and_nothing_else(
    server: Server, api: Api, shop: ActiveBrand, held: tuple[str, ...]
) -> None:
    """Denied operations change nothing. A key is no user: an operation of users is unauthenticated."""
    key, attacked = await make_key(server, shop, *held), await operations(server, shop)
    allowed = [
        one
        for one in attacked
        if isinstance(one.access, RecordAccess) and PermissionSet(held).covers(f"{one.entity}:{one.access.act}")
    ]
    before = await stored(server)
    for operation in attacked:
        if operation not in allowed and not operation.is_open and (held != ("read",) or operation.type_name != "Query"):
            answer = await api.send(*operation.request(), key=key)
            expected = "UNAUTHENTICATED" if isinstance(operation.access, SignedIn) else "FORBIDDEN"
            assert (answer.status, answer.code) == (200, expected), operation
            assert expected == "UNAUTHENTICATED" or answer.extensions["permission"], operation
    for selected in ("name", "id name", "created_by", "...on Customer { status }") if held == ("write",) else ():
        refused = MAKE_CUSTOMER.replace("data { id }", f"data {{ {selected} }}")
        assert (await api.send(refused, key=key)).code == "FORBIDDEN"
    assert await stored(server) == before
    assert allowed
    for operation in allowed:
        assert (await api.send(*operation.request(), key=key)).code in (None, "NOT_FOUND", "CONFLICT"), operation


@pytest.mark.attack("A70")
async def test_a_dead_key_is_refused_on_the_next_request_on_every_node(
    server: Server, api: Api, shop: ActiveBrand, clock: ManualClock, database_url: str
) -> None:
    admin = await make_key(server, shop, "admin")
    deleted, deleted_secret = await make_api_key(server, shop, "read")
    rotated, rotated_secret = await make_api_key(server, shop, "read")
    overlapping, overlapping_secret = await make_api_key(server, shop, "read")
    expiring = await make_key(server, shop, "read", expires_at=clock.now() + timedelta(minutes=1))
    dying = [deleted_secret.reveal(), rotated_secret.reveal(), overlapping_secret.reveal(), expiring]
    async with second_node(database_url, clock) as elsewhere:

        async def refused() -> list[bool]:
            answers = [await elsewhere.send(READ_CUSTOMERS, key=key) for key in dying]
            assert {(answer.status, answer.code) for answer in answers} <= {(200, None), (401, "UNAUTHORIZED")}
            return [answer.status == 401 for answer in answers]

        assert await refused() == [False, False, False, False]
        ids = {"ids": [deleted.id]}
        await api.send("mutation($ids: [ID!]!) { deleteApiKey(ids: $ids) { data { success } } }", ids, key=admin)
        assert await refused() == [True, False, False, False]
        rotate = "mutation($id: ID!, $s: Int) { rotateApiKey(id: $id, overlap_seconds: $s) { data { token } } }"
        renewed = (await api.send(rotate, {"id": rotated.id, "s": 0}, key=admin)).data["rotateApiKey"]["data"]
        await api.send(rotate, {"id": overlapping.id, "s": 30}, key=admin)
        assert await refused() == [True, True, False, False]
        clock.advance(seconds=30)
        assert await refused() == [True, True, True, False]
        clock.advance(seconds=30)
        assert await refused() == [True, True, True, True]
        assert (await elsewhere.send(READ_CUSTOMERS, key=renewed["token"])).data


@pytest.mark.attack("A71")
async def test_a_secret_key_narrows_a_user_and_a_user_a_secret_key(server: Server, api: Api, shop: ActiveBrand) -> None:
    token = await sign_in(server, shop, "customer:read", "customer:create", "invoice:read")
    key = await make_key(server, shop, "customer:read", "write")
    assert (await api.send("{ me { permissions } }", token=token, key=key)).data["me"]["permissions"] == [
        "customer:create",
        "customer:read",
    ]
    assert (await api.send(READ_CUSTOMERS, token=token, key=key)).data
    assert (await api.send(MAKE_CUSTOMER, token=token, key=key)).data
    assert (await api.send(READ_INVOICES, token=token, key=key)).code == "FORBIDDEN"
    assert (await api.send(READ_INVOICES, token=token)).data
    delete = 'mutation { deleteCustomer(ids: ["x"]) { data { success } } }'
    assert (await api.send(delete, token=token, key=key)).code == "FORBIDDEN"
    admin, admin_key = await sign_in(server, shop, "admin"), await make_key(server, shop, "admin")
    for user, with_key in ((token, admin_key), (admin, key)):
        assert (await api.send("{ userList { data { id } } }", token=user, key=with_key)).code == "FORBIDDEN"
    assert (await api.send("{ userList { data { id } } }", token=admin, key=admin_key)).data


@pytest.mark.attack("A71")
async def test_a_publishable_key_adds_its_reading_to_a_user(server: Server, api: Api, shop: ActiveBrand) -> None:
    token = await sign_in(server, shop, "customer:write")
    key = await make_key(server, shop, "invoice:read", is_publishable=True)
    assert (await api.send(READ_INVOICES, token=token, key=key)).data
    assert (await api.send(MAKE_CUSTOMER, token=token, key=key)).data
    assert (await api.send(READ_CUSTOMERS, token=token, key=key)).code == "FORBIDDEN"
    assert (await api.send(READ_INVOICES, token=token)).code == "FORBIDDEN"
    assert (await api.send(MAKE_CUSTOMER, key=key)).code == "FORBIDDEN"


@pytest.mark.attack("A72")
async def test_a_publishable_key_holds_read_permissions_only(server: Server, api: Api, shop: ActiveBrand) -> None:
    admin = await make_key(server, shop, "admin")
    own, _ = await make_api_key(server, shop, "read", is_publishable=True)
    create = "mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { data { token } } }"
    update = "mutation($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { data { id } } }"
    before = await stored(server)
    for grant in [grant for grant in EVERY_GRANT if grant not in ONLY_READING]:
        for permissions in ([grant], ["read", grant]):
            asked = {"name": "public", "permissions": permissions, "publishable": True}
            assert (await api.send(create, {"input": asked}, key=admin)).code == "FORBIDDEN", permissions
            changed = {"id": own.id, "permissions": permissions}
            assert (await api.send(update, {"input": changed}, key=admin)).code == "FORBIDDEN", permissions
    assert await stored(server) == before
    asked = {"name": "public", "permissions": sorted(ONLY_READING), "publishable": True}
    made = (await api.send(create, {"input": asked}, key=admin)).data["createApiKey"]["data"]["token"]
    assert made.startswith("ks_pk_")


@pytest.mark.attack("A74")
async def test_a_key_never_holds_more_than_its_creator(server: Server, shop: ActiveBrand) -> None:
    strong, _ = await make_api_key(server, shop, "admin")
    for held in EVERY_GRANT:
        creator = ApiKeyPrincipal(shop.id, "a key", PermissionSet((held,)), False)
        ctx = make_context(server, shop, creator)
        for asked in EVERY_GRANT:
            new = NewApiKey("a key", PermissionSet((asked,)))
            if creator.permissions.covers(asked):
                await api_keys.create_key(ctx, shop.id, new)
            else:
                with pytest.raises(Forbidden):
                    await api_keys.create_key(ctx, shop.id, new)
        if held != "admin":
            with pytest.raises(Forbidden):
                await api_keys.rotate_key(ctx, shop.id, strong.id, 0)


@pytest.mark.attack("A74")
async def test_no_key_is_created_for_another_user_or_beyond_the_creator(
    server: Server, api: Api, shop: ActiveBrand
) -> None:
    create = "mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { data { created_by } } }"
    asked = {"name": "mine", "permissions": ["customer:read"]}
    user = await sign_in(server, shop, *[grant for grant in EVERY_GRANT if grant != "admin"])
    admin, key = await sign_in(server, shop, "admin"), await make_key(server, shop, "write")
    before = await stored(server)
    for extra in ("userId", "user_id", "created_by", "brand_id", "id", "token"):
        answer = await api.send(create, {"input": {**asked, extra: UNKNOWN_ID}}, token=admin)
        assert (answer.status, answer.code) == (400, "BAD_USER_INPUT"), extra
        literal = (
            f'mutation {{ createApiKey(input: {{name: "n", permissions: [], {extra}: "x"}}) {{ data {{ id }} }} }}'
        )
        assert (await api.send(literal, token=admin)).code == "GRAPHQL_VALIDATION_FAILED", extra
    assert (await api.send(create, {"input": asked}, token=user)).code == "FORBIDDEN"
    assert (await api.send(create, {"input": asked}, token=admin, key=key)).code == "FORBIDDEN"
    for granted in ("operator", "admin ", "ADMIN", "read write", "*", "customer:admin", "customer:*", ""):
        answer = await api.send(create, {"input": {**asked, "permissions": [granted]}}, token=admin)
        assert (answer.code, answer.extensions.get("field")) == ("BAD_USER_INPUT", "permissions"), granted
    assert await stored(server) == before
    made = (await api.send(create, {"input": asked}, token=admin)).data["createApiKey"]["data"]
    assert made["created_by"] == (await api.send("{ me { id } }", token=admin)).data["me"]["id"]


@pytest.mark.attack("A75")
async def test_only_the_answer_that_makes_a_secret_shows_it(server: Server, api: Api, shop: ActiveBrand) -> None:
    admin, (key, secret) = await make_key(server, shop, "admin"), await make_api_key(server, shop, "read")
    digest = secret.digest()
    hidden = [secret.reveal(), secret.reveal()[6:-4], digest.hex(), str(digest)]
    shown = 0
    for operation in await operations(server, shop):
        if "ApiKey" in str(get_named_type(operation.field.type)) and not re.match("(create|rotate)", operation.name):
            query, variables = operation.request(whole_selection(operation.field.type), id=key.id, ids=[key.id])
            answer = await api.send(query, variables, key=admin)
            data = answer.data[operation.name]["data"]
            rows = data if isinstance(data, list) else [data]
            assert key.id in {row["id"] for row in rows}, operation
            assert {row["token"] for row in rows} == {None}
            assert {row["hint"] for row in rows if row["id"] == key.id} == {f"ks_sk_…{secret.reveal()[-4:]}"}
            assert not [text for text in hidden if text in str(answer.body)], operation
            shown += 1
    assert shown >= 6
    rotate = "mutation($id: ID!) { rotateApiKey(id: $id) { data { token } } }"
    token = (await api.send(rotate, {"id": key.id}, key=admin)).data["rotateApiKey"]["data"]["token"]
    assert (await api.send(READ_CUSTOMERS, key=token)).data


@pytest.mark.attack("A76")
async def test_a_key_with_one_character_changed_is_refused_without_a_query(
    server: Server, api: Api, shop: ActiveBrand, watched: WatchedDatabase
) -> None:
    key = await make_key(server, shop, "read")
    flipped = [key[:at] + chr(ord(key[at]) ^ 1) + key[at + 1 :] for at in range(len(key))]
    replaced = [key[:at] + ("a" if key[at] != "a" else "b") + key[at + 1 :] for at in range(len(key))]
    shortened = [key[:at] + key[at + 1 :] for at in range(len(key)) if key[at] != key[at - 1]]
    longer = [key + "0", f" {key}x", key * 2, key.lower() + "A", key.swapcase()]
    watched.forget()
    for wrong in flipped + replaced + shortened + longer:
        answer = await api.send(READ_CUSTOMERS, key=wrong)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED"), wrong
        assert "Unauthorized" in answer.errors[0]["message"]
    assert watched.asked == []
    made_up = await api.send(READ_CUSTOMERS, key=generate(SecretKind.secret_key).reveal())
    assert (made_up.status, made_up.code) == (401, "UNAUTHORIZED")
    assert len(watched.asked) == 1
    assert (await api.send(READ_CUSTOMERS, key=key)).data
