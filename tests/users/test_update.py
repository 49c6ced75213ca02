"""Administrators list, change, disable and delete users."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Context, Server
from keystead.db.interface import Database
from keystead.db.statements import Statement
from keystead.errors import BadUserInput, Forbidden, NotFound
from keystead.pagination import PageRequest
from keystead.users import login_store, service
from keystead.users.model import UserChanges
from keystead.users.store import users
from tests.clocks import ManualClock
from tests.make import make_brand, make_role, make_user
from tests.users.actors import acting, audited

UNKNOWN_ID = "01890000-0000-7000-8000-000000000000"
EPOCHS = Statement(
    users.select().with_only_columns(users.c.session_epoch).order_by(users.c.id),
    unbranded="a test reads what is stored",
)


async def epochs(db: Database) -> list[int]:
    return [row[0] for row in await db.reads.list(EPOCHS)]


async def test_fields_that_are_not_given_stay(
    server: Server, admin: Context, brand: ActiveBrand, clock: ManualClock
) -> None:
    await make_role(server, brand, "reader", "read")
    made = await make_user(server, brand, username="Ann", roles=("reader",), permissions=("write",))
    now = clock.advance(minutes=1)
    changed = await service.update_user(admin, brand.id, made.id, UserChanges())
    assert changed.profile.updated_at == now
    assert changed.profile.username == "Ann"
    assert changed.profile.roles == ("reader",)
    assert changed.profile.granted == made.profile.granted
    assert await audited(admin, brand) == ["role.defined", "user.created"]


async def test_name_roles_and_permissions_are_replaced(server: Server, admin: Context, brand: ActiveBrand) -> None:
    await make_role(server, brand, "reader", "read")
    await make_role(server, brand, "writer", "write")
    made = await make_user(server, brand, username="Ann", roles=("reader",), permissions=("order:read",))
    changes = UserChanges(username="Anna", roles=("writer",), permissions=("order:create",))
    changed = await service.update_user(admin, brand.id, made.id, changes)
    assert changed.profile.username == "Anna"
    assert changed.profile.roles == ("writer",)
    assert set(changed.profile.granted) == {"write", "order:create"}
    nothing = UserChanges(username=None, roles=(), permissions=())
    emptied = await service.update_user(admin, brand.id, made.id, nothing)
    assert (emptied.profile.username, emptied.profile.roles, len(emptied.profile.granted)) == (None, (), 0)
    assert (await audited(admin, brand))[-2:] == ["user.updated", "user.updated"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (UserChanges(username=""), "username"),
        (UserChanges(permissions=("operator",)), "permissions"),
        (UserChanges(username="New", roles=("unknown",)), "roles"),
    ],
)
async def test_bad_changes_change_nothing(
    server: Server, admin: Context, brand: ActiveBrand, changes: UserChanges, field: str
) -> None:
    made = await make_user(server, brand, username="Ann")
    with pytest.raises(BadUserInput) as refused:
        await service.update_user(admin, brand.id, made.id, changes)
    assert refused.value.extensions["field"] == field
    assert await service.get_user(admin, brand.id, made.id) == made


async def test_a_caller_neither_grants_nor_keeps_permissions_it_lacks(server: Server, brand: ActiveBrand) -> None:
    made = await make_user(server, brand, permissions=("read",))
    writer = acting(server, brand, "write")
    for permissions in (("read",), ("write", "read"), ("admin",)):
        with pytest.raises(Forbidden):
            await service.update_user(writer, brand.id, made.id, UserChanges(permissions=permissions))
    changed = await service.update_user(writer, brand.id, made.id, UserChanges(permissions=("customer:write",)))
    assert set(changed.profile.granted) == {"customer:write"}


async def test_disabling_ends_sessions_once(server: Server, admin: Context, brand: ActiveBrand) -> None:
    made = await make_user(server, brand)
    off, on = UserChanges(is_disabled=True), UserChanges(is_disabled=False)
    assert (await service.update_user(admin, brand.id, made.id, off)).is_disabled
    assert await epochs(admin.db) == [1]
    await service.update_user(admin, brand.id, made.id, off)
    assert not (await service.update_user(admin, brand.id, made.id, on)).is_disabled
    assert await epochs(admin.db) == [1]
    assert await audited(admin, brand) == ["user.created", "user.disabled", "user.enabled"]


@pytest.mark.attack("A94")
async def test_a_user_of_another_brand_is_unknown(server: Server, admin: Context, brand: ActiveBrand) -> None:
    stranger = await make_user(server, await make_brand(server, "otherBrand"))
    assert await service.find_user(admin, brand.id, stranger.id) is None
    for user_id in (stranger.id, UNKNOWN_ID, "no id at all"):
        with pytest.raises(NotFound):
            await service.get_user(admin, brand.id, user_id)
        with pytest.raises(NotFound):
            await service.update_user(admin, brand.id, user_id, UserChanges(is_disabled=True))
        with pytest.raises(NotFound):
            await service.delete_users(admin, brand.id, [user_id])
    assert await epochs(admin.db) == [0]


async def test_all_are_deleted_or_none(server: Server, admin: Context, brand: ActiveBrand) -> None:
    ann = await make_user(server, brand)
    bob = await make_user(server, brand, "bob@example.com")
    with pytest.raises(NotFound):
        await service.delete_users(admin, brand.id, [ann.id, UNKNOWN_ID])
    assert len(await epochs(admin.db)) == 2
    await service.delete_users(admin, brand.id, [ann.id, ann.id, bob.id])
    assert await epochs(admin.db) == []
    assert await audited(admin, brand) == ["user.created"] * 2 + ["user.deleted"] * 2
    await make_user(server, brand)


async def test_users_are_listed_in_pages(server: Server, admin: Context, brand: ActiveBrand) -> None:
    made = [(await make_user(server, brand, f"{name}@example.com")).id for name in "abc"]
    await make_user(server, await make_brand(server, "otherBrand"))
    first = await service.list_users(admin, brand.id, PageRequest(1, 2))
    last = await service.list_users(admin, brand.id, PageRequest(2, 2), with_total=True)
    assert sorted(user.id for page in (first, last) for user in page.items) == sorted(made)
    assert (first.has_more_pages, first.total, last.has_more_pages, last.total) == (True, None, False, 3)


async def test_the_epoch_of_one_user_of_the_brand_is_bumped(server: Server, admin: Context, brand: ActiveBrand) -> None:
    other = await make_brand(server, "otherBrand")
    ann = await make_user(server, brand)
    await make_user(server, brand, "bob@example.com")
    async with admin.db.transaction() as tx:
        await login_store.bump_epoch(tx, brand.id, ann.id)
        await login_store.bump_epoch(tx, other.id, ann.id)
    assert sorted(await epochs(admin.db)) == [0, 1]
