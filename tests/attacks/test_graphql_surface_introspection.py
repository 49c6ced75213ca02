"""G6: who sees which part of the schema, and that no error tells the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from graphql import get_introspection_query

from keystead.context import ActiveBrand, Server
from tests.api import Answer, Api, make_api
from tests.attacks.callers import make_key, sign_in
from tests.attacks.surface import operations
from tests.make import make_entity

SETTINGS = ("public", "authenticated", "admin")
ALLOWED = {
    "anonymous": {"public"},
    "brand token": {"public"},
    "user": {"public", "authenticated"},
    "key": {"public", "authenticated"},
    "publishable key": {"public", "authenticated"},
    "user who is admin": {"public", "authenticated", "admin"},
    "key that is admin": {"public", "authenticated", "admin"},
    "admin with a lesser key": {"public", "authenticated"},
}
QUESTIONS = {
    "schema": "{ __schema { queryType { name } } }",
    "type": '{ __type(name: "Me") { name } }',
    "aliased": "{ me: __schema { types { name } } }",
    "in a fragment": '{ ...F } fragment F on Query { ... on Query { __type(name: "User") { name } } }',
    "beside others": "{ health { data { up } } __schema { types { name } } }",
    "by a variable": "query($v: Boolean = true) { __schema @include(if: $v) { types { name } } }",
    "by the tools": get_introspection_query(),
}
TYPENAMES = ("{ __typename }", "{ a: __typename health { __typename data { __typename up } } }")


@dataclass(frozen=True)
class Node:
    """An application with one of the three settings, and those who call it."""

    api: Api
    setting: str
    callers: dict[str, dict[str, str]]


@pytest.fixture
async def shop(server: Server, brand: ActiveBrand) -> ActiveBrand:
    return await make_entity(server, await make_entity(server, brand), "invoice", {"total": {"type": "decimal"}})


@pytest.fixture(params=SETTINGS)
async def node(request: pytest.FixtureRequest, server: Server, shop: ActiveBrand, brand_token: str) -> Node:
    set_up = replace(server, settings=replace(server.settings, introspection=request.param))
    admin, lesser = await sign_in(server, shop, "admin"), await make_key(server, shop, "read")
    callers = {
        "anonymous": {},
        "brand token": {"brand": brand_token},
        "user": {"token": await sign_in(server, shop, "customer:read")},
        "key": {"key": await make_key(server, shop, "invoice:read", "invoice:create")},
        "publishable key": {"key": await make_key(server, shop, "invoice:read", is_publishable=True)},
        "user who is admin": {"token": admin},
        "key that is admin": {"key": await make_key(server, shop, "admin")},
        "admin with a lesser key": {"token": admin, "key": lesser},
    }
    return Node(await make_api(set_up), request.param, callers)


async def ask(node: Node, caller: str, query: str, **variables: Any) -> Answer:
    return await node.api.send(query, variables, **node.callers[caller])  # type: ignore[arg-type]


@pytest.mark.attack("A83")
async def test_the_setting_says_who_may_ask_about_the_schema(node: Node) -> None:
    for caller, settings in ALLOWED.items():
        for name, query in QUESTIONS.items():
            answer = await ask(node, caller, query)
            if node.setting in settings:
                assert answer.data, (caller, name)
            else:
                is_known = caller not in ("anonymous", "brand token")
                expected = "FORBIDDEN" if is_known else "UNAUTHENTICATED"
                assert (answer.status, answer.code) == (200, expected), (caller, name)
                shown = {key: value for key, value in (answer.body["data"] or {}).items() if key != "health"}
                assert set(shown.values()) <= {None}
                assert not [name for name in ("Query", "Mutation", "Me", "User") if f"'{name}'" in str(answer.body)]
        for query in TYPENAMES:
            assert (await ask(node, caller, query)).data


@pytest.mark.attack("A83")
async def test_an_entity_that_the_caller_may_not_read_does_not_appear(
    node: Node, server: Server, shop: ActiveBrand
) -> None:
    seen = {
        "anonymous": set(), "brand token": set(), "user": {"customer"}, "key": {"invoice"},
        "publishable key": {"invoice"},
        "admin with a lesser key": {"customer", "invoice"}, "user who is admin": {"customer", "invoice"},
        "key that is admin": {"customer", "invoice"},
    }  # fmt: skip
    by_entity: dict[str, set[str]] = {"customer": set(), "invoice": set()}
    for operation in await operations(server, shop):
        if operation.entity:
            by_entity[operation.entity].add(operation.name)
    for caller, settings in ALLOWED.items():
        if node.setting not in settings:
            continue
        whole = (await ask(node, caller, get_introspection_query())).data["__schema"]
        text = str(whole).lower()
        for entity, names in by_entity.items():
            is_seen = entity in seen[caller]
            assert (entity in text) == is_seen, (caller, entity)
            for type_name in (
                entity.capitalize(),
                f"Create{entity.capitalize()}Input",
                f"{entity.capitalize()}Response",
            ):
                if not is_seen:
                    question = "query($n: String!) { __type(name: $n) { name fields { name } } }"
                    hidden = await ask(node, caller, question, n=type_name)
                    absent = await ask(node, caller, question, n="NoSuchType")
                    assert hidden.body == absent.body == {"data": {"__type": None}}
            assert is_seen or not [name for name in names if name.lower() in text], (caller, entity)


@pytest.mark.attack("A83")
async def test_only_what_the_caller_may_do_appears(node: Node) -> None:
    """Operation by operation, and field by field."""
    question = "query($n: String!) { __type(name: $n) { fields { name } inputFields { name } } }"

    async def names(caller: str, type_name: str) -> set[str] | None:
        found = (await ask(node, caller, question, n=type_name)).data["__type"]
        return None if found is None else {one["name"] for one in found["fields"] or found["inputFields"]}

    if node.setting != "admin":
        queries, mutations = await names("key", "Query") or set(), await names("key", "Mutation") or set()
        assert {"invoiceList", "invoiceById"} <= queries
        assert "createInvoice" in mutations
        assert not {"updateInvoice", "deleteInvoice", "createCustomer"} & mutations
        assert "notes" not in (await names("user", "Customer") or ())
        assert {"name", "email", "id"} <= (await names("user", "Customer") or set())
        assert await names("user", "CreateCustomerInput") is None
    admin = "user who is admin"
    assert "notes" in (await names(admin, "Customer") or ())
    assert "notes" in (await names(admin, "CreateCustomerInput") or ())
    assert {"updateInvoice", "deleteInvoice", "createCustomer"} <= (await names(admin, "Mutation") or set())


MISSPELLED = [
    ("{ custmerList { data { id } } }", "customerList"), ("{ customerLst { data { id } } }", "customerList"),
    ("{ customerList { dat { id } } }", "data"), ("{ customerList { data { nam } } }", "name"),
    ("{ customerList { data { note } } }", "notes"),
    ("{ customerList(paginatio: {page: 1}) { data { id } } }", "pagination"),
    ("{ customerList(pagination: {pge: 1}) { data { id } } }", "page"),
    ("{ customerList(pagination: {perpage: 1}) { data { id } } }", "per_page"),
    ("mutation { createCustmer(input: {}) { data { id } } }", "createCustomer"),
    ('mutation { createCustomer(input: {name: "a", note: "b"}) { data { id } } }', "notes"),
    ('mutation { createCustomer(input: {nam: "a"}) { data { id } } }', "'name'"),
    ('{ invoiceList(filter: {sortby: {field: "x", order: dsc}}) { data { id } } }', "'desc'"),
    ('{ userList(filter: {query: [{condition: {field: "a", operator: equl}}]}) { data { id } } }', "equal"),
    ("query($p: PaginatonInput) { customerList(pagination: $p) { data { id } } }", "PaginationInput"),
    ("{ ... on Qury { health { data { up } } } }", "Query"),
    ("{ ...F } fragment F on Qurey { health { data { up } } }", "Query"),
    ("{ customerList { data { ... on Custmer { id } } } }", "Customer"),
    ("{ health { data @inclde(if: true) { up } } }", "include"),
    ("{ health { data @include(iff: true) { up } } }", "'if'"),
    ("{ ...Fragmnt ...Fragment } fragment Fragment on Query { health { data { up } } }", "'Fragment'"),
    ("query($page: Int) { customerList(pagination: {page: $page, per_page: $pge}) { data { id } } }", "$page"),
    ("{ me { emial usernam } }", "username"), ("mutation { lgoin(input: {}) { data { auth_token } } }", "login"),
]  # fmt: skip
MISSPELLED_VALUES: list[tuple[str, dict[str, Any], str]] = [
    ("query($p: PaginationInput) { customerList(pagination: $p) { data { id } } }", {"p": {"pge": 1}}, "'page'"),
    ("query($f: FilterInput) { customerList(filter: $f) { data { id } } }", {"f": {"sortBy": []}}, "sortby"),
    (
        "query($f: FilterInput) { customerList(filter: $f) { data { id } } }",
        {"f": {"sortby": [{"field": "name", "order": "dsc"}]}},
        "desc",
    ),
    ("mutation($i: CreateCustomerInput!) { createCustomer(input: $i) { data { id } } }", {"i": {"nmae": "a"}}, "notes"),
    (
        "mutation($i: CreateCustomerInput!) { createCustomer(input: $i) { data { id } } }",
        {"i": {"name": "a", "note": "b"}},
        "notes",
    ),
]


@pytest.mark.attack("A84")
async def test_a_misspelled_name_earns_no_suggestion(server: Server, api: Api, shop: ActiveBrand) -> None:
    """Neither in the document nor in a variable."""
    keys = [None, await make_key(server, shop, "invoice:read"), await make_key(server, shop, "admin")]
    documents: list[tuple[str, dict[str, Any], str, str]] = [
        (query, {}, meant, "GRAPHQL_VALIDATION_FAILED") for query, meant in MISSPELLED
    ]
    for query, variables, meant, code in [*documents, *((*one, "BAD_USER_INPUT") for one in MISSPELLED_VALUES)]:
        for key in keys if code == "GRAPHQL_VALIDATION_FAILED" else (None, keys[2]):
            answer = await api.send(query, variables, key=key)
            assert (answer.status, answer.code) == (400, code), query
            text = str([error["message"] for error in answer.errors])
            assert "did you mean" not in text.lower(), text
            assert meant not in text, text
    assert (await api.send(MISSPELLED_VALUES[0][0], {"p": {"page": 1}}, key=await make_key(server, shop, "read"))).data
