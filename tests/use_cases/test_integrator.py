"""Who connects other software: record types, API keys with just enough permission, keys for public pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database
from keystead.users.model import User
from tests.api import Answer, Api, make_api
from tests.clocks import ManualClock
from tests.make import CUSTOMER, SETTINGS, make_api_key, make_server
from tests.use_cases.people import ADMIN, log_in

SHOP = "https://shop.example.com"

DEFINE = """mutation ($definition: JSON!, $dry: Boolean, $loss: Boolean) {
    defineEntity(definition: $definition, dry_run: $dry, allow_data_loss: $loss) {
        data { applied schema_version steps { entity field action loses_data refused } }
    }
}"""
CREATE_KEY = """mutation ($input: CreateApiKeyInput!) {
    createApiKey(input: $input) { data { id name token permissions publishable allowed_origins hint } }
}"""
LIST = "{ customerList { data { id name } pagination { total } } }"
CREATE = "mutation ($input: CreateCustomerInput!) { createCustomer(input: $input) { data { %s } } }"
UPDATE = "mutation ($input: UpdateCustomerInput!) { updateCustomer(input: $input) { data { %s } } }"
DELETE = "mutation ($ids: [ID!]!) { deleteCustomer(ids: $ids) { data { success } } }"
ACME = {"input": {"name": "Acme"}}


class Desk:
    """The administrator's desk: what they do for the integrator."""

    def __init__(self, api: Api, auth: str) -> None:
        self.api, self.auth = api, auth

    async def ask(self, text: str, variables: dict[str, Any] | None = None) -> Answer:
        """Anything, as the administrator."""
        return await self.api.send(text, variables, token=self.auth)

    async def define(self, fields: dict[str, Any], name: str = "customer", **options: bool) -> dict[str, Any]:
        """The plan that ``defineEntity`` answers with."""
        answer = await self.ask(DEFINE, {"definition": {name: {"fields": fields}}, **options})
        plan: dict[str, Any] = answer.data["defineEntity"]["data"]
        return plan

    async def key(self, *permissions: str, **more: Any) -> dict[str, Any]:
        """A new API key, with its token."""
        made = await self.ask(CREATE_KEY, {"input": {"name": "a key", "permissions": permissions, **more}})
        key: dict[str, Any] = made.data["createApiKey"]["data"]
        return key

    async def token(self, *permissions: str, **more: Any) -> str:
        """The token alone."""
        token: str = (await self.key(*permissions, **more))["token"]
        return token


@pytest.fixture
async def desk(api: Api, admin: User) -> Desk:
    """The administrator, signed in; the entity ``customer`` is defined."""
    desk = Desk(api, (await log_in(api, ADMIN)).auth)
    plan = await desk.define(CUSTOMER)
    assert plan["applied"], plan
    return desk


# ------------------------------------------------------------------------------------------------- record types


async def test_an_entity_is_served_by_the_next_request(api: Api, desk: Desk, ann: User) -> None:
    orders = "{ orderList { data { id total } } }"
    unknown = await desk.ask(orders)
    assert (unknown.status, unknown.code) == (400, "GRAPHQL_VALIDATION_FAILED")
    dry = await desk.define({"total": {"type": "decimal", "min": 0}}, "order", dry=True)
    assert (dry["applied"], [step["action"] for step in dry["steps"]]) == (False, ["create_entity"])
    assert (await desk.ask(orders)).status == 400
    applied = await desk.define({"total": {"type": "decimal", "min": 0}}, "order")
    assert applied["applied"]
    assert (await desk.ask(orders)).data == {"orderList": {"data": []}}
    refused = await api.send(DEFINE, {"definition": {"order": {"fields": {}}}}, token=(await log_in(api)).auth)
    assert (refused.code, refused.extensions["permission"]) == ("FORBIDDEN", "admin")


async def test_a_field_with_values_is_dropped_only_on_demand(desk: Desk) -> None:
    await desk.ask(CREATE % "id", {"input": {"name": "Acme", "email": "a@example.com"}})
    smaller = {name: rule for name, rule in CUSTOMER.items() if name != "email"}
    refused = await desk.define(smaller)
    (step,) = refused["steps"]
    assert (refused["applied"], step["field"], step["loses_data"]) == (False, "email", True)
    assert step["refused"]
    assert (await desk.ask("{ customerList { data { email } } }")).data["customerList"]["data"] == [
        {"email": "a@example.com"}
    ]
    assert (await desk.define(smaller, loss=True))["applied"]
    assert (await desk.ask("{ customerList { data { email } } }")).status == 400
    assert (await desk.ask(LIST)).data["customerList"]["pagination"]["total"] == 1


async def test_an_entity_is_deleted(desk: Desk) -> None:
    await desk.ask(CREATE % "id", ACME)
    delete = (
        'mutation ($loss: Boolean) { deleteEntity(names: ["customer"], allow_data_loss: $loss) { data { success } } }'
    )
    refused = await desk.ask(delete)
    assert refused.errors
    assert (await desk.ask(LIST)).data["customerList"]["pagination"]["total"] == 1
    assert (await desk.ask(delete, {"loss": True})).data == {"deleteEntity": {"data": {"success": True}}}
    assert (await desk.ask(LIST)).status == 400


async def test_a_broken_rule_is_named(desk: Desk) -> None:
    for given, code, field in [
        ({"name": "x" * 201}, "VALIDATION_ERROR", "name"),
        ({"name": "Acme", "email": "not an address"}, "VALIDATION_ERROR", "email"),
        ({"name": "Acme", "status": "gone"}, "VALIDATION_ERROR", "status"),
    ]:
        refused = await desk.ask(CREATE % "id", {"input": given})
        assert (refused.status, refused.code, refused.extensions["field"]) == (200, code, field), given
    missing = await desk.ask(CREATE % "id", {"input": {}})
    assert (missing.status, missing.code) == (400, "BAD_USER_INPUT")
    one = {"input": {"name": "Acme", "email": "a@example.com"}}
    assert (await desk.ask(CREATE % "status", one)).data["createCustomer"]["data"] == {"status": "active"}
    taken = await desk.ask(CREATE % "id", one)
    assert (taken.code, taken.extensions["field"]) == ("CONFLICT", "email")
    assert (await desk.ask(LIST)).data["customerList"]["pagination"]["total"] == 1


async def test_records_come_in_pages(desk: Desk) -> None:
    for number in range(5):
        await desk.ask(CREATE % "id", {"input": {"name": f"Customer {number}"}})
    page = """query ($page: Int, $size: Int) {
        customerList(pagination: { page: $page, per_page: $size }) {
            data { name integer_id }
            pagination { current_page per_page total last_page has_more_pages }
        }
    }"""
    last = (await desk.ask(page, {"page": 3, "size": 2})).data["customerList"]
    assert last == {
        "data": [{"name": "Customer 4", "integer_id": 5}],
        "pagination": {"current_page": 3, "per_page": 2, "total": 5, "last_page": 3, "has_more_pages": False},
    }
    for size in (0, 101):
        assert (await desk.ask(page, {"page": 1, "size": size})).code == "BAD_USER_INPUT"


async def test_a_filter_is_not_silently_ignored(desk: Desk) -> None:
    refused = await desk.ask(
        '{ customerList(filter: { query: [{ condition: { field: "name", operator: equal, value: "x" } }] })'
        " { data { id } } }"
    )
    assert (refused.code, refused.extensions["field"]) == ("BAD_USER_INPUT", "filter")


# -------------------------------------------------------------------------------------- just enough permission


async def test_a_key_has_its_permissions_and_no_others(api: Api, desk: Desk) -> None:
    await desk.define({"total": {"type": "decimal"}}, "order")
    reader = await desk.token("customer:read")
    assert (await api.send(LIST, key=reader)).data["customerList"]["data"] == []
    attempts: list[tuple[str, dict[str, Any] | None, str]] = [
        (CREATE % "id", ACME, "customer:create"),
        (UPDATE % "id", {"input": {"id": "x", "name": "y"}}, "customer:update"),
        (DELETE, {"ids": ["x"]}, "customer:delete"),
        ("{ orderList { data { id } } }", None, "order:read"),
        ("{ userList { data { id } } }", None, "admin"),
        ("{ customerList { data { notes } } }", None, "admin"),
    ]
    for operation, variables, missing in attempts:
        refused = await api.send(operation, variables, key=reader)
        assert (refused.status, refused.code, refused.extensions["permission"]) == (200, "FORBIDDEN", missing)
    assert (await api.send("{ me { id } }", key=reader)).code == "UNAUTHENTICATED", "a key is no user"


async def test_write_does_not_mean_read(api: Api, desk: Desk) -> None:
    writer = await desk.token("write")
    refused = await api.send(CREATE % "id name", ACME, key=writer)
    assert (refused.code, refused.extensions["permission"]) == ("FORBIDDEN", "customer:read")
    assert (await desk.ask(LIST)).data["customerList"]["pagination"]["total"] == 0, "refused before it was written"
    made = (await api.send(CREATE % "id integer_id created_at updated_at", ACME, key=writer)).data
    named = {"id": made["createCustomer"]["data"]["id"]}
    assert (await api.send(LIST, key=writer)).code == "FORBIDDEN"
    assert (await api.send(UPDATE % "id", {"input": named | {"name": "B"}}, key=writer)).data
    assert (await api.send(DELETE, {"ids": [named["id"]]}, key=writer)).data


async def test_unknown_records_are_not_found(desk: Desk) -> None:
    for unknown in ("019b796d-d600-7000-8000-000000000000", "no id at all"):
        by_id = await desk.ask("query ($id: ID!) { customerById(id: $id) { data { id } } }", {"id": unknown})
        assert by_id.data == {"customerById": None}
        assert (await desk.ask(UPDATE % "id", {"input": {"id": unknown, "name": "x"}})).code == "NOT_FOUND"
        assert (await desk.ask(DELETE, {"ids": [unknown]})).code == "NOT_FOUND"
    made = (await desk.ask(CREATE % "id", ACME)).data["createCustomer"]["data"]["id"]
    assert (await desk.ask(DELETE, {"ids": [made, "no id at all"]})).code == "NOT_FOUND"
    assert (await desk.ask(LIST)).data["customerList"]["pagination"]["total"] == 1, "nothing was deleted"


async def test_records_and_schema_stay_in_their_brand(
    api: Api, server: Server, desk: Desk, other_brand: ActiveBrand
) -> None:
    grey = (await make_api_key(server, other_brand, "admin"))[1].reveal()
    assert (await api.send(LIST, key=grey)).status == 400, "the other brand has no such entity"
    mine = await desk.token("read")
    assert (await api.send(LIST, key=mine)).data


async def test_own_rows_are_hidden_from_other_users(api: Api, desk: Desk, ann: User) -> None:
    own = {"input": {"id": ann.id, "permissions": ["customer:read:own", "customer:write:own"]}}
    give = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { data { id } } }"
    assert (await desk.ask(give, own)).data
    await desk.ask(CREATE % "id", {"input": {"name": "Not hers"}})
    auth = (await log_in(api)).auth
    assert (await api.send(CREATE % "name", {"input": {"name": "Hers"}}, token=auth)).data
    seen = (await api.send(LIST, token=auth)).data["customerList"]
    assert ([row["name"] for row in seen["data"]], seen["pagination"]["total"]) == (["Hers"], 1)


async def test_a_secret_key_narrows_what_a_user_may_do(api: Api, desk: Desk) -> None:
    reader = await desk.token("customer:read")
    assert (await api.send(LIST, token=desk.auth, key=reader)).data
    refused = await api.send(CREATE % "id", ACME, token=desk.auth, key=reader)
    assert refused.code == "FORBIDDEN"
    assert (await api.send(CREATE % "id", ACME, token=desk.auth)).data


async def test_a_publishable_key_widens_what_a_user_may_do(api: Api, desk: Desk, ann: User) -> None:
    page = await desk.token("customer:read", publishable=True)
    auth = (await log_in(api)).auth
    assert (await api.send(LIST, token=auth)).code == "FORBIDDEN"
    assert (await api.send("{ me { email } customerList { data { id } } }", token=auth, key=page)).data
    assert (await api.send(CREATE % "id", ACME, token=auth, key=page)).code == "FORBIDDEN"


# --------------------------------------------------------------------------------------------- the life of a key


async def test_a_key_is_shown_once_renamed_rotated_and_deleted(api: Api, desk: Desk, clock: ManualClock) -> None:
    made = await desk.key("read", name="CI")
    by_id = "query ($id: ID!) { apiKeyById(id: $id) { data { name token hint } } }"
    shown = (await desk.ask(by_id, {"id": made["id"]})).data["apiKeyById"]["data"]
    assert shown == {"name": "CI", "token": None, "hint": made["hint"]}
    assert made["token"].endswith(made["hint"][-4:])
    rename = "mutation ($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { data { name token } } }"
    renamed = await desk.ask(rename, {"input": {"id": made["id"], "name": "CD"}})
    assert renamed.data["updateApiKey"]["data"] == {"name": "CD", "token": None}
    rotate = "mutation ($id: ID!) { rotateApiKey(id: $id, overlap_seconds: 60) { data { token } } }"
    fresh = (await desk.ask(rotate, {"id": made["id"]})).data["rotateApiKey"]["data"]["token"]
    assert (await api.send(LIST, key=made["token"])).data
    assert (await api.send(LIST, key=fresh)).data
    clock.advance(seconds=60)
    assert (await api.send(LIST, key=made["token"])).status == 401
    assert (await api.send(LIST, key=fresh)).data
    delete = "mutation ($ids: [ID!]!) { deleteApiKey(ids: $ids) { data { success } } }"
    assert (await desk.ask(delete, {"ids": [made["id"]]})).data
    gone = await api.send(LIST, key=fresh)
    assert (gone.status, gone.code) == (401, "UNAUTHORIZED")


async def test_a_key_expires_only_when_asked_to(api: Api, desk: Desk, clock: ManualClock) -> None:
    forever = await desk.token("read")
    until = (clock.now() + timedelta(days=1)).isoformat()
    brief = await desk.token("read", expires_at=until)
    assert (await api.send(LIST, key=brief)).data
    clock.advance(days=1)
    assert (await api.send(LIST, key=brief)).status == 401
    assert (await api.send(LIST, key=forever)).data


async def test_a_key_never_holds_more_than_its_maker(api: Api, desk: Desk) -> None:
    narrow = await desk.token("admin")
    made = await api.send(CREATE_KEY, {"input": {"name": "x", "permissions": ["read"]}}, key=narrow)
    assert made.data["createApiKey"]["data"]["permissions"] == ["read"]
    modest = await desk.token("read", "write")
    refused = await api.send(CREATE_KEY, {"input": {"name": "x", "permissions": ["read"]}}, key=modest)
    assert refused.code == "FORBIDDEN"


# --------------------------------------------------------------------------------------------------- public pages


async def test_a_publishable_key_reads_from_its_own_pages_only(api: Api, desk: Desk) -> None:
    page = await desk.token("customer:read", publishable=True, allowed_origins=[SHOP])
    assert page.startswith("ks_pk_")
    assert (await api.send(LIST, key=page, headers={"Origin": SHOP})).data
    for elsewhere in ({"Origin": "https://evil.example.com"}, {"Origin": f"{SHOP}.evil.example"}, {}):
        refused = await api.send(LIST, key=page, headers=elsewhere)
        assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert (await api.send(CREATE % "id", ACME, key=page, headers={"Origin": SHOP})).code == "FORBIDDEN"


@pytest.mark.parametrize("permission", ["write", "admin", "customer:write"])
async def test_a_publishable_key_cannot_be_made_to_write(desk: Desk, permission: str) -> None:
    asked = {"name": "page", "permissions": ["read", permission], "publishable": True}
    assert (await desk.ask(CREATE_KEY, {"input": asked})).code == "FORBIDDEN"


async def test_cors_preflight(server: Server, db: Database, clock: ManualClock) -> None:
    open_to_shop = replace(SETTINGS, cors_origins=(SHOP,))
    api = await make_api(await make_server(db, clock, settings=open_to_shop))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "pylo-api-key, content-type"}
    allowed = await api.http.options("/graphql", headers={"Origin": SHOP, **asked})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == SHOP
    names = {name.strip() for name in allowed.headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "content-type", "pylo-api-key", "x-api-key", "yoli-brand-authorization"} <= names
    assert "access-control-allow-credentials" not in allowed.headers
    foreign = await api.http.options("/graphql", headers={"Origin": "https://evil.example.com", **asked})
    assert foreign.status_code == 204
    assert "access-control-allow-origin" not in foreign.headers
    answered = await api.send("{ health { data { up } } }", headers={"Origin": SHOP})
    assert answered.headers["access-control-allow-origin"] == SHOP


async def test_no_foreign_origin_is_allowed_by_default(api: Api, brand: ActiveBrand) -> None:
    preflight = await api.http.options("/graphql", headers={"Origin": SHOP, "Access-Control-Request-Method": "POST"})
    assert "access-control-allow-origin" not in preflight.headers
    answered = await api.send("{ health { data { up } } }", headers={"Origin": SHOP})
    assert "access-control-allow-origin" not in answered.headers
