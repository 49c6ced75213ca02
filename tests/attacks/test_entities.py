"""G7: names that an admin may give to entities and fields, and rows that a caller may not see."""

from __future__ import annotations

import keyword
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from keystead.context import ActiveBrand, Server
from keystead.entities.names import generated_names
from keystead.graphql.schema import fixed_names
from tests.api import Answer, Api
from tests.attacks.callers import anonymised, make_key, make_signed_in
from tests.attacks.stored import stored
from tests.attacks.surface import UNKNOWN_ID, operations
from tests.make import make_entity

DEFINE = """mutation($d: JSON!, $dry: Boolean = false) {
  defineEntity(definition: $d, dry_run: $dry) { data { applied steps { refused } } }
}"""
NAME = {"name": {"type": "string"}}

SQL_WORDS = sorted({*RESERVED_WORDS, "drop", "index", "insert", "update", "delete", "values", "rowid", "oid", "main"})
INJECTIONS = [
    '"; DROP TABLE users; --', "customer; --", "customer'--", 'a"b', "a`b", "a b", "a.b", "a-b", "a\\b", "a/b", "a%b",
    "a$b", "a(b)", "a\nb", "a\tb", "a\0b", " a", "a ", "", "1a", "_a", "__a", "__typename", "__schema", "__proto__",
]  # fmt: skip
UNICODE = [
    "kundé", "клиент", "顧客", "ａbc", "сustomer", "cuſtomer", "a\u200bb", "a\u202eb", "a\u0301", "ı", "😀", "a\u00a0b",
]  # fmt: skip
BAD_ENTITIES = [
    *(*INJECTIONS, *UNICODE, "Customer", "CUSTOMER", "customer_order", "a" * 49, "a" * 64, "a" * 1000),
    *("customerList", "customerById", "customerInput", "List", "ById"),
]
BAD_FIELDS = [
    *(*INJECTIONS, *UNICODE, "Name", "NAME", "firstName", "a__b", "a_", "_", "a" * 49, "a" * 64, "a_" * 40 + "a"),
    *("id", "integer_id", "created_at", "updated_at", "created_by", "customer_connect", "customer_disconnect"),
]


@pytest.fixture
async def admin(server: Server, brand: ActiveBrand) -> str:
    return await make_key(server, brand, "admin")


async def define(api: Api, key: str, name: str, fields: object = NAME, *, dry: bool = False) -> Answer:
    return await api.send(DEFINE, {"d": {name: {"fields": fields}}, "dry": dry}, key=key)


def is_refused(answer: Answer) -> bool:
    """By us, for the name; or, for what no text may hold, with the whole request."""
    return answer.code == "BAD_USER_INPUT" and answer.status in (200, 400)


@pytest.mark.attack("A95")
async def test_a_bad_name_of_an_entity_is_refused(server: Server, api: Api, admin: str) -> None:
    before = await stored(server)
    for name in BAD_ENTITIES:
        assert is_refused(await define(api, admin, name)), name
    assert await stored(server) == before
    assert (await define(api, admin, "a" * 48)).data["defineEntity"]["data"]["applied"]


@pytest.mark.attack("A95")
async def test_a_bad_name_of_a_field_is_refused(server: Server, api: Api, admin: str) -> None:
    before = await stored(server)
    for name in BAD_FIELDS:
        assert is_refused(await define(api, admin, "customer", {name: {"type": "string"}})), name
        assert is_refused(await define(api, admin, "customer", {**NAME, name: {"type": "string"}})), name
    assert await stored(server) == before
    fields = {"a" * 48: {"type": "string", "unique": True}, "a1_b2": {"type": "string"}}
    assert (await define(api, admin, "customer", fields)).data["defineEntity"]["data"]["applied"]


@pytest.mark.attack("A95")
async def test_no_entity_takes_a_name_of_the_fixed_schema(server: Server, api: Api, admin: str) -> None:
    """Every name that the fixed schema has, and every entity that would generate it."""
    taken = {name.lower(): name for name in fixed_names() if not name.startswith("__")}
    thieves = set()
    for name in taken.values():
        small = name[0].lower() + name[1:]
        for start in ("", "create", "update", "delete"):
            for end in ("", "List", "ById", "Response", "ListResponse", "Input"):
                thief = small.removeprefix(start).removesuffix(end)
                thief = thief[:1].lower() + thief[1:]
                if thief and not generated_names(thief).isdisjoint(taken):
                    thieves.add(thief)
    assert {"me", "user", "apiKey", "session", "brand", "entity", "role", "pyloUser", "auditEvent", "auth"} <= thieves
    before = await stored(server)
    for thief in sorted(thieves):
        assert is_refused(await define(api, admin, thief, dry=True)), thief
    assert is_refused(await define(api, admin, "user"))
    assert await stored(server) == before


@pytest.mark.attack("A95")
async def test_names_that_differ_in_case_alone_do_not_stand_side_by_side(server: Server, api: Api, admin: str) -> None:
    assert (await define(api, admin, "customerOrder")).data
    before = await stored(server)
    for twin in ("customerorder", "customerORDER", "customerOrdeR"):
        assert is_refused(await define(api, admin, twin)), twin
    both = {"shelfMark": {"fields": NAME}, "shelfmark": {"fields": NAME}}
    assert is_refused(await api.send(DEFINE, {"d": both}, key=admin))
    assert await stored(server) == before
    fields = '{fields: {n: {type: "text"}, n: {type: "text"}}}'
    literal = f"mutation {{ defineEntity(definition: {{a: {fields}}}) {{ data {{ applied }} }} }}"
    assert (await api.send(literal, key=admin)).status == 400
    twice = b'{"query": "{ __typename }", "variables": {"d": {"a": {}, "a": {}}}}'
    answer = await api.post(content=twice, headers={"content-type": "application/json"})
    assert (answer.status, answer.code) == (400, "BAD_USER_INPUT")


@pytest.mark.attack("A95")
async def test_a_word_of_sql_is_a_name_like_any_other(server: Server, api: Api, admin: str) -> None:
    """The patterns let many of them pass: then they are quoted, and work."""
    fields: dict[str, Any] = {word: {"type": "string", "indexed": True} for word in SQL_WORDS if word.isidentifier()}
    fields |= {word: {"type": "string"} for word in keyword.kwlist if word.islower()}
    made = {name: fields[name] for name in list(fields)[:100]}
    for entity in ("select", "order", "table", "group", "index"):
        assert (await define(api, admin, entity, made)).data["defineEntity"]["data"]["applied"]
        pascal = entity.capitalize()
        names = " ".join(made)
        create = f"mutation($i: Create{pascal}Input!) {{ create{pascal}(input: $i) {{ data {{ id {names} }} }} }}"
        record = (await api.send(create, {"i": dict.fromkeys(made, "x")}, key=admin)).data[f"create{pascal}"]["data"]
        record_id = record.pop("id")
        assert record == dict.fromkeys(made, "x")
        update = f"mutation($i: Update{pascal}Input!) {{ update{pascal}(input: $i) {{ data {{ select }} }} }}"
        assert (await api.send(update, {"i": {"id": record_id, "select": "'; --"}}, key=admin)).data
        listed = await api.send(f"{{ {entity}List {{ data {{ id select }} pagination {{ total }} }} }}", key=admin)
        assert listed.data[f"{entity}List"]["data"] == [{"id": record_id, "select": "'; --"}]
        delete = f"mutation($ids: [ID!]!) {{ delete{pascal}(ids: $ids) {{ data {{ success }} }} }}"
        assert (await api.send(delete, {"ids": [record_id]}, key=admin)).data


CREATE = 'mutation { createCustomer(input: {name: "Ada"}) { data { id } } }'


@pytest.mark.attack("A98")
async def test_a_row_one_may_not_see_is_a_row_that_does_not_exist(
    server: Server, api: Api, brand: ActiveBrand, admin: str
) -> None:
    shop = await make_entity(server, brand)
    own = ("customer:read:own", "customer:write:own")
    token, other = [(await make_signed_in(server, shop, *own))[1] for _ in range(2)]
    mine = (await api.send(CREATE, token=token)).data["createCustomer"]["data"]["id"]
    theirs = (await api.send(CREATE, token=other)).data["createCustomer"]["data"]["id"]
    ownerless = (await api.send(CREATE, key=admin)).data["createCustomer"]["data"]["id"]
    key = await make_key(server, shop, *own)
    before = await stored(server)
    attacked = [one for one in await operations(server, shop) if one.entity and "ID" in one.inputs().values()]
    assert len(attacked) >= 3
    for operation in attacked:
        for caller in ({"token": token}, {"key": key}):
            for given in ({}, {"name": "Eve"}, {"name": None}, {"email": "no address"}, {"status": "active"}):
                unknown = await api.send(*operation.request(id=UNKNOWN_ID, ids=[UNKNOWN_ID], **given), **caller)  # type: ignore[arg-type]
                for hidden in (theirs, ownerless):
                    answer = await api.send(*operation.request(id=hidden, ids=[hidden], **given), **caller)  # type: ignore[arg-type]
                    assert anonymised(answer) == anonymised(unknown), (operation, given)
                assert given or unknown.code == "NOT_FOUND" or unknown.data == {operation.name: None}
        unknown = await api.send(*operation.request(id=UNKNOWN_ID, ids=[UNKNOWN_ID]), token=token)
        for spelling in ("x", "", mine.upper(), mine.replace("-", ""), f"{{{mine}}}", f" {mine}", "é" * 36, "0" * 36):
            malformed = await api.send(*operation.request(id=spelling, ids=[spelling]), token=token)
            assert anonymised(malformed) == anonymised(unknown), spelling
        if "ids" in operation.inputs():
            mixed = await api.send(*operation.request(ids=[mine, theirs]), token=token)
            assert anonymised(mixed) == anonymised(unknown)
    assert await stored(server) == before
    listed = await api.send("{ customerList { data { id } pagination { total } } }", token=token)
    assert listed.data["customerList"] == {"data": [{"id": mine}], "pagination": {"total": 1}}
    listed = await api.send("{ customerList { data { id } pagination { total } } }", key=key)
    assert listed.data["customerList"] == {"data": [], "pagination": {"total": 0}}
    for operation in attacked:
        assert (await api.send(*operation.request(id=mine, ids=[mine]), token=token)).data[operation.name]


@pytest.mark.attack("A98")
async def test_a_row_that_may_be_changed_but_not_read_is_not_shown(
    server: Server, api: Api, brand: ActiveBrand, admin: str
) -> None:
    """Writing reaches every row, reading one's own alone: a result with more than the system fields needs both."""
    shop = await make_entity(server, brand)
    _, token = await make_signed_in(server, shop, "customer:write", "customer:read:own")
    theirs = (await api.send(CREATE, key=admin)).data["createCustomer"]["data"]["id"]
    update = 'mutation($id: ID!) { updateCustomer(input: {id: $id, name: "Eve"}) { data { %s } } }'
    before = await stored(server)
    hidden = await api.send(update % "id name", {"id": theirs}, token=token)
    unknown = await api.send(update % "id name", {"id": UNKNOWN_ID}, token=token)
    assert hidden.code == "NOT_FOUND"
    assert anonymised(hidden) == anonymised(unknown)
    assert await stored(server) == before
    assert (await api.send(update % "id updated_at", {"id": theirs}, token=token)).data
