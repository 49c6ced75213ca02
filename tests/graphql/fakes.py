"""A small schema with every shape that completion knows, its resolvers, and callers of each kind."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from keystead.context import (
    Anonymous,
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Context,
    Principal,
    RequestDetails,
    Server,
    UserPrincipal,
)
from keystead.errors import Conflict, RateLimited, ServiceUnavailable
from keystead.graphql.documents import DocumentCache
from keystead.graphql.executor.execute import Target, execute
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import Registry, resolver
from keystead.graphql.schema import FixedSchema, SchemaVersion, load_fixed
from keystead.permissions import PermissionSet

SDL = """
directive @public on FIELD_DEFINITION
directive @brandToken on FIELD_DEFINITION
directive @user on FIELD_DEFINITION
directive @permission(needs: String!) on FIELD_DEFINITION
directive @secret(alone: Boolean = true) on FIELD_DEFINITION
scalar Date
scalar DateTime
scalar JSON
scalar FilterValue
enum Colour { red green }
input PaginationInput { page: Int = 1 per_page: Int = 20 }
input ConditionInput {
  field: String! value: FilterValue values: [FilterValue!] colour: Colour = red and: [ConditionInput!]
}
type Person {
  id: ID! name: String! nickname: String age: Int height: Float is_tall: Boolean! colour: Colour born: Date
  seen: DateTime
  notes: JSON friend: Person boss: Person! friends: [Person!]! rivals: [Person] tags: [String!]! grid: [[Int]]
  orders(pagination: PaginationInput, minimum: Int = 0): OrderList
}
type Order { id: ID! total: String! owner: Person }
type OrderList { data: [Order!]! pagination: Pagination! }
type Pagination { total: Int! has_more_pages: Boolean! }
type PersonList { data: [Person!]! pagination: Pagination! }
type Echo { text: String }
type Query {
  me: Person @public
  person(id: ID!): Person @public
  people(pagination: PaginationInput, where: ConditionInput, tags: [String!] = ["a"]): PersonList @public
  echo(
    int: Int = 3, float: Float, yes: Boolean, json: JSON, at: DateTime, day: Date, any: FilterValue,
    colour: Colour, names: [String!], where: ConditionInput
  ): Echo @public
  words: [String!] @public
  twins: [Person] @public
  must: String! @public
  holed: Person @public
  crash: String @public
  busy: String @public
  limited: String @public
  slow: String @public
  big: String @public
  refused: String @public
  secret: String @permission(needs: "admin")
  mine: String @user
  ours: String @brandToken
  login(email: String!, brand: String, password: String!): String @public @secret
}
type Mutation {
  login(email: String!, password: String!): String @public @secret
  add(n: Int!): Int @public
  getAccessToken(refreshToken: String!, expiresIn: Int): String @public @secret
}
"""

DENIED = "person-3"


def person(index: int, depth: int = 3) -> dict[str, Any]:
    """A person whose every third value is null where it may be."""
    below = person(index + 1, depth - 1) if depth else None
    return {
        "id": f"person-{index}",
        "name": f"Name {index}",
        "nickname": None if index % 3 == 0 else "Nick",
        "age": index * 7,
        "height": 1.5 + index,
        "is_tall": index % 2 == 0,
        "colour": ("red", "green", None)[index % 3],
        "born": date(2000, 1, 1 + index),
        "seen": datetime(2024, 1, 1, 12, 30, index, 1500, tzinfo=UTC),
        "notes": {"any": [1, None, {"x": "y"}]},
        "friend": below,
        "boss": below,
        "friends": [below] if below else [],
        "rivals": [None, below],
        "tags": ["a", "b"],
        "grid": [[1, None], None, []],
        "orders": {"data": [{"id": "o1", "total": "9.50", "owner": below}], "pagination": PAGES},
    }


PAGES = {"total": 1, "has_more_pages": False}


def under_keys(value: dict[str, Any], selection: Selection) -> dict[str, Any]:
    """The value with its fields that take arguments under their response keys as well."""
    answer = dict(value)
    for selected in selection.fields:
        below = selection.child(selected.name)
        member = value.get(selected.name)
        if selected.selection is not None and below is not None:
            if isinstance(member, dict):
                member = under_keys(member, selected.selection if selected.name == "orders" else below)
            elif isinstance(member, list):
                member = [under_keys(one, below) if isinstance(one, dict) else one for one in member]
        answer[selected.key if selected.name == "orders" else selected.name] = member
    return answer


def registry() -> Registry:
    """Fresh resolvers for ``SDL``."""
    found: Registry = {}
    constants: dict[str, Any] = {
        "Query.words": ["x", "y"], "Query.must": "there", "Query.secret": "the plans", "Query.mine": "mine",
        "Query.ours": "ours", "Query.login": "ks_rt_query", "Mutation.login": "ks_rt_mutation",
        "Mutation.getAccessToken": "token", "Query.big": "x" * 1_100_000,
    }  # fmt: skip
    for name, constant in constants.items():

        async def answer(_ctx: Context, _args: dict[str, Any], _selection: Selection, value: Any = constant) -> Any:
            return value

        resolver(name, registry=found)(answer)
    for name, error in {
        "Query.crash": ZeroDivisionError("SELECT password FROM users"),
        "Query.busy": ServiceUnavailable(retry_after=7, cause="connection refused by 10.0.0.1"),
        "Query.limited": RateLimited(retry_after=30),
        "Query.refused": Conflict(field="email"),
    }.items():

        async def fail(_ctx: Context, _args: dict[str, Any], _s: Selection, problem: Exception = error) -> Any:
            raise problem

        resolver(name, registry=found)(fail)

    @resolver("Query.me", registry=found)
    async def me(_ctx: Context, _args: dict[str, Any], selection: Selection) -> Any:
        return under_keys(person(1), selection)

    @resolver("Query.holed", registry=found)
    async def holed(_ctx: Context, _args: dict[str, Any], selection: Selection) -> Any:
        return under_keys(person(1) | {"name": None, "age": 2**40, "tags": ["a", None]}, selection)

    @resolver("Query.person", registry=found)
    async def by_id(_ctx: Context, args: dict[str, Any], selection: Selection) -> Any:
        return None if args["id"] == DENIED else under_keys(person(2), selection)

    @resolver("Query.people", registry=found)
    async def people(_ctx: Context, _args: dict[str, Any], selection: Selection) -> Any:
        return under_keys({"data": [person(1), person(2)], "pagination": PAGES}, selection)

    @resolver("Query.twins", registry=found)
    async def twins(_ctx: Context, _args: dict[str, Any], selection: Selection) -> Any:
        return [under_keys(person(4), selection), None]

    @resolver("Query.echo", registry=found)
    async def echo(_ctx: Context, args: dict[str, Any], _selection: Selection) -> Any:
        return {"text": repr(sorted(args.items()))}

    @resolver("Mutation.add", registry=found)
    async def add(_ctx: Context, args: dict[str, Any], _selection: Selection) -> Any:
        return args["n"] + 1

    @resolver("Query.slow", registry=found)
    async def slow(ctx: Context, _args: dict[str, Any], _selection: Selection) -> Any:
        await cast("Any", ctx.server).forever.wait()

    return found


def fixed() -> FixedSchema:
    """The small schema, joined to its resolvers."""
    return load_fixed(registry(), SDL)


def context(principal: Principal | None = None, **settings: Any) -> Context:
    """A request by ``principal``, to a server with these settings."""
    import asyncio

    server = SimpleNamespace(
        settings=SimpleNamespace(**{"introspection": "public", **settings}), forever=asyncio.Event(), denials=None
    )
    return Context(cast("Server", server), RequestDetails("ref-1"), principal or Anonymous())


def user(*permissions: str) -> UserPrincipal:
    """A signed-in user with these permissions."""
    return UserPrincipal("b1", "u1", "s1", cast("Any", "pair"), PermissionSet(permissions), cast("Any", None))


def api_key(*permissions: str) -> ApiKeyPrincipal:
    """An API key with these permissions."""
    return ApiKeyPrincipal("b1", "k1", PermissionSet(permissions), False)


def brand_token() -> BrandTokenPrincipal:
    """A brand token."""
    return BrandTokenPrincipal("b1", "t1")


async def ask(
    version: SchemaVersion,
    text: str,
    variables: dict[str, Any] | None = None,
    *,
    ctx: Context | None = None,
    name: str | None = None,
    deadline: float = 5.0,
) -> tuple[int, dict[str, Any]]:
    """The status and the envelope that a document gets, as the wire has it."""
    target = Target(ctx or context(), version)
    answer = await execute(target, text, variables, name, documents=DocumentCache(), deadline=deadline)
    body: dict[str, Any] = msgspec.json.decode(answer.content)
    assert body == msgspec.json.decode(msgspec.json.encode(answer.body))
    return answer.status, body


def codes(body: dict[str, Any]) -> list[str]:
    """The codes of the errors in an envelope."""
    return [error["extensions"]["code"] for error in body.get("errors", [])]
