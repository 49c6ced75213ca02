"""The installation on a real database: master key, signing keys, leases."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

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


async def test_the_first_start_makes_one_key_that_signs_at_once(server: Server, clock: ManualClock) -> None:
    first = server.keyring
    assert (first.version, first.valid_until, list(first.verifying)) == (1, FOREVER, [first.active.kid])
    await service.prepare(server.db, MASTER_KEY, clock.advance(days=1))
    again = await service.load_keyring(server.db, MASTER_KEY, clock.now())
    assert (again.version, again.active.kid) == (1, first.active.kid)


async def test_the_same_master_key_starts_and_another_one_does_not(server: Server, clock: ManualClock) -> None:
    await service.prepare(server.db, MASTER_KEY, clock.now())
    with pytest.raises(StartupError) as refused:
        await service.prepare(server.db, OTHER_MASTER_KEY, clock.now())
    assert refused.value.message == "KEYSTEAD_MASTER_KEY: this is not the master key this database was made with"
    assert refused.value.exit_code == 78
    assert await service.is_master_key_of(server.db, MASTER_KEY) is True
    assert await service.is_master_key_of(server.db, OTHER_MASTER_KEY) is False


async def test_a_guessable_master_key_is_refused_for_a_new_installation_alone(
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


async def test_a_database_never_started_knows_no_master_key(db: Database, clock: ManualClock) -> None:
    assert await service.is_master_key_of(db, MASTER_KEY) is None
    assert await service.keyring_version(db) == 0
    with pytest.raises(StartupError, match="no signing key"):
        await service.load_keyring(db, MASTER_KEY, clock.now())


async def test_the_private_key_is_sealed_in_the_database(server: Server, clock: ManualClock) -> None:
    stored = await store.list_private_keys(server.db.reads)
    kid = server.keyring.active.kid
    assert SigningKey.from_encrypted(kid, stored[kid], MASTER_KEY).kid == kid
    with pytest.raises(StartupError, match="does not open"):
        await service.load_keyring(server.db, OTHER_MASTER_KEY, clock.now())


async def test_a_key_slipped_into_the_table_is_not_trusted(server: Server, clock: ManualClock) -> None:
    mine = SigningKey.generate()
    async with server.db.transaction() as tx:
        times = KeyTimes(mine.kid, clock.now(), clock.now())
        await store.insert_key(tx, times, mine.to_encrypted(OTHER_MASTER_KEY))
    with pytest.raises(StartupError, match="does not open"):
        await service.load_keyring(server.db, MASTER_KEY, clock.now())


async def test_the_published_keys_hold_nothing_private(ctx: Context) -> None:
    await service.rotate(ctx)
    ring = await keyring(ctx)
    keys = json.loads(ring.jwks)["keys"]
    assert [key["kid"] for key in keys] == list(ring.verifying)
    assert {name for key in keys for name in key} == {"kty", "crv", "x", "y", "kid", "use", "alg"}


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


async def test_a_rotation_waits_for_the_one_under_way(ctx: Context, clock: ManualClock) -> None:
    await service.rotate(ctx)
    with pytest.raises(Conflict):
        await service.rotate(ctx)
    clock.advance(minutes=10)
    await service.rotate(ctx)
    assert await events(ctx) == ["key.rotated", "key.rotated"]


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


async def test_revoking_the_active_key_makes_another_one_active_at_once(ctx: Context, clock: ManualClock) -> None:
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


async def test_revoking_the_active_key_promotes_the_next_one(ctx: Context, clock: ManualClock) -> None:
    made = await service.rotate(ctx)
    await service.revoke(ctx, ctx.server.keyring.active.kid)
    ring = await keyring(ctx)
    assert (ring.active.kid, list(ring.verifying), ring.valid_until) == (made.kid, [made.kid], FOREVER)


async def test_a_node_whose_clock_lags_obeys_a_revocation(ctx: Context, clock: ManualClock) -> None:
    revoked = ctx.server.keyring.active.kid
    await service.revoke(ctx, revoked)
    clock.advance(seconds=-2)
    ring = await keyring(ctx)
    assert revoked not in ring.verifying
    assert ring.active.kid in ring.verifying


async def test_revoking_the_next_key_calls_the_rotation_off(ctx: Context, clock: ManualClock) -> None:
    made = await service.rotate(ctx)
    await service.revoke(ctx, made.kid)
    clock.advance(days=2)
    ring = await keyring(ctx)
    assert (ring.active.kid, list(ring.verifying)) == (ctx.server.keyring.active.kid, [ctx.server.keyring.active.kid])
    clock.advance(days=28)
    assert await service.maintain(ctx) is True


async def test_revoking_a_retiring_key_leaves_the_active_one(ctx: Context, clock: ManualClock) -> None:
    made = await service.rotate(ctx)
    clock.advance(minutes=10)
    await service.revoke(ctx, ctx.server.keyring.active.kid)
    ring = await keyring(ctx)
    assert (ring.active.kid, list(ring.verifying)) == (made.kid, [made.kid])


async def test_revoking_twice_changes_nothing_and_an_unknown_key_is_not_found(ctx: Context) -> None:
    kid = ctx.server.keyring.active.kid
    await service.revoke(ctx, kid)
    version = await service.keyring_version(ctx.db)
    await service.revoke(ctx, kid)
    assert await service.keyring_version(ctx.db) == version
    with pytest.raises(NotFound):
        await service.revoke(ctx, "no-such-key")
    assert await events(ctx) == ["key.revoked"]


async def test_processes_that_start_at_once_make_one_key(database_url: str, clock: ManualClock) -> None:
    nodes = [open_database(database_url) for _ in range(3)]
    for node in nodes:
        await node.open()
    await asyncio.gather(*(service.prepare(node, MASTER_KEY, clock.now()) for node in nodes))
    rings = [await service.load_keyring(node, MASTER_KEY, clock.now()) for node in nodes]
    assert {(ring.version, ring.active.kid, len(ring.verifying)) for ring in rings} == {
        (1, rings[0].active.kid, 1),
    }
    for node in nodes:
        await node.close()


async def test_processes_that_maintain_at_once_rotate_once(ctx: Context, database_url: str, clock: ManualClock) -> None:
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


async def test_a_lease_taken_by_a_clock_that_was_ahead_holds_nothing_up(ctx: Context, clock: ManualClock) -> None:
    minute = timedelta(minutes=1)
    clock.advance(days=40)
    assert await service.take_lease(ctx, "sweep", "a", minute)
    clock.advance(days=-40)
    assert await service.take_lease(ctx, "sweep", "b", minute)
    assert not await service.take_lease(ctx, "sweep", "a", minute)


def test_rotation_keys_differ_by_id_and_by_master_key() -> None:
    keys = {
        service.rotation_key(MASTER_KEY, service.CURRENT_ROTATION_KEY),
        service.rotation_key(MASTER_KEY, "2"),
        service.rotation_key(OTHER_MASTER_KEY, "1"),
    }
    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}


def test_a_keyring_without_a_schedule_lasts() -> None:
    ring = Keyring.of(1, SigningKey.generate())
    assert ring.is_current(1, datetime(9999, 1, 1, tzinfo=UTC))
