"""Check and rehash passwords: the same work whether or not the user exists."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Context, Server
from keystead.crypto.passwords import PasswordPool, Profile
from keystead.users import email_addresses, login_store, passwords, service
from keystead.users.model import LoginCandidate
from tests.make import make_user

PASSWORD = "rainbow123"
ANN = email_addresses.parse("ann@example.com")


async def candidate(ctx: Context, brand: ActiveBrand) -> LoginCandidate:
    found = await login_store.find_login(ctx.db.reads, brand.id, ANN.canonical)
    assert found is not None
    return found


async def test_only_the_password_is_the_password(server: Server, admin: Context, brand: ActiveBrand) -> None:
    await make_user(server, brand, password=PASSWORD)
    ann = await candidate(admin, brand)
    assert await passwords.check_password(server.passwords, ann, PASSWORD)
    assert not await passwords.check_password(server.passwords, ann, PASSWORD + " ")
    assert not await passwords.check_password(server.passwords, ann, PASSWORD.title())


async def test_a_login_is_found_in_any_spelling(server: Server, admin: Context, brand: ActiveBrand) -> None:
    ann = await make_user(server, brand, "Ann@Example.com")
    spelled = email_addresses.parse("aNN@eXAMPLE.COM")
    found = await login_store.find_login(admin.db.reads, brand.id, spelled.canonical)
    assert found is not None
    assert found.user_id == ann.id
    by_id = await login_store.find_login_of(admin.db.reads, brand.id, ann.id)
    assert by_id == found


@pytest.mark.attack("A46")
async def test_a_full_queue_does_not_fail_the_login(server: Server, admin: Context, brand: ActiveBrand) -> None:
    await make_user(server, brand, password=PASSWORD)
    closed = PasswordPool(Profile(64, 1, 1), 1)
    closed.close()
    assert await passwords.rehash(closed, await candidate(admin, brand), PASSWORD) is None


async def test_an_anonymous_user_has_neither_address_nor_password(
    server: Server, admin: Context, brand: ActiveBrand
) -> None:
    async with admin.db.transaction() as tx:
        user_id = await service.create_anonymous(tx, brand.id, admin.now())
    profile = (await service.get_user(admin, brand.id, user_id)).profile
    assert profile.is_anonymous
    assert (profile.email, profile.is_verified, len(profile.granted)) == (None, False, 0)
    assert await login_store.find_login_of(admin.db.reads, brand.id, user_id) is None


def test_repr_hides_the_hash() -> None:
    assert "$argon2id" not in repr(LoginCandidate("id", "$argon2id$...", is_disabled=False))
