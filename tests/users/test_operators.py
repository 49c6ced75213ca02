"""Operators: users of ``keystead`` with ``admin``, made by operators or on the command line only."""

from __future__ import annotations

import pytest

from keystead.brands import service as brands
from keystead.context import RESERVED_BRAND, ActiveBrand, Server
from keystead.errors import BadUserInput, Forbidden
from keystead.users import roles, service
from keystead.users.model import NewUser, UserChanges
from tests.api import make_api
from tests.make import (
    change_brand,
    make_access_token,
    make_api_key,
    make_role,
    make_session,
    make_user,
)
from tests.users.actors import acting

CREATE = """
mutation { createUser(input: { email: "eve@example.com", verified: true, permissions: ["admin"] }) { data { id } } }
"""


@pytest.fixture
async def keystead(server: Server) -> ActiveBrand:
    """The operators' brand."""
    found = await brands.find_active_by_name(server.db.reads, RESERVED_BRAND)
    assert found is not None
    return found


async def test_a_key_of_the_operators_brand_makes_no_operator(server: Server, keystead: ActiveBrand) -> None:
    key = acting(server, keystead, "admin")
    await make_role(server, keystead, "chief", "admin")
    user = await make_user(server, keystead, "bob@example.com")
    for attempt in (
        service.create_user(key, keystead, NewUser("eve@example.com", permissions=("admin",))),
        service.create_user(key, keystead, NewUser("eve@example.com", roles=("chief",))),
        service.update_user(key, keystead.id, user.id, UserChanges(permissions=("read", "admin"))),
        service.update_user(key, keystead.id, user.id, UserChanges(roles=("chief",))),
        roles.define_role(key, keystead.id, "assistants", ["admin"]),
    ):
        with pytest.raises(Forbidden) as refused:
            await attempt
        assert refused.value.extensions["permission"] == "operator"
    await service.update_user(key, keystead.id, user.id, UserChanges(permissions=("read",)))


async def test_an_operator_makes_another(server: Server, keystead: ActiveBrand) -> None:
    api = await make_api(server)
    operator = await make_user(server, keystead, permissions=("admin",))
    token = make_access_token(server, await make_session(server, keystead, operator.id))
    key = (await make_api_key(server, keystead, "admin"))[1].reveal()
    assert (await api.send(CREATE, key=key)).extensions["permission"] == "operator"
    assert (await api.send(CREATE, token=token, key=key)).data


async def test_default_permissions_make_no_operator(server: Server, keystead: ActiveBrand) -> None:
    with pytest.raises(BadUserInput) as refused:
        await change_brand(server, keystead, {"policy": {"default_permissions": ["read", "admin"]}})
    assert refused.value.extensions["field"] == "policy.default_permissions"
    changed = await change_brand(server, keystead, {"policy": {"default_permissions": ["read"]}})
    assert changed.policy.default_permissions == ("read",)
    operator = acting(server, keystead, "admin", "operator")
    await service.create_user(operator, keystead, NewUser("eve@example.com", permissions=("admin",)))
