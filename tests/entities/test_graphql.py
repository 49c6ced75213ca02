"""What an entity adds to its brand's schema, asked for as clients ask."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from graphql import validate_schema

from keystead.context import ActiveBrand, Anonymous, Context, Server
from keystead.graphql.documents import DocumentCache
from keystead.graphql.executor.execute import Target, execute
from keystead.graphql.resolvers import load_resolvers
from keystead.graphql.resolvers.entities import load_entity_fields
from keystead.graphql.schema import load_fixed
from keystead.graphql.schema_cache import SchemaCache
from tests.entities.callers import ANN, current, key, user
from tests.make import make_context, make_entity

CREATE = """mutation ($input: CreateCustomerInput!) {
  createCustomer(input: $input) { data { id integer_id name status email created_at updated_at created_by } }
}"""
EVERY_TYPE = {
    f"a_{name}": {"type": name} | ({"values": ["a"]} if name == "enum" else {})
    for name in "string text integer float decimal boolean date datetime email url enum json uuid".split()
}


class Door:
    """GraphQL without HTTP: each request sees the schema of the brand as it is then."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._documents = DocumentCache()
        self._schemas = SchemaCache(load_fixed(load_resolvers()), partial(load_entity_fields, server.db))

    async def ask(self, ctx: Context, text: str, **variables: Any) -> dict[str, Any]:
        """The envelope."""
        assert ctx.brand is not None
        brand = await current(self._server, ctx.brand)
        now = Context(ctx.server, ctx.request, ctx.principal, brand)
        answer = await execute(Target(now, await self._schemas.get(brand)), text, variables, documents=self._documents)
        body: dict[str, Any] = msgspec.json.decode(answer.content)
        return body

    async def get(self, ctx: Context, text: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without errors."""
        body = await self.ask(ctx, text, **variables)
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    async def error(self, ctx: Context, text: str, **variables: Any) -> dict[str, Any]:
        """The extensions of the one error, without the reference."""
        (error,) = (await self.ask(ctx, text, **variables))["errors"]
        return {name: value for name, value in error["extensions"].items() if name != "referenceId"}


@pytest.fixture
def door(server: Server) -> Door:
    return Door(server)


@pytest.fixture
async def brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    return await make_entity(server, brand)


async def test_the_life_cycle_of_a_record(server: Server, brand: ActiveBrand, door: Door) -> None:
    ctx = user(server, brand, ANN, "read", "write")
    made = (await door.get(ctx, CREATE, input={"name": "Ann", "email": "ann@example.com"}))["createCustomer"]["data"]
    assert (made["integer_id"], made["status"], made["created_by"]) == (1, "active", ANN)
    assert made["created_at"] == made["updated_at"] == "2026-01-01T12:00:00.000000Z"
    listed = await door.get(
        ctx,
        """{ customerList(filter: {query: [], sortby: []}, pagination: { page: 1, per_page: 20 }) {
          data { id name } pagination { current_page per_page total last_page has_more_pages }
        } }""",
    )
    assert listed["customerList"] == {
        "data": [{"id": made["id"], "name": "Ann"}],
        "pagination": {"current_page": 1, "per_page": 20, "total": 1, "last_page": 1, "has_more_pages": False},
    }
    by_id = "query ($id: ID!) { customerById(id: $id) { data { name } } }"
    assert await door.get(ctx, by_id, id=made["id"]) == {"customerById": {"data": {"name": "Ann"}}}
    assert await door.get(ctx, by_id, id="nothing") == {"customerById": None}
    update = """mutation ($id: ID!, $name: String) {
      updateCustomer(input: {id: $id, name: $name}) { data { name email } } }"""
    changed = await door.get(ctx, update, id=made["id"], name="Anna")
    assert changed["updateCustomer"]["data"] == {"name": "Anna", "email": "ann@example.com"}
    assert await door.error(ctx, update, id="nothing", name="x") == {"code": "NOT_FOUND"}
    assert await door.error(ctx, update, id=made["id"], name=None) == {"code": "VALIDATION_ERROR", "field": "name"}
    delete = "mutation ($ids: [ID!]!) { deleteCustomer(ids: $ids) { data { success } } }"
    assert await door.error(ctx, delete, ids=[made["id"], "nothing"]) == {"code": "NOT_FOUND"}
    assert await door.get(ctx, delete, ids=[made["id"]]) == {"deleteCustomer": {"data": {"success": True}}}


async def test_the_refusals_name_what_is_wrong(server: Server, brand: ActiveBrand, door: Door) -> None:
    ctx, reader = key(server, brand, "read", "write"), key(server, brand, "read")
    await door.get(ctx, CREATE.replace("created_by", ""), input={"name": "Ann", "email": "ann@example.com"})
    taken = await door.error(ctx, CREATE, input={"name": "Ben", "email": "ann@example.com"})
    assert taken == {"code": "CONFLICT", "field": "email"}
    assert (await door.error(ctx, CREATE, input={}))["code"] == "BAD_USER_INPUT"
    assert (await door.error(ctx, CREATE, input={"name": "x", "id": "1"}))["code"] == "BAD_USER_INPUT"
    forbidden = await door.error(reader, CREATE, input={"name": "Ben"})
    assert forbidden == {"code": "FORBIDDEN", "permission": "customer:create"}
    notes = "{ customerList { data { name notes } } }"
    assert await door.error(reader, notes) == {"code": "FORBIDDEN", "permission": "admin"}
    anonymous = make_context(server, brand, Anonymous())
    assert await door.error(anonymous, notes) == {"code": "UNAUTHENTICATED"}
    page = await door.error(reader, "{ customerList(pagination: {per_page: 101}) { data { name } } }")
    assert page == {"code": "BAD_USER_INPUT", "field": "per_page"}
    sort = '{ customerList(filter: {sortby: [{field: "name"}]}) { data { name } } }'
    assert await door.error(reader, sort) == {"code": "BAD_USER_INPUT", "field": "filter"}


async def test_one_record_under_two_aliases(server: Server, brand: ActiveBrand, door: Door) -> None:
    ctx = key(server, brand, "read", "write")
    await door.get(ctx, CREATE, input={"name": "Ann"})
    answer = await door.get(
        ctx,
        """{ customerList { data { ...some called: name __typename } again: data { status } } }
        fragment some on Customer { integer_id }""",
    )
    assert answer["customerList"]["data"] == [{"integer_id": 1, "called": "Ann", "__typename": "Customer"}]
    assert answer["customerList"]["again"] == [{"status": "active"}]


async def test_every_type_goes_through_the_door(server: Server, brand: ActiveBrand, door: Door) -> None:
    after = await make_entity(server, brand, "thing", EVERY_TYPE)
    values = {
        "a_string": "s", "a_text": "t", "a_integer": 1, "a_float": 1.5, "a_decimal": "12.50", "a_boolean": True,
        "a_date": "2024-02-29", "a_datetime": "2024-01-01T00:00:00.000000Z", "a_email": "ann@example.com",
        "a_url": "https://example.com/", "a_enum": "a", "a_json": {"x": [1, None]}, "a_uuid": ANN,
    }  # fmt: skip
    assert set(values) == set(EVERY_TYPE)
    text = "mutation ($input: CreateThingInput!) { createThing(input: $input) { data { " + " ".join(values) + " } } }"
    assert (await door.get(key(server, after, "admin"), text, input=values))["createThing"]["data"] == values


async def test_the_schema_changes_by_the_next_request(server: Server, brand: ActiveBrand, door: Door) -> None:
    admin = key(server, brand, "admin")
    define = """mutation ($definition: JSON!, $dry: Boolean, $loss: Boolean) {
      defineEntity(definition: $definition, dry_run: $dry, allow_data_loss: $loss) {
        data { applied schema_version steps { entity field action rows_affected loses_data refused } }
      }
    }"""
    orders = {"order": {"fields": {"total": {"type": "decimal", "min": 0}}}}
    dry = await door.get(admin, define, definition=orders, dry=True)
    assert dry["defineEntity"]["data"]["applied"] is False
    assert (await door.error(admin, "{ orderList { data { total } } }"))["code"] == "GRAPHQL_VALIDATION_FAILED"
    plan = (await door.get(admin, define, definition=orders))["defineEntity"]["data"]
    assert plan == {
        "applied": True,
        "schema_version": brand.schema_version + 1,
        "steps": [
            {"entity": "order", "field": None, "action": "create_entity", "rows_affected": 0}
            | {"loses_data": False, "refused": None}
        ],
    }
    assert await door.get(admin, "{ orderList { data { total } } }") == {"orderList": {"data": []}}
    listed = await door.get(
        admin, "{ entityList { data { name definition record_count created_at } pagination { total } } }"
    )
    assert [one["name"] for one in listed["entityList"]["data"]] == ["customer", "order"]
    assert listed["entityList"]["data"][1]["definition"] == orders["order"]
    assert listed["entityList"]["data"][1]["record_count"] == 0
    wrong = {"order": {"fields": {"total": {"typ": "decimal"}}}}
    fault = {"code": "BAD_USER_INPUT", "field": "order.fields.total.typ"}
    assert await door.error(admin, define, definition=wrong) == fault
    delete = 'mutation { deleteEntity(names: ["order"]) { data { success } } }'
    assert await door.error(key(server, brand, "read"), delete) == {"code": "FORBIDDEN", "permission": "admin"}
    assert await door.get(admin, delete) == {"deleteEntity": {"data": {"success": True}}}
    assert (await door.error(admin, "{ orderList { data { total } } }"))["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_the_generated_schema_is_a_valid_one(server: Server, brand: ActiveBrand) -> None:
    after = await make_entity(server, brand, "customerOrder", EVERY_TYPE)
    cache = SchemaCache(load_fixed(load_resolvers()), partial(load_entity_fields, server.db))
    version = await cache.get(after)
    assert validate_schema(version.schema) == []
    assert {"customerOrderList", "customerOrderById"} <= set(version.schema.query_type.fields)  # type: ignore[union-attr]
    create = version.schema.type_map["CreateCustomerInput"]
    types = {name: str(field.type) for name, field in create.fields.items()}  # type: ignore[attr-defined]
    assert types == {"name": "String!"} | dict.fromkeys(("email", "status", "notes"), "String")
