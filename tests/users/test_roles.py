"""Roles, operators, and the last administrator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keystead.brands import service as brands
from keystead.context import RESERVED_BRAND, RESERVED_BRAND_ID, ActiveBrand, Context, Server
from keystead.db.interface import Database
from keystead.errors import BadUserInput, Conflict, Forbidden, NotFound
from keystead.pagination import PageRequest
from keystead.users import roles, service
from keystead.users import service as users
from keystead.users.grants import rights_guard
from keystead.users.model import NewUser, User, UserChanges
from tests.api import make_api
from tests.make import (
    change_brand,
    make_access_token,
    make_api_key,
    make_brand,
    make_caller,
    make_context,
    make_role,
    make_session,
    make_user,
)
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


async def test_a_key_removes_no_last_operator(server: Server, keystead: ActiveBrand) -> None:
    await make_role(server, keystead, "chief", "admin")
    chief = await make_user(server, keystead, roles=("chief",))
    second = await make_user(server, keystead, "bob@example.com", permissions=("admin",))
    ctx = acting(server, keystead, "admin")
    await service.update_user(ctx, keystead.id, second.id, UserChanges(is_disabled=True))
    for attempt in (
        roles.define_role(ctx, keystead.id, "chief", ["read"]),
        roles.delete_roles(ctx, keystead.id, ["chief"]),
        service.delete_users(ctx, keystead.id, [chief.id]),
        service.update_user(ctx, keystead.id, chief.id, UserChanges(is_disabled=True)),
        service.update_user(ctx, keystead.id, chief.id, UserChanges(roles=())),
    ):
        with pytest.raises(Conflict):
            await attempt
    await service.delete_users(ctx, keystead.id, [second.id])
    await service.delete_users(make_context(server, keystead), keystead.id, [chief.id])


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


Act = Callable[[Context, ActiveBrand, User], Awaitable[Any]]


async def _undo_defaults(ctx: Context, brand: ActiveBrand, _: User) -> Any:
    changes = {"policy": {"default_permissions": ["read"]}}
    return await brands.update_brand(ctx, brand.id, changes, guard=lambda tx: rights_guard(tx, brand.id, ctx.principal))


def _update(**changes: Any) -> Act:
    return lambda ctx, brand, user: service.update_user(ctx, brand.id, user.id, UserChanges(**changes))


def _delete(ctx: Context, brand: ActiveBrand, user: User) -> Awaitable[Any]:
    return service.delete_users(ctx, brand.id, [user.id])


ACTS: dict[str, tuple[str, Act]] = {
    "deletes": ("directly", _delete),
    "disables": ("directly", _update(is_disabled=True)),
    "takes the permission": ("directly", _update(permissions=("read",))),
    "takes the role": ("by role", _update(roles=())),
    "redefines the role": ("by role", lambda ctx, brand, _: roles.define_role(ctx, brand.id, "chief", ["read"])),
    "deletes the role": ("by role", lambda ctx, brand, _: roles.delete_roles(ctx, brand.id, ["chief"])),
    "undoes the defaults": ("by default", _undo_defaults),
}


HOMES = ("a brand", "the reserved brand")


async def make_admin(server: Server, brand: ActiveBrand, how: str, email: str) -> User:
    if how == "by role":
        await make_role(server, brand, "chief", "admin")
        return await make_user(server, brand, email, roles=("chief",))
    if how == "by default":
        await change_brand(server, brand, {"policy": {"default_permissions": ["admin"]}})
        return await make_user(server, brand, email)
    return await make_user(server, brand, email, permissions=("admin",))


async def acting_as(server: Server, brand: ActiveBrand, user: User) -> Context:
    return await make_caller(server, await make_session(server, brand, user.id))


@pytest.fixture(params=HOMES)
async def home(server: Server, brand: ActiveBrand, request: pytest.FixtureRequest) -> ActiveBrand:
    """Where the administrators are."""
    reserved = await brands.find_active_by_name(server.db.reads, RESERVED_BRAND_ID)
    assert reserved is not None
    return brand if request.param == "a brand" else reserved


@pytest.mark.parametrize(
    ("home", "act"),
    [
        (home, act)
        for home in HOMES
        for act, (how, _) in ACTS.items()
        if (home, how) != ("the reserved brand", "by default")  # admin is no default permission there
    ],
    indirect=["home"],
)
async def test_the_last_administrator_stays(server: Server, home: ActiveBrand, act: str) -> None:
    how, carry_out = ACTS[act]
    boss = await make_admin(server, home, how, "boss@example.com")
    # None of these can log in as an administrator.
    if how != "by default":
        await make_user(server, home, "reader@example.com", permissions=("read",))
        off = await make_user(server, home, "off@example.com", permissions=("admin",))
        system = make_context(server, home)
        await service.update_user(system, home.id, off.id, UserChanges(is_disabled=True))
        await service.create_user(system, home, NewUser("unverified@example.com", permissions=("admin",)))
    ctx = await acting_as(server, home, boss)
    before = await service.get_user(ctx, home.id, boss.id)
    with pytest.raises(Conflict, match=r"last .* first"):
        await carry_out(ctx, home, boss)
    assert await service.get_user(ctx, home.id, boss.id) == before
    await make_user(server, home, "second@example.com", permissions=("admin",))
    await carry_out(ctx, home, boss)


@pytest.mark.parametrize("act", ACTS)
async def test_a_key_and_the_command_line_may(server: Server, brand: ActiveBrand, act: str) -> None:
    """Neither locks itself out: both can make another administrator."""
    how, carry_out = ACTS[act]
    for number, ctx in enumerate((acting(server, brand, "admin"), make_context(server, brand))):
        await carry_out(ctx, brand, await make_admin(server, brand, how, f"boss{number}@example.com"))


@pytest.mark.race
@pytest.mark.parametrize("act", ["deletes", "disables", "takes the permission"])
async def test_two_who_remove_each_other_concurrently_leave_one(
    server: Server, home: ActiveBrand, db: Database, act: str
) -> None:
    _, carry_out = ACTS[act]
    for _ in range(5):
        pair = [await make_user(server, home, f"{name}@example.com", permissions=("admin",)) for name in "ab"]
        ctxs = [await acting_as(server, home, user) for user in pair]
        barrier = asyncio.Barrier(2)

        async def remove(actor: Context, target: User, barrier: asyncio.Barrier = barrier) -> bool:
            await barrier.wait()
            try:
                await carry_out(actor, home, target)
            except Conflict:
                return False
            return True

        done = await asyncio.gather(remove(ctxs[0], pair[1]), remove(ctxs[1], pair[0]))
        assert sorted(done) == [False, True]
        assert await service.has_admin(ctxs[0], home.id)
        await service.delete_users(
            make_context(server, home), home.id, [u.id for u in pair if await service.find_user(ctxs[0], home.id, u.id)]
        )
