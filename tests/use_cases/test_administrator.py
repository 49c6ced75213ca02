"""The administrator of a brand: its people, their roles, and what happened."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.api import Answer, Api
from tests.make import PASSWORD, make_entity, make_user
from tests.use_cases.people import (
    ADMIN,
    ANN,
    LOGIN,
    create_me,
    get_access_token,
    is_signed_out,
    log_in,
    try_refresh,
)

CREATE_USER = """mutation ($input: CreateUserInput!) {
    createUser(input: $input) { data { id email verified roles permissions } }
}"""
UPDATE_USER = """mutation ($input: UpdateUserInput!) {
    updateUser(input: $input) { data { id username is_disabled roles permissions } }
}"""
DELETE_USER = "mutation ($ids: [ID!]!) { deleteUser(ids: $ids) { data { success } } }"
DEFINE_ROLE = "mutation ($input: RoleInput!) { defineRole(input: $input) { data { name permissions } } }"
DELETE_ROLE = "mutation ($names: [String!]!) { deleteRole(names: $names) { data { success } } }"
PERMISSIONS = "{ me { permissions } }"
CUSTOMERS = "{ customerList { data { id } } }"
EVENTS = """{ auditEventList(pagination: { per_page: 100 }) {
    data { id at event outcome reason actor_kind actor_id subject_id session_id ip_prefix request_id details }
    pagination { total }
} }"""


@pytest.fixture
async def auth(api: Api, admin: User) -> str:
    """The administrator's access token."""
    return (await log_in(api, ADMIN)).auth


async def test_a_new_colleague_logs_in(api: Api, auth: str) -> None:
    new = {"email": "Bob@Example.com", "password": "violet indigo blue", "verified": True, "permissions": ["read"]}
    made = (await api.send(CREATE_USER, {"input": new}, token=auth)).data["createUser"]["data"]
    assert (made["email"], made["verified"], made["permissions"]) == ("Bob@Example.com", True, ["read"])
    tokens = await log_in(api, "bob@example.com", "violet indigo blue")
    assert (await api.send("{ me { id permissions } }", token=tokens.auth)).data == {
        "me": {"id": made["id"], "permissions": ["read"]}
    }
    again = await api.send(CREATE_USER, {"input": new | {"email": "bob@example.com"}}, token=auth)
    assert (again.code, again.extensions["field"]) == ("CONFLICT", "email")


async def test_an_unverified_user_cannot_log_in_where_verification_is_required(
    api: Api, auth: str, brand: ActiveBrand
) -> None:
    new = {"email": "bob@example.com", "password": PASSWORD}
    assert (await api.send(CREATE_USER, {"input": new}, token=auth)).data
    login = {"input": {"email": "bob@example.com", "password": PASSWORD}}
    assert (await api.send(LOGIN, login)).code == "INVALID_CREDENTIALS"
    off = "mutation { updateBrand(input: { features: { email_verification: false } }) { data { id } } }"
    assert (await api.send(off, token=auth)).data
    new = {"email": "cleo@example.com", "password": PASSWORD}
    assert (await api.send(CREATE_USER, {"input": new}, token=auth)).data
    assert await log_in(api, "cleo@example.com")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "password1"}, "password"),
        ({"roles": ["an undefined role"]}, "roles"),
        ({"permissions": ["no such thing!"]}, "permissions"),
    ],
)
async def test_invalid_input_names_the_field_and_creates_no_user(
    api: Api, auth: str, change: dict[str, Any], field: str
) -> None:
    new = {"email": "bob@example.com", "password": PASSWORD, **change}
    refused = await api.send(CREATE_USER, {"input": new}, token=auth)
    assert (refused.status, refused.code) == (200, "BAD_USER_INPUT")
    assert refused.extensions["field"].startswith(field)
    listed = await api.send("{ userList { data { email } } }", token=auth)
    assert listed.data["userList"]["data"] == [{"email": ADMIN}]


async def test_a_role_takes_effect_on_the_next_request(
    api: Api, server: Server, brand: ActiveBrand, auth: str, ann: User
) -> None:
    await make_entity(server, brand)
    hers = (await log_in(api)).auth
    _lacks(await api.send(CUSTOMERS, token=hers), "customer:read")
    role = {"name": "support", "permissions": ["customer:read"]}
    assert (await api.send(DEFINE_ROLE, {"input": role}, token=auth)).data["defineRole"]["data"] == role
    given = await api.send(UPDATE_USER, {"input": {"id": ann.id, "roles": ["support"]}}, token=auth)
    assert given.data["updateUser"]["data"]["roles"] == ["support"]
    assert (await api.send(CUSTOMERS, token=hers)).data
    wider = {"name": "support", "permissions": ["customer:read", "customer:write"]}
    await api.send(DEFINE_ROLE, {"input": wider}, token=auth)
    held = (await api.send(PERMISSIONS, token=hers)).data["me"]["permissions"]
    assert held == ["customer:read", "customer:write"]
    assert (await api.send(DELETE_ROLE, {"names": ["support"]}, token=auth)).data
    _lacks(await api.send(CUSTOMERS, token=hers), "customer:read")
    assert (await api.send("{ roleList { data { name } } }", token=auth)).data == {"roleList": {"data": []}}


async def test_a_disabled_user_is_signed_out_immediately_and_cannot_log_in(api: Api, auth: str, ann: User) -> None:
    hers = await log_in(api)
    disabled = await api.send(UPDATE_USER, {"input": {"id": ann.id, "is_disabled": True}}, token=auth)
    assert disabled.data["updateUser"]["data"]["is_disabled"] is True
    assert await is_signed_out(api, hers.auth)
    assert (await try_refresh(api, hers.refresh)).code == "REFRESH_TOKEN_INVALID"
    login = {"input": {"email": ANN, "password": PASSWORD}}
    assert (await api.send(LOGIN, login)).code == "INVALID_CREDENTIALS"
    await api.send(UPDATE_USER, {"input": {"id": ann.id, "is_disabled": False}}, token=auth)
    assert await is_signed_out(api, hers.auth), "the old sessions do not come back"
    assert await log_in(api)


async def test_a_deleted_user_is_gone(api: Api, auth: str, ann: User) -> None:
    hers = (await log_in(api)).auth
    assert (await api.send(DELETE_USER, {"ids": [ann.id, "unknown"]}, token=auth)).code == "NOT_FOUND"
    assert not await is_signed_out(api, hers)
    assert (await api.send(DELETE_USER, {"ids": [ann.id]}, token=auth)).data
    assert await is_signed_out(api, hers)
    by_id = "query ($id: ID!) { userById(id: $id) { data { id } } }"
    assert (await api.send(by_id, {"id": ann.id}, token=auth)).data == {"userById": None}


async def test_anonymous_users_are_listed_too(api: Api, auth: str, brand_token: str) -> None:
    token = await get_access_token(api, await create_me(api, brand_token))
    me = (await api.send("{ me { id } }", token=token)).data["me"]["id"]
    listed = await api.send("{ userList { data { id is_anonymous } pagination { total } } }", token=auth)
    assert {"id": me, "is_anonymous": True} in listed.data["userList"]["data"]
    assert listed.data["userList"]["pagination"]["total"] == 2


async def test_users_cannot_administer_users(api: Api, auth: str, ann: User, admin: User) -> None:
    hers = (await log_in(api)).auth
    attempts: list[tuple[str, dict[str, Any]]] = [
        (CREATE_USER, {"input": {"email": "eve@example.com", "permissions": ["admin"]}}),
        (UPDATE_USER, {"input": {"id": ann.id, "permissions": ["admin"]}}),
        (DELETE_USER, {"ids": [admin.id]}),
        (DEFINE_ROLE, {"input": {"name": "boss", "permissions": ["admin"]}}),
        ("{ userList { data { id } } }", {}),
        ("{ roleList { data { name } } }", {}),
        (EVENTS, {}),
    ]
    for text, variables in attempts:
        _lacks(await api.send(text, variables, token=hers), "admin")
    assert (await api.send(PERMISSIONS, token=hers)).data == {"me": {"permissions": []}}


async def test_users_of_another_brand_are_not_found(
    api: Api, server: Server, brand_token: str, admin: User, other_brand: ActiveBrand
) -> None:
    auth = (await log_in(api, ADMIN, brand=brand_token)).auth
    stranger = await make_user(server, other_brand, "stranger@example.com")
    by_id = "query ($id: ID!) { userById(id: $id) { data { id } } }"
    assert (await api.send(by_id, {"id": stranger.id}, token=auth)).data == {"userById": None}
    change = {"input": {"id": stranger.id, "is_disabled": True}}
    assert (await api.send(UPDATE_USER, change, token=auth)).code == "NOT_FOUND"
    assert (await api.send(DELETE_USER, {"ids": [stranger.id]}, token=auth)).code == "NOT_FOUND"


async def test_the_audit_log_lists_the_changes(api: Api, auth: str, ann: User, admin: User) -> None:
    tokens = await log_in(api)
    await api.send(LOGIN, {"input": {"email": ANN, "password": "wrong password"}})
    await api.send(UPDATE_USER, {"input": {"id": ann.id, "permissions": ["read"]}}, token=auth)
    await api.send("mutation { logout { data { success } } }", token=tokens.auth)
    answer = await api.send(EVENTS, token=auth)
    events = answer.data["auditEventList"]["data"]
    told = [(event["event"], event["outcome"], event["actor_id"], event["subject_id"]) for event in events]
    assert ("user.updated", "success", admin.id, ann.id) in told
    assert ("session.opened", "success", None, ann.id) in told
    assert ("session.ended", "success", ann.id, ann.id) in told
    (refused,) = (event for event in events if event["outcome"] == "refused")
    assert (refused["event"], refused["actor_kind"], refused["subject_id"]) == ("login.refused", "anonymous", ann.id)
    assert {event["ip_prefix"] for event in events if event["actor_kind"] != "system"} == {"192.0.2.7"}
    assert [event["at"] for event in events] == sorted((event["at"] for event in events), reverse=True)
    for secret in (PASSWORD, "wrong password", tokens.auth, tokens.refresh, ANN):
        assert secret not in str(answer.body)


def _lacks(answer: Answer, permission: str) -> None:
    assert (answer.status, answer.code, answer.extensions["permission"]) == (200, "FORBIDDEN", permission)
