"""A46, A47: stored hashes that are too weak, and hostile stored hashes."""

from __future__ import annotations

import asyncio
import time
from functools import cache
from statistics import median

import pytest
from argon2.low_level import Type, hash_secret
from sqlalchemy import bindparam, select, update

from keystead.context import ActiveBrand, Server
from keystead.crypto import argon2id
from keystead.crypto.passwords import PasswordPool, Profile
from keystead.db.statements import Statement
from keystead.users.model import User
from keystead.users.store import users
from tests.api import Api
from tests.attacks.operations import assert_error, hashes, log_in, send_login
from tests.make import PASSWORD

_READ_HASH = Statement(
    select(users.c.password_hash).where(
        users.c.brand_id == bindparam("brand_id"), users.c.email_canonical == bindparam("email")
    )
)
_WRITE_HASH = Statement(
    update(users)
    .where(users.c.brand_id == bindparam("brand_id"), users.c.email_canonical == bindparam("email"))
    .values(password_hash=bindparam("stored"))
)


async def read_hash(server: Server, brand: ActiveBrand, email: str = "ann@example.com") -> str:
    row = await server.db.reads.find(_READ_HASH, brand_id=brand.id, email=email)
    assert row is not None
    return str(row[0])


async def write_hash(server: Server, brand: ActiveBrand, stored: str, email: str = "ann@example.com") -> None:
    async with server.db.transaction() as tx:
        assert await tx.execute(_WRITE_HASH, brand_id=brand.id, email=email, stored=stored) == 1


STRONGER = Profile(64, 2, 1)


@pytest.mark.attack("A46")
async def test_a_weak_hash_is_rehashed_once_by_a_successful_login(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    """In place, with the parameters of today; not by a wrong password, and not a second time."""
    weak = await read_hash(server, brand)
    server.passwords = PasswordPool(STRONGER, 1)
    assert_error(await send_login(api, "ann@example.com", "a wrong password"), "INVALID_CREDENTIALS")
    assert await read_hash(server, brand) == weak
    begun = hashes(server)
    assert await log_in(api, "ann@example.com", PASSWORD)
    strong = await read_hash(server, brand)
    assert strong.startswith("$argon2id$v=19$m=64,t=2,p=1$")
    assert hashes(server) == begun + 2
    assert await log_in(api, "ann@example.com", PASSWORD)
    assert (await read_hash(server, brand), hashes(server)) == (strong, begun + 3)
    assert_error(await send_login(api, "ann@example.com", "a wrong password"), "INVALID_CREDENTIALS")
    # A configuration that asks for less again leaves the stronger hash as it is.
    server.passwords = PasswordPool(Profile.for_tests(), 1)
    assert await log_in(api, "ann@example.com", PASSWORD)
    assert await read_hash(server, brand) == strong


@pytest.mark.attack("A46")
async def test_concurrent_logins_with_a_rehash_all_succeed(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    """Each closes only with the hash that it verified; one that lost the race reads it again."""
    server.passwords = PasswordPool(STRONGER, 1)
    pairs = await asyncio.gather(*(log_in(api, "ann@example.com", PASSWORD) for _ in range(8)))
    assert len({refresh_token for _, refresh_token in pairs}) == 8
    assert "m=64,t=2" in await read_hash(server, brand)
    assert await log_in(api, "ann@example.com", PASSWORD)


@pytest.mark.attack("A46")
def test_time_does_not_reveal_a_weak_hash() -> None:
    """Processor time of a wrong password: against a hash not yet renewed, a renewed one, and none."""
    today = Profile(4096, 2, 1)
    classes = {
        "weak": argon2id.make(Profile(1024, 1, 1), b"right"),
        "half": argon2id.make(Profile(4096, 1, 1), b"right"),
        "today": argon2id.make(today, b"right"),
        "none": None,
        "hostile": "$argon2id$v=19$m=4194304,t=10,p=4$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43,
    }
    times: dict[str, list[float]] = {name: [] for name in classes}
    for _ in range(21):
        for name, stored in classes.items():
            started = time.thread_time()
            assert argon2id.matches(today, stored, b"wrong") is False
            times[name].append(time.thread_time() - started)
    medians = {name: median(taken) for name, taken in times.items()}
    assert max(medians.values()) < 1.6 * min(medians.values()), medians


@cache
def _phc(memory: int, passes: int, lanes: int, kind: Type = Type.ID, version: int = 19) -> str:
    """A hash of PASSWORD that the C library would verify."""
    return hash_secret(
        PASSWORD.encode(), b"somesaltsomesalt", passes, memory, lanes, 32, kind, version=version
    ).decode()


def _hostile_hashes() -> dict[str, str]:
    good = _phc(8, 1, 1)
    salt, digest = good.rsplit("$", 2)[1:]
    return {
        # Right for the password, but dearer than the limits, or of another kind.
        "t = 11": _phc(8, 11, 1),
        "p = 5": _phc(40, 1, 5),
        "m = 257 MiB": _phc(257 * 1024, 1, 1),
        "argon2i": _phc(8, 1, 1, Type.I),
        "argon2d": _phc(8, 1, 1, Type.D),
        "version 16": _phc(8, 1, 1, version=16),
        # What would take all the memory, or all the time, that there is.
        "m = 4 GiB": f"$argon2id$v=19$m=4194304,t=1,p=1${salt}${digest}",
        "m = 2 ** 32 - 1": f"$argon2id$v=19$m=4294967295,t=1,p=1${salt}${digest}",
        "t = 2 ** 32 - 1": f"$argon2id$v=19$m=8,t=4294967295,p=1${salt}${digest}",
        "p = 2 ** 24 - 1": f"$argon2id$v=19$m=134217720,t=1,p=16777215${salt}${digest}",
        "m of many digits": f"$argon2id$v=19$m={'9' * 5000},t=1,p=1${salt}${digest}",
        # What is no such hash at all.
        "empty": "",
        "the password": PASSWORD,
        "bcrypt": "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        "MD5 of crypt": "$1$28772684$iEwNOgGugqO9.bIz5sk8k/",
        "no salt": f"$argon2id$v=19$m=8,t=1,p=1$${digest}",
        "no digest": f"$argon2id$v=19$m=8,t=1,p=1${salt}$",
        "four bytes of digest": f"$argon2id$v=19$m=8,t=1,p=1${salt}$AAAAAA",
        "m = 0": f"$argon2id$v=19$m=0,t=1,p=1${salt}${digest}",
        "t = 0": f"$argon2id$v=19$m=8,t=0,p=1${salt}${digest}",
        "negative": f"$argon2id$v=19$m=-8,t=1,p=1${salt}${digest}",
        "other order": f"$argon2id$v=19$t=1,m=8,p=1${salt}${digest}",
        "with a key id": f"$argon2id$v=19$m=8,t=1,p=1,keyid=AAAA${salt}${digest}",
        "padded": f"{good}=",
        "two lines": f"{good}\n",
        "long digest": f"$argon2id$v=19$m=8,t=1,p=1${salt}${'A' * 100_000}",
        "not ASCII": good.replace("argon2id", "argon2ıd"),
    }


@pytest.mark.attack("A47")
async def test_a_hostile_stored_hash_matches_no_password(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    """The right and a wrong password get the usual answer, for the price of one ordinary hash."""
    assert await log_in(api, "ann@example.com", PASSWORD)
    for case, stored in _hostile_hashes().items():
        await write_hash(server, brand, stored)
        for password in (PASSWORD, "a wrong password", ""):
            begun = hashes(server)
            assert_error(await send_login(api, "ann@example.com", password), "INVALID_CREDENTIALS", case)
            assert hashes(server) == begun + 1, case
        assert await read_hash(server, brand) == stored
    await write_hash(server, brand, _phc(8, 10, 1))
    assert await log_in(api, "ann@example.com", PASSWORD), "the limit itself passes"
