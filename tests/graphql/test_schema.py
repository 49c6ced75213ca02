"""The fixed schema starts only when every field is guarded and answered; a brand's entities are added beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
    get_named_type,
    validate_schema,
)

from keystead.context import ActiveBrand, Context
from keystead.errors import Forbidden, ServerBusy, StartupError, Unauthenticated
from keystead.graphql.access import Access, BrandToken, Permission, Public, User
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import Registry, resolver
from keystead.graphql.schema import (
    EntityField,
    FixedSchema,
    SchemaVersion,
    build_schema_version,
    fixed_names,
    load_fixed,
)
from keystead.graphql.schema_cache import SchemaCache
from keystead.policy import BrandPolicy, Features, Preset
from tests.graphql.fakes import SDL, api_key, ask, brand_token, codes, context, fixed, registry, user


async def nothing(_ctx: Context, _args: dict[str, Any], _selection: Selection) -> Any:
    return None


def product() -> FixedSchema:
    """The product's schema, each field answered with null."""
    return load_fixed(dict.fromkeys(names(), nothing))


def names() -> set[str]:
    from graphql import build_schema

    from keystead.graphql.schema import fixed_text

    schema = build_schema(fixed_text())
    roots = (schema.query_type, schema.mutation_type)
    return {f"{root.name}.{name}" for root in roots if root for name in root.fields}


def entity(name: str = "customer", needs: str = "customer:read") -> list[EntityField]:
    """The fields of an entity with one open and one closed field."""
    record = GraphQLObjectType(
        "Customer",
        {
            "name": GraphQLField(GraphQLString),
            "notes": GraphQLField(GraphQLString, extensions={"access": Permission("admin")}),
        },
    )
    by_id = GraphQLField(record, {"id": GraphQLArgument(GraphQLNonNull(GraphQLString))})

    async def answer(_ctx: Context, _args: dict[str, Any], _selection: Selection) -> Any:
        return {"name": "Ada", "notes": "n"}

    return [EntityField("Query", f"{name}ById", by_id, Permission(needs), answer)]


def test_the_product_schema_is_valid_and_each_field_has_its_entry() -> None:
    schema = product()
    schema.version.schema.assume_valid = False
    schema.version.schema._validation_errors = None
    assert validate_schema(schema.version.schema) == []
    assert {f"{root}.{name}" for root, name in schema.version.fields} == names()
    entries = schema.version.fields
    assert entries[("Query", "me")].access == User()
    assert entries[("Query", "health")].access == Public()
    assert entries[("Mutation", "createMe")].access == BrandToken()
    assert entries[("Query", "brandList")].access == Permission("operator")


def _arguments(types: Mapping[str, Any]) -> Iterator[str]:
    for name, argument in types.items():
        yield name
        named = get_named_type(argument.type)
        if isinstance(named, GraphQLInputObjectType) and named.name != "FilterInput":
            yield from _arguments(named.fields)


def test_operations_that_take_or_return_secrets_are_marked() -> None:
    version = product().version
    takers = {
        name
        for root in product().roots.values()
        for name, field in root.items()
        if any("password" in argument.lower() or "token" in argument.lower() for argument in _arguments(field.args))
    }
    assert takers == {
        *("login", "getAccessToken", "refreshToken", "logout", "createUser"),
        *("changePassword", "resetPassword", "redeemMagicLink", "changeAndValidateEmail"),
    }
    # These take addresses or return tokens.
    others = "createMe changeEmailMagically requestMagicLogin requestPasswordReset createApiKey rotateApiKey"
    assert version.secret_names == takers | {*others.split(), "createPyloApiKey"}
    assert version.secret_names - version.alone_names == {"createUser", "logout"}


def test_the_names_of_the_fixed_schema_are_reserved() -> None:
    assert {"me", "apiKeyList", "createUser", "Brand", "User", "DateTime", "PaginationInput"} <= fixed_names()
    assert "customer" not in fixed_names()


@pytest.mark.parametrize("name", ["Query.me", "Mutation.add"])
def test_a_field_without_a_resolver_does_not_start(name: str) -> None:
    incomplete = registry()
    del incomplete[name]
    with pytest.raises(StartupError, match=name):
        load_fixed(incomplete, SDL)


def test_a_resolver_without_a_field_does_not_start() -> None:
    with pytest.raises(StartupError, match=r"Query\.stranger"):
        load_fixed({**registry(), "Query.stranger": nothing}, SDL)


@pytest.mark.parametrize(
    "directives", ["", "@public @user", '@permission(needs: "")', "@deprecated", '@public @permission(needs: "admin")']
)
def test_a_field_without_exactly_one_access_directive_does_not_start(directives: str) -> None:
    with pytest.raises(StartupError, match=r"Query\.words"):
        load_fixed(registry(), SDL.replace("words: [String!] @public", f"words: [String!] {directives}"))


def test_a_field_has_one_resolver() -> None:
    found: Registry = {}
    resolver("Query.a", "Query.b", registry=found)(nothing)
    assert set(found) == {"Query.a", "Query.b"}
    with pytest.raises(StartupError):
        resolver("Query.a", registry=found)(nothing)


@pytest.mark.parametrize(
    ("access", "refusals"),
    [
        (Public(), [None, None, None, None, None]),
        (BrandToken(), [Unauthenticated, None, None, None, None]),
        (User(), [Unauthenticated, Unauthenticated, Unauthenticated, None, None]),
        (Permission("read"), [Unauthenticated, Unauthenticated, Forbidden, Forbidden, None]),
        (Permission("operator"), [Unauthenticated, Unauthenticated, Forbidden, Forbidden, Forbidden]),
    ],
)
def test_each_rule_admits_and_refuses(access: Access, refusals: list[type[Exception] | None]) -> None:
    callers = [None, brand_token(), api_key("write"), user(), user("admin")]
    for caller, refusal in zip(callers, refusals, strict=True):
        if refusal is None:
            access.check(context(caller))
        else:
            with pytest.raises(refusal):
                access.check(context(caller))


async def test_an_entity_is_served_beside_the_fixed_fields() -> None:
    version = build_schema_version(fixed(), entity(), "b1:1")
    text = '{ customerById(id: "1") { name } me { id } }'
    status, body = await ask(version, text, ctx=context(api_key("customer:read")))
    assert (status, body["data"]) == (200, {"customerById": {"name": "Ada"}, "me": {"id": "person-1"}})
    status, body = await ask(version, text, ctx=context(api_key("customer:write")))
    assert (status, codes(body), body["data"]["me"]) == (200, ["FORBIDDEN"], {"id": "person-1"})
    assert body["errors"][0]["extensions"]["permission"] == "customer:read"


def test_an_entity_may_not_take_a_name_in_use() -> None:
    small = fixed()
    with pytest.raises(ValueError, match="in use"):
        build_schema_version(small, [EntityField("Query", "me", GraphQLField(GraphQLString), Public(), nothing)], "k")
    twin = GraphQLField(GraphQLObjectType("Person", {"id": GraphQLField(GraphQLString)}))
    with pytest.raises(ValueError, match="Person"):
        build_schema_version(small, [EntityField("Query", "people2", twin, Public(), nothing)], "k")


def test_fixed_types_are_shared_between_brands() -> None:
    small = fixed()
    one, two = (build_schema_version(small, entity(), f"b{i}:1") for i in (1, 2))
    assert one.schema.type_map["Person"] is two.schema.type_map["Person"] is small.types["Person"]
    assert one.serial != two.serial


def brand(number: int, version: int = 1) -> ActiveBrand:
    return ActiveBrand(f"b{number}", "shop", Preset.both, Features(), BrandPolicy(), version)


class Loader:
    """Loads a brand's entities when ``gate`` is open; the first loads fail with ``failures``."""

    def __init__(self, *failures: Exception) -> None:
        self.loads: list[tuple[str, int]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self._failures = list(failures)

    async def __call__(self, _fixed: FixedSchema, wanted: ActiveBrand) -> Iterable[EntityField]:
        self.loads.append((wanted.id, wanted.schema_version))
        await asyncio.sleep(0)
        if wanted.id in self.gates:
            await self.gates[wanted.id].wait()
        if self._failures:
            raise self._failures.pop(0)
        return entity()


async def test_the_cache_builds_a_version_once_and_drops_the_oldest() -> None:
    load, forgotten = Loader(), list[SchemaVersion]()
    cache = SchemaCache(fixed(), load, size=2, on_evict=forgotten.append)
    assert await cache.get(None) is cache.fixed.version
    first = await cache.get(brand(1))
    assert await cache.get(brand(1)) is first
    assert await cache.get(brand(1, version=2)) is not first
    second = await cache.get(brand(1, version=2))
    await cache.get(brand(1))
    await cache.get(brand(2))
    assert await cache.get(brand(1)) is first
    assert (len(cache), forgotten) == (2, [second])
    assert load.loads == [("b1", 1), ("b1", 2), ("b2", 1)]


async def test_of_one_brand_the_newest_two_versions_are_held() -> None:
    forgotten: list[SchemaVersion] = []
    cache = SchemaCache(fixed(), Loader(), on_evict=forgotten.append)
    other = await cache.get(brand(2))
    versions = [await cache.get(brand(1, version=number)) for number in range(1, 5)]
    assert forgotten == versions[:2]
    assert len(cache) == 3
    assert [await cache.get(brand(1, version=number)) for number in (3, 4)] == versions[2:]
    assert await cache.get(brand(2)) is other


async def test_requests_for_one_version_share_one_build() -> None:
    load, gate = Loader(), asyncio.Event()
    load.gates["b1"] = gate
    cache = SchemaCache(fixed(), load)
    waiting = [asyncio.ensure_future(cache.get(brand(1))) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    versions = await asyncio.gather(*waiting[1:])
    assert waiting[0].cancelled()
    assert (len(load.loads), len(set(versions))) == (1, 1)


async def test_a_build_that_fails_fails_its_requests_and_the_next_one_builds() -> None:
    cache = SchemaCache(fixed(), Loader(RuntimeError("database")))
    failed = await asyncio.gather(*(cache.get(brand(1)) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in failed] == [RuntimeError] * 3
    assert ("Query", "customerById") in (await cache.get(brand(1))).fields


async def test_a_schema_is_not_waited_for_without_end_and_other_brands_are_served() -> None:
    load, gate = Loader(), asyncio.Event()
    load.gates["b1"] = gate
    cache = SchemaCache(fixed(), load, build_timeout=0.05)
    with pytest.raises(ServerBusy):
        await cache.get(brand(1))
    assert (await cache.get(brand(2))).key == "b2:1"
    gate.set()
    assert (await cache.get(brand(1))).key == "b1:1"
