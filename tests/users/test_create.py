"""Administrators make users."""

from __future__ import annotations

import asyncio

import pytest

from keystead.context import ActiveBrand, Context, Server
from keystead.db.statements import Statement
from keystead.errors import BadUserInput, Conflict, Forbidden
from keystead.users import email_addresses, login_store, service
from keystead.users.model import NewUser
from keystead.users.store import users
from tests.make import change_brand, make_brand, make_role, make_user
from tests.users.actors import acting, audited

PASSWORD = "rainbow123"
ANN = email_addresses.parse("ann@example.com")

STORED = Statement(
    users.select().with_only_columns(users.c.password_hash, users.c.pending_password_hash),
    unbranded="a test reads what is stored",
)


async def test_a_verified_user_can_log_in_immediately(admin: Context, brand: ActiveBrand) -> None:
    made = await service.create_user(admin, brand, NewUser("Ann@Example.com", PASSWORD, " Ann ", is_verified=True))
    assert (made.profile.email, made.profile.username) == ("Ann@Example.com", "Ann")
    assert made.profile.is_verified
    assert not made.profile.is_anonymous
    found = await login_store.find_login(admin.db.reads, brand.id, ANN.canonical)
    assert found is not None
    assert found.user_id == made.id
    assert found.password_hash is not None
    assert await service.get_user(admin, brand.id, made.id) == made


async def test_address_and_password_are_pending_without_verification(admin: Context, brand: ActiveBrand) -> None:
    made = await service.create_user(admin, brand, NewUser("ann@example.com", PASSWORD))
    assert made.profile.email == "ann@example.com"
    assert not made.profile.is_verified
    assert await login_store.find_login(admin.db.reads, brand.id, ANN.canonical) is None
    assert await login_store.find_login_of(admin.db.reads, brand.id, made.id) is None
    password_hash, pending_hash = (await admin.db.reads.list(STORED))[0]
    assert password_hash is None
    assert pending_hash.startswith("$argon2id$")


async def test_where_no_verification_is_asked_the_address_is_and_stays_a_login(
    server: Server, admin: Context, brand: ActiveBrand
) -> None:
    lax = await change_brand(server, brand, {"features": {"email_verification": False}})
    made = await service.create_user(admin, lax, NewUser("ann@example.com", PASSWORD))
    assert not made.profile.is_verified
    for is_on in (False, True):
        await change_brand(server, brand, {"features": {"email_verification": is_on}})
        found = await login_store.find_login(admin.db.reads, brand.id, ANN.canonical)
        assert found is not None
        assert found.user_id == made.id


@pytest.mark.parametrize("is_verified", [True, False])
@pytest.mark.parametrize("email", ["ann@example.com", "ANN@EXAMPLE.COM", "\uff41nn@example.com"])
async def test_an_address_has_one_owner(
    server: Server, admin: Context, brand: ActiveBrand, email: str, is_verified: bool
) -> None:
    await make_user(server, brand)
    with pytest.raises(Conflict) as refused:
        await service.create_user(admin, brand, NewUser(email, is_verified=is_verified))
    assert refused.value.extensions == {"field": "email"}
    assert await audited(admin, brand) == ["user.created"]


async def test_the_same_address_may_be_a_login_of_another_brand(server: Server, brand: ActiveBrand) -> None:
    other = await make_brand(server, "otherBrand")
    assert (await make_user(server, brand)).id != (await make_user(server, other)).id


@pytest.mark.race
async def test_one_of_two_concurrent_creations_wins(server: Server, brand: ActiveBrand) -> None:
    barrier = asyncio.Barrier(4)

    async def create(spelling: str) -> bool:
        await barrier.wait()
        try:
            await make_user(server, brand, spelling)
        except Conflict:
            return False
        return True

    spellings = ["ann@example.com", "Ann@example.com", "ANN@example.com", "\uff41nn@example.com"]
    won = await asyncio.gather(*map(create, spellings))
    assert sorted(won) == [False, False, False, True]


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewUser("no address"), "email"),
        (NewUser("ann@example.com", "short"), "password"),
        (NewUser("ann@example.com", "password1"), "password"),
        (NewUser("ann@example.com", "rainbowMakers1"), "password"),
        (NewUser("annabelle@example.com", "Annabelle99"), "password"),
        (NewUser("ann@example.com", "x" * 257), "password"),
        (NewUser("ann@example.com", username="   "), "username"),
        (NewUser("ann@example.com", username="x" * 101), "username"),
        (NewUser("ann@example.com", username="a\nb"), "username"),
        (NewUser("ann@example.com", username="a\u202eb"), "username"),
        (NewUser("ann@example.com", permissions=("operator",)), "permissions"),
        (NewUser("ann@example.com", permissions=("nonsense",)), "permissions"),
        (NewUser("ann@example.com", roles=("unknown",)), "roles"),
    ],
)
async def test_invalid_input_is_named_and_creates_no_user(
    server: Server, admin: Context, brand: ActiveBrand, new: NewUser, field: str
) -> None:
    with pytest.raises(BadUserInput) as refused:
        await service.create_user(admin, brand, new)
    assert refused.value.extensions["field"] == field
    assert await admin.db.reads.list(STORED) == []
    assert await audited(admin, brand) == []


async def test_the_brand_may_ask_for_longer_passwords(server: Server, admin: Context, brand: ActiveBrand) -> None:
    strict = await change_brand(server, brand, {"policy": {"password_minimum": 15}})
    with pytest.raises(BadUserInput):
        await service.create_user(admin, strict, NewUser("ann@example.com", PASSWORD))
    await service.create_user(admin, strict, NewUser("ann@example.com", PASSWORD + "-and more"))


async def test_permissions_come_from_grants_roles_and_brand_defaults(
    server: Server, admin: Context, brand: ActiveBrand
) -> None:
    generous = await change_brand(server, brand, {"policy": {"default_permissions": ["customer:read"]}})
    await make_role(server, brand, "editor", "write", "order:read")
    new = NewUser("ann@example.com", roles=("editor", "editor"), permissions=("order:create",))
    made = await service.create_user(admin, generous, new)
    assert made.profile.roles == ("editor",)
    assert set(made.profile.granted) == {"customer:read", "write", "order:read", "order:create"}


async def test_a_caller_grants_no_permission_it_lacks(server: Server, brand: ActiveBrand) -> None:
    writer = acting(server, brand, "write")
    await service.create_user(writer, brand, NewUser("ann@example.com", permissions=("customer:write",)))
    with pytest.raises(Forbidden) as refused:
        await service.create_user(writer, brand, NewUser("bob@example.com", permissions=("write", "read")))
    assert refused.value.extensions == {"permission": "read"}


async def test_a_caller_assigns_no_role_beyond_its_permissions(server: Server, brand: ActiveBrand) -> None:
    await make_role(server, brand, "reader", "read")
    writer = acting(server, brand, "write")
    with pytest.raises(Forbidden) as refused:
        await service.create_user(writer, brand, NewUser("ann@example.com", roles=("reader",)))
    assert refused.value.extensions == {"permission": "read"}
    reader = acting(server, brand, "read")
    await service.create_user(reader, brand, NewUser("ann@example.com", roles=("reader",)))


async def test_a_role_of_another_brand_is_unknown(server: Server, admin: Context, brand: ActiveBrand) -> None:
    other = await make_brand(server, "otherBrand")
    await make_role(server, other, "reader", "read")
    with pytest.raises(BadUserInput):
        await service.create_user(admin, brand, NewUser("ann@example.com", roles=("reader",)))
