"""The installation on a real database: master key, signing keys, leases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from keystead.audit import service as audit
from keystead.context import RESERVED_BRAND_ID, Context, Server
from keystead.crypto import jwt
from keystead.crypto.jwt import Claims
from keystead.crypto.keyring import FOREVER, Keyring
from keystead.crypto.master_key import MasterKey
from keystead.crypto.signing import SigningKey
from keystead.db.factory import open_database
from keystead.db.interface import Database
from keystead.errors import Conflict, NotFound, StartupError
from keystead.installation import service, store
from keystead.installation.model import KeyTimes
from keystead.pagination import PageRequest
from keystead.settings import Settings
from keystead.web.bootstrap import open_server, warn_of_guessable_key
from tests.clocks import ManualClock
from tests.make import MASTER_KEY, make_context

OTHER_MASTER_KEY = MasterKey.from_text(b"another master key that only tests may use")
ISSUER = "https://auth.example.com"


@pytest.fixture
def ctx(server: Server) -> Context:
    return make_context(server)


async def keyring(ctx: Context) -> Keyring:
    return await service.load_keyring(ctx.db, MASTER_KEY, ctx.now())


def token(ring: Keyring, now: datetime, key: SigningKey | None = None) -> str:
    issued = int(now.timestamp())
    return jwt.sign(key or ring.active, Claims("b", "u", "s", issued, issued + 3600, "t"), ISSUER)


def is_good(raw: str, ring: Keyring, now: datetime) -> bool:
    return jwt.verify(raw, ring.verifying, ISSUER, now) is not None


async def events(ctx: Context) -> list[str]:
    page = await audit.list_events(ctx, RESERVED_BRAND_ID, PageRequest())
    return [event.event for event in page.items]


async def test_the_first_start_creates_one_active_key(server: Server, clock: ManualClock) -> None:
    first = server.keyring
    assert (first.version, first.valid_until, list(first.verifying)) == (1, FOREVER, [first.active.kid])
    await service.prepare(server.db, MASTER_KEY, clock.advance(days=1))
    again = await service.load_keyring(server.db, MASTER_KEY, clock.now())
    assert (again.version, again.active.kid) == (1, first.active.kid)


async def test_another_master_key_is_rejected(server: Server, clock: ManualClock) -> None:
    await service.prepare(server.db, MASTER_KEY, clock.now())
    with pytest.raises(StartupError) as refused:
        await service.prepare(server.db, OTHER_MASTER_KEY, clock.now())
    assert refused.value.message == "KEYSTEAD_MASTER_KEY: this is not the master key this database was made with"
    assert refused.value.exit_code == 78
    assert await service.is_master_key_of(server.db, MASTER_KEY) is True
    assert await service.is_master_key_of(server.db, OTHER_MASTER_KEY) is False


async def test_a_guessable_master_key_is_rejected_for_new_installations_only(
    database_url: str, clock: ManualClock
) -> None:
    """The key of a database cannot be changed: one that was made with such a key is served, with a warning."""
    settings = Settings(database_url=database_url, master_key="changeme" * 4)
    with pytest.raises(StartupError, match=r"^KEYSTEAD_MASTER_KEY: .* easy to guess; make one with") as refused:
        async with open_server(settings):
            pass
    assert refused.value.exit_code == 78
    db = open_database(database_url)
    await db.open()
    assert await service.is_prepared(db) is False
    await service.prepare(db, MasterKey.from_text(b"changeme" * 4), clock.now())
    await db.close()
    async with open_server(settings) as server:
        with capture_logs() as lines:
            warn_of_guessable_key(server)
    assert [(line["event"], line["log_level"], line["origin"]) for line in lines] == [
        ("master_key_guessable", "warning", "KEYSTEAD_MASTER_KEY")
    ]
    assert "Do not replace the key of an existing database" in lines[0]["reason"]
    with pytest.raises(StartupError, match="not the master key this database was made with"):
        async with open_server(replace(settings, master_key="password" * 4)):
            pass


async def test_a_new_database_has_no_master_key(db: Database, clock: ManualClock) -> None:
    assert await service.is_master_key_of(db, MASTER_KEY) is None
    assert await service.keyring_version(db) == 0
    with pytest.raises(StartupError, match="no signing key"):
        await service.load_keyring(db, MASTER_KEY, clock.now())


async def test_private_keys_are_encrypted_and_inserted_ones_rejected(server: Server, clock: ManualClock) -> None:
    stored = await store.list_private_keys(server.db.reads)
    kid, mine = server.keyring.active.kid, SigningKey.generate()
    assert SigningKey.from_encrypted(kid, stored[kid], MASTER_KEY).kid == kid
    with pytest.raises(StartupError, match="does not decrypt"):
        await service.load_keyring(server.db, OTHER_MASTER_KEY, clock.now())
    async with server.db.transaction() as tx:
        times = KeyTimes(mine.kid, clock.now(), clock.now())
        await store.insert_key(tx, times, mine.to_encrypted(OTHER_MASTER_KEY))
    with pytest.raises(StartupError, match="does not decrypt"):
        await service.load_keyring(server.db, MASTER_KEY, clock.now())


@pytest.mark.attack("A18")
async def test_a_rotation_goes_through_all_four_states(ctx: Context, clock: ManualClock) -> None:
    first = await keyring(ctx)
    made = await service.rotate(ctx)
    waiting = await keyring(ctx)
    assert (waiting.version, waiting.active.kid) == (2, first.active.kid)
    assert set(waiting.verifying) == {first.active.kid, made.kid}
    assert waiting.valid_until == clock.now() + timedelta(minutes=10)
    assert waiting.is_current(2, clock.now())
    assert not waiting.is_current(3, clock.now())
    clock.advance(minutes=10, seconds=-1)
    last_old = token(waiting, clock.now())
    clock.advance(seconds=1)
    assert not waiting.is_current(2, clock.now())
    promoted = await keyring(ctx)
    assert promoted.active.kid == made.kid
    # Signed by the next key, for a node whose clock lags: the key is published, so the token is good there too.
    assert is_good(token(promoted, clock.now()), waiting, clock.now())
    assert is_good(last_old, promoted, clock.now())
    dropped_at = promoted.valid_until
    assert dropped_at == clock.now() + timedelta(seconds=3660)
    clock.advance(seconds=3659)
    old_key = first.active
    assert is_good(token(first, clock.now(), old_key), await keyring(ctx), clock.now())
    clock.advance(seconds=1)
    after = await keyring(ctx)
    assert not is_good(token(first, clock.now(), old_key), after, clock.now())
    assert is_good(token(after, clock.now()), after, clock.now())
    assert (list(after.verifying), after.valid_until, after.version) == ([made.kid], FOREVER, 2)
    assert [key.state(clock.now()) for key in await service.list_keys(ctx)] == ["retired", "active"]


async def test_maintenance_rotates_after_thirty_days_and_not_before(ctx: Context, clock: ManualClock) -> None:
    clock.advance(days=30, seconds=-1)
    assert await service.maintain(ctx) is False
    clock.advance(seconds=1)
    assert await service.maintain(ctx) is True
    assert await service.maintain(ctx) is False
    clock.advance(minutes=10)
    assert await service.maintain(ctx) is False
    assert len(await service.list_keys(ctx)) == 2
    assert await events(ctx) == ["key.rotated"]


async def test_revoking_the_active_key_activates_a_new_one(ctx: Context, clock: ManualClock) -> None:
    before = await keyring(ctx)
    stolen = token(before, clock.now())
    await service.revoke(ctx, before.active.kid)
    assert not before.is_current(await service.keyring_version(ctx.db), clock.now())
    after = await keyring(ctx)
    assert after.active.kid != before.active.kid
    assert list(after.verifying) == [after.active.kid]
    assert not is_good(stolen, after, clock.now())
    assert is_good(token(after, clock.now()), after, clock.now())
    assert await events(ctx) == ["key.revoked"]


@pytest.mark.parametrize("is_next", [False, True], ids=["active", "next"])
async def test_revoking_during_a_rotation(ctx: Context, clock: ManualClock, is_next: bool) -> None:
    active, made = ctx.server.keyring.active.kid, (await service.rotate(ctx)).kid
    with pytest.raises(Conflict):
        await service.rotate(ctx)
    await service.revoke(ctx, made if is_next else active)
    ring = await keyring(ctx)
    left = active if is_next else made
    assert (ring.active.kid, list(ring.verifying), ring.valid_until) == (left, [left], FOREVER)


async def test_revoking_is_idempotent_and_holds_where_the_clock_is_behind(ctx: Context, clock: ManualClock) -> None:
    kid = ctx.server.keyring.active.kid
    await service.revoke(ctx, kid)
    version = await service.keyring_version(ctx.db)
    await service.revoke(ctx, kid)
    assert await service.keyring_version(ctx.db) == version
    with pytest.raises(NotFound):
        await service.revoke(ctx, "no-such-key")
    assert await events(ctx) == ["key.revoked"]
    clock.advance(seconds=-2)
    ring = await keyring(ctx)
    assert kid not in ring.verifying
    assert ring.active.kid in ring.verifying


async def test_processes_that_start_concurrently_create_one_key(database_url: str, clock: ManualClock) -> None:
    nodes = [open_database(database_url) for _ in range(3)]
    for node in nodes:
        await node.open()
    await asyncio.gather(*(service.prepare(node, MASTER_KEY, clock.now()) for node in nodes))
    rings = [await service.load_keyring(node, MASTER_KEY, clock.now()) for node in nodes]
    assert {(ring.version, ring.active.kid, len(ring.verifying)) for ring in rings} == {(1, rings[0].active.kid, 1)}
    for node in nodes:
        await node.close()


async def test_concurrent_maintenance_rotates_once(ctx: Context, database_url: str, clock: ManualClock) -> None:
    clock.advance(days=31)
    other = open_database(database_url)
    await other.open()
    server = Server(
        ctx.server.settings, clock, other, MASTER_KEY, ctx.server.passwords, ctx.server.keyring, ctx.server.token_cache
    )
    did = await asyncio.gather(*(service.maintain(one) for one in (ctx, make_context(server), ctx)))
    assert sorted(did) == [False, False, True]
    assert (await service.keyring_version(ctx.db), len(await service.list_keys(ctx))) == (2, 2)
    await other.close()


async def test_a_lease_has_one_holder_until_it_ends(ctx: Context, clock: ManualClock) -> None:
    minute = timedelta(minutes=1)

    async def take(holder: str, name: str = "sweep") -> bool:
        return await service.take_lease(ctx, name, holder, minute)

    assert await take("a")
    assert not await take("b")
    assert await take("b", "another kind of work")
    clock.advance(seconds=59)
    assert await take("a"), "the holder may prolong it"
    clock.advance(seconds=59)
    assert not await take("b")
    clock.advance(seconds=2)
    assert await take("b")
    assert not await take("a")
    clock.advance(days=40)
    assert await take("a", "taken by a clock that was ahead")
    clock.advance(days=-40)
    assert await take("b", "taken by a clock that was ahead")
    assert not await take("a", "taken by a clock that was ahead")
