"""The last administrator of a brand cannot remove themselves; two who demote each other leave one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keystead.brands import service as brands
from keystead.context import RESERVED_BRAND_ID, ActiveBrand, Context, Server
from keystead.db.interface import Database
from keystead.errors import Conflict
from keystead.users import roles, service
from keystead.users.grants import rights_guard
from keystead.users.model import NewUser, User, UserChanges
from tests.make import change_brand, make_caller, make_context, make_role, make_session, make_user
from tests.users.actors import acting

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
        await service.create_user(system, home, NewUser("unproved@example.com", permissions=("admin",)))
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
