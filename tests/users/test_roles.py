"""Roles, and who becomes an operator."""

from __future__ import annotations

import pytest

from keystead.brands import service as brands
from keystead.context import RESERVED_BRAND, ActiveBrand, Context, Server
from keystead.errors import BadUserInput, Conflict, Forbidden, NotFound
from keystead.pagination import PageRequest
from keystead.users import roles, service
from keystead.users import service as users
from keystead.users.model import NewUser, UserChanges
from tests.api import make_api
from tests.make import change_brand, make_access_token, make_api_key, make_brand, make_role, make_session, make_user
from tests.users.actors import acting, audited


async def test_a_role_is_made_and_replaced(admin: Context, brand: ActiveBrand) -> None:
    await roles.define_role(admin, brand.id, "editor", ["write", "read", "read"])
    await roles.define_role(admin, brand.id, "editor", ["customer:read"])
    page = await roles.list_roles(admin, brand.id, PageRequest(), with_total=True)
    assert [(role.name, list(role.permissions)) for role in page.items] == [("editor", ["customer:read"])]
    assert page.total == 1
    assert await audited(admin, brand) == ["role.defined"] * 2


@pytest.mark.attack("A97")
async def test_a_change_of_a_role_takes_effect_immediately(server: Server, admin: Context, brand: ActiveBrand) -> None:
    await make_role(server, brand, "editor", "write")
    made = await make_user(server, brand, roles=("editor",))
    await roles.define_role(admin, brand.id, "editor", ["read"])
    assert list((await users.get_user(admin, brand.id, made.id)).profile.granted) == ["read"]
    await roles.delete_roles(admin, brand.id, ["editor"])
    profile = (await users.get_user(admin, brand.id, made.id)).profile
    assert (profile.roles, list(profile.granted)) == ((), [])


async def test_roles_are_listed_by_name_byte_by_byte(server: Server, admin: Context, brand: ActiveBrand) -> None:
    for name in ("b", "a_b", "aB", "a-b", "B", "ab"):
        await make_role(server, brand, name, "read")
    await make_role(server, await make_brand(server, "otherBrand"), "a", "read")
    page = await roles.list_roles(admin, brand.id, PageRequest(1, 4))
    assert [role.name for role in page.items] == ["B", "a-b", "aB", "a_b"]
    assert page.has_more_pages


@pytest.mark.parametrize("name", ["", "1st", "a b", "a.b", "é", "a\n", "x" * 49])
async def test_a_bad_name_is_refused(admin: Context, brand: ActiveBrand, name: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        await roles.define_role(admin, brand.id, name, ["read"])
    assert refused.value.extensions == {"field": "name"}


@pytest.mark.parametrize("permission", ["operator", "everything", "customer:read:all", ""])
async def test_an_unknown_permission_is_refused(admin: Context, brand: ActiveBrand, permission: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        await roles.define_role(admin, brand.id, "editor", [permission])
    assert refused.value.extensions == {"field": "permissions"}


async def test_a_caller_defines_no_role_beyond_its_permissions(server: Server, brand: ActiveBrand) -> None:
    writer = acting(server, brand, "write")
    await roles.define_role(writer, brand.id, "editor", ["customer:write"])
    with pytest.raises(Forbidden) as refused:
        await roles.define_role(writer, brand.id, "editor", ["customer:read"])
    assert refused.value.extensions == {"permission": "customer:read"}


async def test_all_roles_are_deleted_or_none(server: Server, admin: Context, brand: ActiveBrand) -> None:
    await make_role(server, brand, "editor", "write")
    await make_role(server, await make_brand(server, "otherBrand"), "reader", "read")
    with pytest.raises(NotFound):
        await roles.delete_roles(admin, brand.id, ["editor", "reader"])
    assert len((await roles.list_roles(admin, brand.id, PageRequest())).items) == 1
    await roles.delete_roles(admin, brand.id, ["editor"])
    assert (await roles.list_roles(admin, brand.id, PageRequest())).items == []
    assert await audited(admin, brand) == ["role.defined", "role.deleted"]


async def test_the_role_of_the_last_operator_stays(server: Server) -> None:
    keystead = await brands.find_active_by_name(server.db.reads, RESERVED_BRAND)
    assert keystead is not None
    await make_role(server, keystead, "chief", "admin")
    await make_user(server, keystead, roles=("chief",))
    ctx = acting(server, keystead, "admin")
    with pytest.raises(Conflict):
        await roles.define_role(ctx, keystead.id, "chief", ["read"])
    with pytest.raises(Conflict):
        await roles.delete_roles(ctx, keystead.id, ["chief"])


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
