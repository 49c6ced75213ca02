"""Reuse of a rotated refresh token: its owner gets a notice."""

from __future__ import annotations

import asyncio

import pytest

from keystead.authentication.refresh import refresh_pair
from keystead.context import ActiveBrand, Anonymous, Context, RequestDetails, Server
from keystead.errors import RefreshTokenInvalid, RefreshTokenReused
from keystead.mail.model import MailKind
from keystead.sessions.model import Opened
from keystead.users import service as users
from keystead.users.model import User
from tests.authentication.mailed import outbox
from tests.clocks import ManualClock
from tests.make import REQUEST, change_brand, make_context, make_session, make_user
from tests.races.conftest import outcome


@pytest.fixture
async def pair(server: Server, brand: ActiveBrand, ann: User) -> Opened:
    return await make_session(server, brand, ann.id)


def visitor(server: Server, request: RequestDetails = REQUEST) -> Context:
    return make_context(server, None, Anonymous(), request=request, brand_is_default=True)


@pytest.mark.attack("A23")
async def test_the_owner_gets_one_notice_of_reuse(
    server: Server, brand: ActiveBrand, pair: Opened, ann: User, clock: ManualClock
) -> None:
    brand = await change_brand(server, brand, {"policy": {"mail_language": "de"}})
    await refresh_pair(visitor(server), pair.refresh_token.reveal())
    clock.advance(minutes=6)
    # The caller may be the thief: neither their language nor their address is the owner's.
    thief = visitor(server, RequestDetails("r", "203.0.113.9", "203.0.113.9", "curl", None, "en"))
    for refused in (RefreshTokenReused, RefreshTokenInvalid):
        with pytest.raises(refused):
            await refresh_pair(thief, pair.refresh_token.reveal())
    (mail,) = await outbox(server)
    assert (mail.kind, mail.user_id, mail.recipient) == (MailKind.session_reused, ann.id, "ann@example.com")
    assert mail.shown == {"brand": brand.name, "ip_prefix": "192.0.2.7", "user_agent": "tests/1.0"}
    assert (mail.languages, mail.link_base, mail.expires_at) == (("de",), "", None)


@pytest.mark.race
@pytest.mark.attack("A23")
async def test_concurrent_reuse_sends_one_notice(
    server: Server, brand: ActiveBrand, pair: Opened, clock: ManualClock
) -> None:
    await refresh_pair(visitor(server), pair.refresh_token.reveal())
    clock.advance(minutes=6)
    raw = pair.refresh_token.reveal()
    outcomes = await asyncio.gather(*(outcome(refresh_pair(visitor(server), raw)) for _ in range(20)))
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
    await refresh_pair(visitor(server), opened.refresh_token.reveal())
    clock.advance(minutes=6)
    with pytest.raises(RefreshTokenReused):
        await refresh_pair(visitor(server), opened.refresh_token.reveal())
    assert await outbox(server) == []
