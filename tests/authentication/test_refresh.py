"""Exchange refresh tokens of both kinds; reuse sends its owner a notice."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from keystead.audit import service as audit
from keystead.authentication.refresh import get_access_token, refresh_pair
from keystead.brands.store import brands
from keystead.context import ActiveBrand, Anonymous, Context, RequestDetails, Server
from keystead.db.interface import Tx
from keystead.db.statements import Statement
from keystead.errors import (
    Forbidden,
    RefreshTokenExpired,
    RefreshTokenInvalid,
    RefreshTokenReused,
    ServiceUnavailable,
)
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.sessions import access_tokens
from keystead.sessions import service as sessions
from keystead.sessions.model import Opened
from keystead.users import service as users
from keystead.users.model import User
from tests.attacks.watched import watch
from tests.authentication.mailed import outbox
from tests.authentication.observed import events, visitor
from tests.clocks import ManualClock
from tests.make import REQUEST, change_brand, make_context, make_session, make_user
from tests.races.conftest import outcome


async def set_preset(server: Server, preset: str) -> None:
    """Change what no use case changes: a brand keeps its preset."""
    async with server.db.transaction() as tx:
        await tx.execute(Statement(update(brands).values(preset=preset)))


@pytest.fixture
async def standing(server: Server, brand: ActiveBrand, ann: User) -> Opened:
    return await make_session(server, brand, ann.id, SessionKind.standing)


def life(server: Server, token: str) -> int:
    claims = access_tokens.verify(server, token, server.clock.now())
    assert claims is not None
    return claims.expires_at - claims.issued_at


async def test_a_refresh_returns_a_new_pair_and_a_replay_is_not_recorded(
    server: Server, brand: ActiveBrand, opened: Opened
) -> None:
    renewed, replayed = [await refresh_pair(visitor(server), opened.refresh_token.reveal()) for _ in range(2)]
    assert (life(server, renewed.auth_token), replayed.refresh_token) == (3600, renewed.refresh_token)
    again = await refresh_pair(visitor(server, brand), renewed.refresh_token)
    assert again.refresh_token != renewed.refresh_token
    assert len(await events(server, brand, "session.refreshed")) == 2


async def test_the_brand_sets_the_lifetime(server: Server, brand: ActiveBrand, ann: User) -> None:
    brand = await change_brand(server, brand, {"policy": {"access_ttl": 300, "refresh_ttl": 120}})
    opened = await make_session(server, brand, ann.id)
    renewed = await refresh_pair(visitor(server), opened.refresh_token.reveal())
    assert life(server, renewed.auth_token) == 120


async def test_the_message_of_an_expired_token_says_unauthenticated(
    server: Server, opened: Opened, clock: ManualClock
) -> None:
    clock.advance(days=7)
    with pytest.raises(RefreshTokenExpired, match="unauthenticated"):
        await refresh_pair(visitor(server), opened.refresh_token.reveal())


async def test_no_access_token_outlives_a_limited_refresh_token(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    brand = await change_brand(server, brand, {"policy": {"standing_refresh_ttl": 3600}})
    opened = await make_session(server, brand, ann.id, SessionKind.standing)
    raw = opened.refresh_token.reveal()
    clock.advance(seconds=3500)
    assert life(server, await get_access_token(visitor(server), raw, 900)) == 100
    clock.advance(seconds=99.5)
    for _ in range(2):
        with pytest.raises(RefreshTokenExpired):
            await get_access_token(visitor(server), raw, None)
        clock.advance(seconds=1)


async def test_a_limit_set_later_applies_to_issued_tokens(
    server: Server, brand: ActiveBrand, standing: Opened, clock: ManualClock
) -> None:
    raw = standing.refresh_token.reveal()
    clock.advance(seconds=3500)
    await change_brand(server, brand, {"policy": {"standing_refresh_ttl": 3600}})
    assert life(server, await get_access_token(visitor(server), raw, 900)) == 100
    clock.advance(seconds=100)
    with pytest.raises(RefreshTokenExpired):
        await get_access_token(visitor(server), raw, None)


async def test_an_idle_limit_counts_from_the_last_use(
    server: Server, brand: ActiveBrand, standing: Opened, clock: ManualClock
) -> None:
    await change_brand(server, brand, {"policy": {"idle_ttl": 3600}})
    raw = standing.refresh_token.reveal()
    for _ in range(3):
        clock.advance(minutes=55)
        await get_access_token(visitor(server), raw, None)
        await sessions.write_uses(server)
    clock.advance(minutes=61)
    with pytest.raises(RefreshTokenExpired):
        await get_access_token(visitor(server), raw, None)


async def test_a_use_is_noted_and_written_later(server: Server, standing: Opened, clock: ManualClock) -> None:
    counted = watch(server)
    raw = standing.refresh_token.reveal()
    for seconds, noted in ((44, 0), (1, 1), (44, 1), (1, 1)):
        clock.advance(seconds=seconds)
        await get_access_token(visitor(server), raw, None)
        assert (counted.transactions, len(server.session_uses)) == (0, noted)
    assert len(counted.asked) == 4
    await sessions.write_uses(server)
    assert (counted.transactions, len(server.session_uses)) == (1, 0)
    await get_access_token(visitor(server), raw, None)
    assert len(server.session_uses) == 0, "the use on record is a moment ago"


async def test_a_kind_that_is_off_is_forbidden(server: Server, opened: Opened, standing: Opened) -> None:
    await set_preset(server, "standing")
    with pytest.raises(Forbidden) as refused:
        await refresh_pair(visitor(server), opened.refresh_token.reveal())
    assert refused.value.extensions["feature"] == "pair"
    await set_preset(server, "pair")
    with pytest.raises(Forbidden) as refused:
        await get_access_token(visitor(server), standing.refresh_token.reveal(), None)
    assert refused.value.extensions["feature"] == "standing"


async def test_the_audit_row_is_in_the_transaction_of_the_rotation(
    server: Server, brand: ActiveBrand, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(tx: Tx, event: object) -> None:
        raise ServiceUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(audit, "record", broken)
        with pytest.raises(ServiceUnavailable):
            await refresh_pair(visitor(server), opened.refresh_token.reveal())
    await refresh_pair(visitor(server), opened.refresh_token.reveal())
    assert [e.event for e in await events(server, brand, "session.refreshed")] == ["session.refreshed"]


async def test_a_replay_in_the_last_second_of_the_successor_is_expired(
    server: Server, brand: ActiveBrand, opened: Opened, clock: ManualClock
) -> None:
    await change_brand(server, brand, {"policy": {"refresh_ttl": 60}})
    clock.advance(seconds=5.5)
    first = await refresh_pair(visitor(server), opened.refresh_token.reveal())
    clock.advance(seconds=59)
    again = await refresh_pair(visitor(server), opened.refresh_token.reveal())
    assert (again.refresh_token, life(server, again.auth_token)) == (first.refresh_token, 1)
    clock.advance(seconds=0.7)
    with pytest.raises(RefreshTokenExpired):
        await refresh_pair(visitor(server), opened.refresh_token.reveal())


def requested_by(server: Server, request: RequestDetails = REQUEST) -> Context:
    return make_context(server, None, Anonymous(), request=request, brand_is_default=True)


@pytest.mark.attack("A23")
async def test_the_owner_gets_one_notice_of_reuse(
    server: Server, brand: ActiveBrand, opened: Opened, ann: User, clock: ManualClock
) -> None:
    brand = await change_brand(server, brand, {"policy": {"mail_language": "de"}})
    await refresh_pair(requested_by(server), opened.refresh_token.reveal())
    clock.advance(minutes=6)
    # The caller may be the thief: neither their language nor their address is the owner's.
    thief = requested_by(server, RequestDetails("r", "203.0.113.9", "203.0.113.9", "curl", None, "en"))
    for refused in (RefreshTokenReused, RefreshTokenInvalid):
        with pytest.raises(refused):
            await refresh_pair(thief, opened.refresh_token.reveal())
    (mail,) = await outbox(server)
    assert (mail.kind, mail.user_id, mail.recipient) == (MailKind.session_reused, ann.id, "ann@example.com")
    assert mail.shown == {"brand": brand.name, "ip_prefix": "192.0.2.7", "user_agent": "tests/1.0"}
    assert (mail.languages, mail.link_base, mail.expires_at) == (("de",), "", None)


@pytest.mark.race
@pytest.mark.attack("A23")
async def test_concurrent_reuse_sends_one_notice(
    server: Server, brand: ActiveBrand, opened: Opened, clock: ManualClock
) -> None:
    await refresh_pair(requested_by(server), opened.refresh_token.reveal())
    clock.advance(minutes=6)
    raw = opened.refresh_token.reveal()
    outcomes = await asyncio.gather(*(outcome(refresh_pair(requested_by(server), raw)) for _ in range(20)))
    assert any(isinstance(one, RefreshTokenReused) for one in outcomes)
    assert all(isinstance(one, RefreshTokenReused | RefreshTokenInvalid) for one in outcomes)
    assert len(await outbox(server)) == 1


@pytest.mark.parametrize("address", [None, "anybody@example.com"])
async def test_an_owner_without_a_verified_address_gets_no_notice(
    server: Server, brand: ActiveBrand, clock: ManualClock, address: str | None
) -> None:
    """Anonymous, or with an unverified login, which may be the address of a stranger."""
    if address is None:
        async with server.db.transaction() as tx:
            user_id = await users.create_anonymous(tx, brand.id, clock.now())
    else:
        brand = await change_brand(server, brand, {"features": {"email_verification": False}})
        user_id = (await make_user(server, brand, address, is_verified=False)).id
    opened = await make_session(server, brand, user_id)
    await refresh_pair(requested_by(server), opened.refresh_token.reveal())
    clock.advance(minutes=6)
    with pytest.raises(RefreshTokenReused):
        await refresh_pair(requested_by(server), opened.refresh_token.reveal())
    assert await outbox(server) == []
