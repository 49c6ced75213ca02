"""Users and roles through GraphQL."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Context, Server
from keystead.graphql.executor.execute import Target, execute
from keystead.graphql.resolvers import load_resolvers
from keystead.graphql.schema import FixedSchema, load_fixed
from tests.make import make_role, make_user

EVERYTHING = """id email username verified is_anonymous is_disabled roles permissions
                created_at updated_at last_login_at"""


@pytest.fixture(scope="module")
def fixed() -> FixedSchema:
    """The schema with the product's resolvers."""
    return load_fixed(load_resolvers())


async def ask(ctx: Context, fixed: FixedSchema, text: str, **variables: Any) -> dict[str, Any]:
    """The answer's data; fails when there is an error in it."""
    body = (await execute(Target(ctx, fixed.version), text, variables)).body
    assert "errors" not in body, body
    found: dict[str, Any] = body["data"]
    return found


async def refusal(ctx: Context, fixed: FixedSchema, text: str, **variables: Any) -> dict[str, Any]:
    """The extensions of the only error."""
    body = (await execute(Target(ctx, fixed.version), text, variables)).body
    (error,) = body["errors"]
    extensions: dict[str, Any] = error["extensions"]
    return extensions


async def test_a_user_is_created_shown_changed_and_deleted(
    server: Server, admin: Context, brand: ActiveBrand, fixed: FixedSchema
) -> None:
    await make_role(server, brand, "reader", "read")
    create = f"mutation ($input: CreateUserInput!) {{ createUser(input: $input) {{ data {{ {EVERYTHING} }} }} }}"
    new = {"email": "ann@example.com", "password": "rainbow123", "verified": True, "roles": ["reader"]}
    made = (await ask(admin, fixed, create, input=new))["createUser"]["data"]
    noon = "2026-01-01T12:00:00.000000Z"
    assert made == {
        "id": made["id"],
        "email": "ann@example.com",
        "username": None,
        "verified": True,
        "is_anonymous": False,
        "is_disabled": False,
        "roles": ["reader"],
        "permissions": ["read"],
        "created_at": noon,
        "updated_at": noon,
        "last_login_at": None,
    }
    for name in ("userById", "pyloUserById"):
        text = f"query ($id: ID!) {{ {name}(id: $id) {{ data {{ {EVERYTHING} }} }} }}"
        assert (await ask(admin, fixed, text, id=made["id"]))[name]["data"] == made
    update = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { data { username roles is_disabled } } }"
    changes = {"id": made["id"], "username": "Ann", "roles": None, "is_disabled": True}
    changed = (await ask(admin, fixed, update, input=changes))["updateUser"]["data"]
    assert changed == {"username": "Ann", "roles": ["reader"], "is_disabled": True}
    await ask(admin, fixed, update, input={"id": made["id"], "roles": []})
    nameless = (await ask(admin, fixed, update, input={"id": made["id"], "username": None}))["updateUser"]["data"]
    assert nameless == {"username": None, "roles": [], "is_disabled": True}
    delete = "mutation ($ids: [ID!]!) { deleteUser(ids: $ids) { data { success } } }"
    assert await ask(admin, fixed, delete, ids=[made["id"]]) == {"deleteUser": {"data": {"success": True}}}
    assert (await refusal(admin, fixed, delete, ids=[made["id"]]))["code"] == "NOT_FOUND"
    gone = "query ($id: ID!) { userById(id: $id) { data { id } } }"
    assert await ask(admin, fixed, gone, id=made["id"]) == {"userById": None}


@pytest.mark.parametrize("name", ["userList", "pyloUserList"])
async def test_users_are_listed(
    server: Server, admin: Context, brand: ActiveBrand, fixed: FixedSchema, name: str
) -> None:
    for letter in "abc":
        await make_user(server, brand, f"{letter}@example.com")
    text = f"""{{ {name}(pagination: {{ page: 2, per_page: 2 }}, filter: {{}}) {{
        data {{ email }} pagination {{ current_page per_page total last_page has_more_pages }} }} }}"""
    answer = (await ask(admin, fixed, text))[name]
    assert len(answer["data"]) == 1
    assert answer["pagination"] == {
        "current_page": 2,
        "per_page": 2,
        "total": 3,
        "last_page": 2,
        "has_more_pages": False,
    }


async def test_a_filter_is_refused_rather_than_ignored(admin: Context, fixed: FixedSchema) -> None:
    text = '{ userList(filter: { query: [{ condition: { field: "email", operator: isNull } }] }) { data { id } } }'
    refused = await refusal(admin, fixed, text)
    assert (refused["code"], refused["field"]) == ("BAD_USER_INPUT", "filter")


async def test_roles_are_defined_listed_and_deleted(admin: Context, fixed: FixedSchema) -> None:
    define = 'mutation { defineRole(input: { name: "editor", permissions: ["write", "read"] }) { data { name } } }'
    assert await ask(admin, fixed, define) == {"defineRole": {"data": {"name": "editor"}}}
    listed = (await ask(admin, fixed, "{ roleList { data { name permissions } pagination { total } } }"))["roleList"]
    assert listed == {"data": [{"name": "editor", "permissions": ["read", "write"]}], "pagination": {"total": 1}}
    delete = 'mutation { deleteRole(names: ["editor"]) { data { success } } }'
    assert await ask(admin, fixed, delete) == {"deleteRole": {"data": {"success": True}}}
    assert (await refusal(admin, fixed, delete))["code"] == "NOT_FOUND"
