"""G5 and G7: brand tokens, and tenant isolation of brands."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from keystead.brands import service as brands
from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.api import Api
from tests.attacks.callers import anonymised, make_key, make_signed_in, second_node, sign_in
from tests.attacks.stored import stored
from tests.attacks.surface import UNKNOWN_ID, Operation, operations, whole_selection
from tests.clocks import ManualClock
from tests.make import (
    PASSWORD,
    change_brand,
    make_api_key,
    make_brand,
    make_brand_token,
    make_context,
    make_entity,
    make_role,
    make_session,
    make_user,
)

CREATE_ME = "mutation($brand: String) { createMe(brand: $brand) }"
BRAND_ARGUMENTS = {"brand", "pylo_app_id"}


async def make_record(server: Server, api: Api, brand: ActiveBrand, entity: str) -> str:
    """The id of a new record, whose name tells its brand."""
    create = f"create{entity[0].upper()}{entity[1:]}"
    document = f'mutation {{ {create}(input: {{name: "Ada of {brand.name}"}}) {{ data {{ id }} }} }}'
    made = await api.send(document, key=await make_key(server, brand, "write"))
    record_id: str = made.data[create]["data"]["id"]
    return record_id


@pytest.mark.attack("A77")
async def test_a_brand_token_with_another_brand_as_argument_is_a_mismatch(
    server: Server, api: Api, brand: ActiveBrand, other_brand: ActiveBrand, brand_token: str, ann: User
) -> None:
    attacked = [
        (operation, argument)
        for operation in await operations(server, brand)
        for argument in operation.inputs()
        if argument in BRAND_ARGUMENTS
    ]
    assert len(attacked) >= 5
    await change_brand(server, brand, {"features": {"magic_login": True}})
    before = await stored(server)
    for operation, argument in attacked:
        for other in (other_brand.name, other_brand.id, "keystead", "noSuchBrand", "", brand.name.upper()):
            query, variables = operation.request(**{argument: other, "email": ann.profile.email, "password": PASSWORD})
            answer = await api.send(query, variables, brand=brand_token)
            assert answer.code == "BRAND_MISMATCH", (operation, other)
    assert await stored(server) == before
    for operation, argument in attacked:
        for own in (brand.name, brand.id):
            query, variables = operation.request(**{argument: own, "email": ann.profile.email, "password": PASSWORD})
            assert (await api.send(query, variables, brand=brand_token)).data, (operation, own)


@pytest.mark.attack("A77")
async def test_every_credential_of_a_disabled_brand_is_dead_on_every_node(
    server: Server, api: Api, brand: ActiveBrand, other_brand: ActiveBrand, brand_token: str, clock: ManualClock,
    database_url: str, ann: User,
) -> None:  # fmt: skip
    token, key = await sign_in(server, brand), await make_key(server, brand, "admin")
    theirs = (await make_brand_token(server, other_brand)).reveal()
    login = f'{{ login(email: "{ann.profile.email}", brand: "{brand.name}", password: "{PASSWORD}") }}'
    async with second_node(database_url, clock) as elsewhere:
        for node in (api, elsewhere):
            assert (await node.send(CREATE_ME, brand=brand_token)).data
            assert (await node.send("{ userList { data { id } } }", key=key)).data
            assert (await node.send("{ me { id } }", token=token)).data
            assert (await node.send(login)).data
        await brands.set_disabled(make_context(server), brand.name, True)
        for node in (api, elsewhere):
            refused = await node.send(CREATE_ME, brand=brand_token)
            assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
            refused = await node.send("{ userList { data { id } } }", key=key)
            assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
            refused = await node.send("{ me { id } }", token=token)
            assert (refused.status, refused.code) == (401, "UNAUTHENTICATED")
            assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
            assert (await node.send(login)).code == "BAD_USER_INPUT"
            assert (await node.send(CREATE_ME, brand=theirs)).data
        await brands.set_disabled(make_context(server), brand.name, False)
        assert (await elsewhere.send(CREATE_ME, brand=brand_token)).data


@pytest.mark.attack("A77")
async def test_a_brand_token_opens_nothing_else(server: Server, api: Api, brand: ActiveBrand, brand_token: str) -> None:
    shop = await make_entity(server, brand)
    before = await stored(server)
    for operation in await operations(server, shop):
        if not operation.is_open:
            assert (await api.send(*operation.request(), brand=brand_token)).code == "UNAUTHENTICATED", operation
    assert await stored(server) == before
    assert (await api.send(CREATE_ME, brand=brand_token)).data


@dataclass(frozen=True)
class Household:
    """A brand with one of everything in it."""

    brand: ActiveBrand
    admin: User
    token: str
    ids: dict[str, str]
    names: tuple[str, ...]


async def furnish(server: Server, api: Api, name: str) -> Household:
    brand = await make_entity(server, await make_brand(server, name))
    brand = await make_entity(server, brand, f"{name}Thing")
    admin, token = await make_signed_in(server, brand, "admin")
    await make_role(server, brand, f"{name}Role", "read")
    await make_brand_token(server, brand)
    ids = {kind: await make_one(server, api, brand, admin, kind) for kind in ("user", "session", "key", "customer")}
    events = await api.send("{ auditEventList { data { id } } }", token=token)
    ids |= {"brand": brand.id, "event": events.data["auditEventList"]["data"][0]["id"], "admin": admin.id}
    return Household(brand, admin, token, ids, (f"{name}Role", f"{name}Thing"))


async def make_one(server: Server, api: Api, brand: ActiveBrand, admin: User, kind: str) -> str:
    if kind == "user":
        return (await make_signed_in(server, brand))[0].id
    if kind == "session":
        return (await make_session(server, brand, admin.id)).session_id
    if kind == "key":
        return (await make_api_key(server, brand, "read"))[0].id
    return await make_record(server, api, brand, kind)


def kind_of(operation: Operation) -> str:
    """What kind of thing the operation's id names; a kind that is new here fails the tests."""
    if operation.entity:
        return operation.entity
    kinds = {"key": "ApiKey", "user": "User", "session": "Session"}
    found = [kind for kind, word in kinds.items() if word.lower() in operation.name.lower()]
    assert len(found) == 1, operation
    return found[0]


@pytest.mark.attack("A69")
@pytest.mark.attack("A94")
async def test_an_id_of_another_brand_is_an_unknown_id_for_every_operation(server: Server, api: Api) -> None:
    """Alone, and among ids of the caller's own brand, of which nothing is changed then."""
    here, there = await furnish(server, api, "here"), await furnish(server, api, "there")
    callers = {"user": {"token": here.token}, "key": {"key": await make_key(server, here.brand, "admin")}}
    attacked = [one for one in await operations(server, here.brand) if "ID" in one.inputs().values()]
    assert len(attacked) >= 15
    before = await stored(server)
    for operation in attacked:
        for name, caller in callers.items():
            unknown = await api.send(*operation.request(id=UNKNOWN_ID, ids=[UNKNOWN_ID]), **caller)  # type: ignore[arg-type]
            for kind, foreign in there.ids.items():
                answer = await api.send(*operation.request(id=foreign, ids=[foreign]), **caller)  # type: ignore[arg-type]
                assert anonymised(answer) == anonymised(unknown), (operation, kind, name)
            if kind_of(operation) != "session" or name == "user":
                assert unknown.code == "NOT_FOUND" or unknown.data == {operation.name: None}, operation
    assert await stored(server) == before
    for operation in attacked:
        kind = kind_of(operation)
        own = await make_one(server, api, here.brand, here.admin, kind)
        if "ids" in operation.inputs():
            before = await stored(server)
            mixed = await api.send(*operation.request(ids=[own, there.ids.get(kind, UNKNOWN_ID)]), token=here.token)
            assert mixed.code == "NOT_FOUND", operation
            assert await stored(server) == before
        assert (await api.send(*operation.request(id=own, ids=[own]), token=here.token)).data[operation.name], operation


@pytest.mark.attack("A94")
async def test_no_answer_holds_anything_of_another_brand(server: Server, api: Api) -> None:
    here, there = await furnish(server, api, "here"), await furnish(server, api, "there")
    foreign = {*there.ids.values(), *there.names, there.admin.profile.email, "Ada of there", "there"}
    asked = 0
    for operation in await operations(server, here.brand):
        if operation.type_name == "Query" and not operation.is_open:
            query, variables = operation.request(whole_selection(operation.field.type), id=here.ids["user"])
            text = str((await api.send(query, variables, token=here.token)).body)
            assert not [name for name in foreign if name and f"'{name}'" in text], operation
            asked += 1
    assert asked >= 15


@pytest.mark.attack("A94")
async def test_names_of_another_brand_are_unknown_and_names_shared_with_it_are_ones_own(
    server: Server, api: Api
) -> None:
    here, there = await furnish(server, api, "here"), await furnish(server, api, "there")
    before = await stored(server)
    for operation in [one for one in await operations(server, here.brand) if "names" in one.inputs()]:
        for name in there.names:
            answer = await api.send(*operation.request(names=[name], allow_data_loss=True), token=here.token)
            assert answer.code == "NOT_FOUND", operation
    assert await stored(server) == before
    delete = 'mutation { deleteEntity(names: ["customer"], allow_data_loss: true) { data { success } } }'
    assert (await api.send(delete, token=here.token)).data
    theirs = await api.send("{ customerList { data { id } } }", token=there.token)
    assert theirs.data["customerList"]["data"] == [{"id": there.ids["customer"]}]


@pytest.mark.attack("A94")
async def test_one_address_is_two_users_in_two_brands(
    server: Server, api: Api, brand: ActiveBrand, other_brand: ActiveBrand, ann: User
) -> None:
    other = await make_user(server, other_brand, str(ann.profile.email), password="another long phrase")
    login = 'query($b: String, $p: String!) { login(email: "ann@example.com", brand: $b, password: $p) }'
    assert (await api.send(login, {"b": brand.name, "p": PASSWORD})).data
    assert (await api.send(login, {"b": other_brand.name, "p": PASSWORD})).code == "INVALID_CREDENTIALS"
    assert (await api.send(login, {"b": other_brand.name, "p": "another long phrase"})).data
    assert other.id != ann.id
