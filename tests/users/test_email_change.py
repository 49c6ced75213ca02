"""Pending e-mail changes in the rows of users: complete, cancel, disarm competing ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind, generate
from keystead.db.interface import Contention, UniqueViolation
from keystead.db.statements import Statement
from keystead.users import email_addresses, email_change_store, service
from keystead.users import email_change as changes
from keystead.users.model import Addresses, AddressOwner, NewUser, User, UserChanges
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from keystead.users.store import users
from tests.make import make_brand, make_context, make_user

ANN = email_addresses.parse("ann@example.com")
LOOK_ALIKE = email_addresses.parse("\uff41nn@example.com")
_ROWS = Statement(users.select(), unbranded="a test reads what is stored")


async def make_waiting(server: Server, brand: ActiveBrand, email: str = "ann@example.com") -> User:
    """A user whose address is pending."""
    return await service.create_user(make_context(server), brand, NewUser(email, "rainbow123"))


async def stored(server: Server, user_id: str) -> dict[str, Any]:
    rows = [dict(zip(users.columns.keys(), row, strict=True)) for row in await server.db.reads.list(_ROWS)]
    return next(row for row in rows if row["id"] == user_id)


async def addresses(server: Server, brand: ActiveBrand, user_id: str) -> Addresses | None:
    async with server.db.transaction() as tx:
        return await email_change_store.lock_addresses(tx, brand.id, user_id)


async def grant(server: Server, brand: ActiveBrand, user_id: str, canonical: str = ANN.canonical) -> bool:
    async with server.db.transaction() as tx:
        return await changes.complete(tx, brand.id, user_id, canonical, server.clock.now())


async def test_the_addresses_of_a_user(server: Server, brand: ActiveBrand) -> None:
    waiting = await make_waiting(server, brand)
    verified = await make_user(server, brand, "bob@example.com")
    found = await addresses(server, brand, waiting.id)
    assert found is not None
    assert found == Addresses(None, False, ANN, None, found.pending_hash)
    assert found.pending_hash not in (None, "rainbow123")
    assert str(found.pending_hash) not in repr(found)
    assert found.is_pending(ANN.canonical)
    assert not found.is_login(ANN.canonical)
    assert found.verified_other("bob@example.com") is None
    bob = email_addresses.parse("bob@example.com")
    found = await addresses(server, brand, verified.id)
    assert found == Addresses(bob, True, None, None)
    assert found.verified_other(ANN.canonical) == bob
    assert found.verified_other(bob.canonical) is None
    assert not found.is_unverified_login(bob.canonical)


@pytest.mark.parametrize("whose", ["unknown", "another brand", "disabled"])
async def test_an_unknown_or_disabled_user_has_no_addresses(server: Server, brand: ActiveBrand, whose: str) -> None:
    waiting = await make_waiting(server, brand)
    asked, user_id = brand, waiting.id
    if whose == "disabled":
        await service.update_user(make_context(server), brand.id, waiting.id, UserChanges(is_disabled=True))
    elif whose == "unknown":
        user_id = "unknown"
    else:
        asked = await make_brand(server, "other")
    assert await addresses(server, asked, user_id) is None
    assert not await grant(server, asked, user_id)
    assert (await stored(server, waiting.id))["email"] is None


async def test_a_pending_address_becomes_the_login_with_its_password(server: Server, brand: ActiveBrand) -> None:
    waiting = await make_waiting(server, brand)
    pending = (await stored(server, waiting.id))["pending_password_hash"]
    assert not await grant(server, brand, waiting.id, "other@example.com")
    assert await grant(server, brand, waiting.id)
    row = await stored(server, waiting.id)
    assert (row["email"], row["email_canonical"], row["email_skeleton"]) == ("ann@example.com",) * 3
    assert (row["password_hash"], row["session_epoch"], row["verified_at"]) == (pending, 1, server.clock.now())
    assert not await grant(server, brand, waiting.id)


@pytest.mark.parametrize("owner", ["ann@example.com", "Ann@example.com", "\uff41nn@example.com"])
async def test_an_address_that_is_taken_is_not_completed(server: Server, brand: ActiveBrand, owner: str) -> None:
    waiting = await make_waiting(server, brand)
    await make_user(server, brand, owner)
    assert not await grant(server, brand, waiting.id)
    assert (await stored(server, waiting.id))["pending_email"] == "ann@example.com"


async def test_the_owner_is_found_by_address_and_look_alike(server: Server, brand: ActiveBrand) -> None:
    ann = await make_user(server, brand)
    expected = AddressOwner(ann.id, "ann@example.com", "ann@example.com")
    for address in (ANN, LOOK_ALIKE):
        assert await email_change_store.find_owner(server.db.reads, brand.id, "another user", address) == expected
        assert await email_change_store.find_owner(server.db.reads, brand.id, ann.id, address) is None
    other = await make_brand(server, "other")
    assert await email_change_store.find_owner(server.db.reads, other.id, "another user", ANN) is None
    await make_waiting(server, brand, "bob@example.com")
    bob = email_addresses.parse("bob@example.com")
    assert await email_change_store.find_owner(server.db.reads, brand.id, "another user", bob) is None


async def test_only_competing_changes_of_the_brand_lose_their_passwords(server: Server, brand: ActiveBrand) -> None:
    other = await make_brand(server, "other")
    winner, competitor = await make_waiting(server, brand), await make_waiting(server, brand, LOOK_ALIKE.display)
    elsewhere, neighbour = await make_waiting(server, other), await make_waiting(server, brand, "bob@example.com")
    async with server.db.transaction() as tx:
        await email_change_store.disarm_competing(tx, brand.id, winner.id, ANN.skeleton)
    for user in (winner, elsewhere, neighbour):
        assert (await stored(server, user.id))["pending_password_hash"] is not None
    row = await stored(server, competitor.id)
    assert (row["pending_password_hash"], row["pending_session_id"]) == (None, None)
    assert (row["pending_email"], row["pending_email_skeleton"]) == (LOOK_ALIKE.display, ANN.skeleton)


async def test_only_a_user_with_a_login_loses_change_and_links(server: Server, brand: ActiveBrand) -> None:
    ann, waiting = await make_user(server, brand), await make_waiting(server, brand, "bob@example.com")
    now, secrets = server.clock.now(), {}
    async with server.db.transaction() as tx:
        for user in (ann, waiting):
            secrets[user.id] = generate(SecretKind.verify)
            await tokens.issue(tx, brand.id, user.id, TokenPurpose.verify, ANN, secrets[user.id], now)
            await changes.cancel(tx, brand.id, user.id)
    assert await tokens.find(server.db.reads, secrets[ann.id], now) is None
    assert await tokens.find(server.db.reads, secrets[waiting.id], now) is not None
    assert (await stored(server, waiting.id))["pending_email"] == "bob@example.com"


@pytest.mark.race
async def test_a_concurrent_completion_is_retried(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await make_waiting(server, brand), await make_waiting(server, brand)
    results = await asyncio.gather(*(run(server, brand, user.id) for user in (one, two)))
    assert sorted(results) == [False, True]

    async def clash(*_: object) -> bool:
        raise UniqueViolation("users", ("brand_id", "email_canonical"))

    monkeypatch.setattr(email_change_store, "complete", clash)
    with pytest.raises(Contention):
        await grant(server, brand, one.id)


async def run(server: Server, brand: ActiveBrand, user_id: str) -> bool:
    now = server.clock.now()
    return await server.db.run(lambda tx: changes.complete(tx, brand.id, user_id, ANN.canonical, now))
