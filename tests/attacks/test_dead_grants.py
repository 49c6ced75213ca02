"""A107: grants on an entity that is deleted and defined again; permissions that name no entity."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from tests.api import Api
from tests.attacks.callers import make_key, make_signed_in
from tests.make import make_entities, make_role

DEFINE = "mutation($d: JSON!) { defineEntity(definition: $d) { data { applied } } }"
DELETE = """mutation($dry: Boolean) {
  deleteEntity(names: ["payroll"], dry_run: $dry) {
    data { success steps { entity records roles users api_keys default_permissions } }
  }
}"""
READ = "{ payrollList { data { salary } } }"
WRITE = 'mutation { createPayroll(input: { salary: "9" }) { data { id } } }'


@pytest.mark.attack("A107")
async def test_old_grants_open_no_new_entity(server: Server, api: Api, brand: ActiveBrand) -> None:
    shop = await make_entities(server, brand, "payroll")
    admin = await make_key(server, shop, "admin")
    await make_role(server, shop, "readers", "payroll:read")
    callers: list[dict[str, Any]] = [
        {"token": (await make_signed_in(server, shop, "payroll:read", "payroll:write"))[1]},
        {"token": (await make_signed_in(server, shop, roles=("readers",)))[1]},
        {"key": await make_key(server, shop, "payroll:read", is_publishable=True)},
        {"key": await make_key(server, shop, "payroll:write", "payroll:read")},
    ]
    lost = {"entity": "payroll", "records": 0, "roles": 1, "users": 1, "api_keys": 2, "default_permissions": 0}
    for is_dry in (True, False):
        answer = await api.send(DELETE, {"dry": is_dry}, key=admin)
        assert answer.data == {"deleteEntity": {"data": {"success": not is_dry, "steps": [lost]}}}
    fields = {"salary": {"type": "string"}}
    assert (await api.send(DEFINE, {"d": {"payroll": {"fields": fields}}}, key=admin)).data
    assert (await api.send(WRITE, key=admin)).data
    for caller in callers:
        for document in (READ, WRITE):
            assert (await api.send(document, **caller)).code == "FORBIDDEN", caller
