"""A23-A26, A28: refresh tokens that come back too early or too late, from another brand, or after a policy change."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, update

from keystead.brands.store import brands
from keystead.context import ActiveBrand, Server
from keystead.db.statements import Statement
from keystead.policy import SessionKind
from keystead.sessions.model import Opened
from keystead.users.model import User
from tests.api import Api
from tests.attacks.operations import (
    ME,
    assert_error,
    assert_reuse,
    assert_token_refused,
    get_access_token,
    refresh,
    send_get_access_token,
    send_refresh,
)
from tests.attacks.session_rows import count_heads, events_of
from tests.clocks import ManualClock
from tests.make import change_brand, make_access_token, make_api_key, make_brand_token, make_session, make_user

GRACE, LOST_WINDOW = 10, 300


@pytest.mark.attack("A23")
@pytest.mark.parametrize(
    ("rotations", "after"),
    [pytest.param(2, GRACE + 1, id="presented successor"), pytest.param(1, LOST_WINDOW + 1, id="lost successor")],
)
async def test_a_late_replay_ends_the_session(
    server: Server, api: Api, brand: ActiveBrand, ann: User, opened: Opened, clock: ManualClock, rotations: int,
    after: int,
) -> None:  # fmt: skip
    """After the grace if its successor was presented, else after the lost-response window; no other session ends."""
    other = await make_session(server, brand, ann.id)
    access, tokens = [make_access_token(server, opened)], [opened.refresh_token.reveal()]
    for _ in range(rotations):
        issued, token = await refresh(api, tokens[-1])
        access.append(issued)
        tokens.append(token)
    clock.advance(seconds=after)
    assert (await api.send(ME, token=access[-1])).data["me"]
    assert_reuse(await send_refresh(api, tokens[0]))
    for token in access:
        assert_token_refused(await api.send(ME, token=token))
    for token in tokens:
        assert_error(await send_refresh(api, token), "REFRESH_TOKEN_INVALID")
    assert await count_heads(server, opened.session_id) == 0
    assert (await events_of(server, opened.session_id))[-1] == ("session.reuse_detected", "refused")
    assert (await api.send(ME, token=make_access_token(server, other))).data["me"]
    assert await refresh(api, other.refresh_token.reveal())


@pytest.mark.attack("A24")
async def test_a_replay_within_the_grace_gets_the_same_token(
    server: Server, api: Api, opened: Opened, clock: ManualClock
) -> None:
    """The chain cannot fork, however often the token is replayed and however long the chain is by then."""
    token = opened.refresh_token.reveal()
    _, head = await refresh(api, token)
    for _ in range(3):
        access, again = await refresh(api, token)
        assert again == head
        assert (await api.send(ME, token=access)).data["me"]
    _, further = await refresh(api, head)
    clock.advance(seconds=GRACE)
    assert {(await refresh(api, old))[1] for old in (token, head)} == {further}
    assert await count_heads(server, opened.session_id) == 1


@pytest.mark.attack("A24")
@pytest.mark.parametrize("apart", [LOST_WINDOW + 1, 1800, 3000])
async def test_a_thief_within_the_grace_is_detected_within_two_refreshes(
    server: Server, api: Api, opened: Opened, clock: ManualClock, apart: int
) -> None:
    """Both hold the same token now; the second to use it, after the lost-response window, ends the session."""
    stolen = opened.refresh_token.reveal()
    _, of_owner = await refresh(api, stolen)
    clock.advance(seconds=GRACE - 1)
    _, of_thief = await refresh(api, stolen)
    assert of_thief == of_owner
    clock.advance(seconds=3600)
    _, next_of_first = await refresh(api, of_thief)
    clock.advance(seconds=apart)
    assert_reuse(await send_refresh(api, of_owner))
    assert_error(await send_refresh(api, next_of_first), "REFRESH_TOKEN_INVALID")
    assert await count_heads(server, opened.session_id) == 0


@pytest.mark.attack("A25")
@pytest.mark.parametrize("after", [GRACE + 1, 120, LOST_WINDOW])
async def test_a_lost_response_is_repeated(
    server: Server, api: Api, opened: Opened, clock: ManualClock, after: int
) -> None:
    """The client never saw the successor, and asks again with what it has: it gets it, and its session lives."""
    token = opened.refresh_token.reveal()
    _, never_seen = await refresh(api, token)
    clock.advance(seconds=after)
    access, successor = await refresh(api, token)
    assert successor == never_seen
    assert (await api.send(ME, token=access)).data["me"]
    clock.advance(seconds=3600)
    _, further = await refresh(api, successor)
    assert further != successor
    assert await count_heads(server, opened.session_id) == 1


@pytest.mark.attack("A26")
async def test_with_another_brands_credential_a_token_is_invalid_and_revokes_nothing(
    server: Server, api: Api, brand: ActiveBrand, other_brand: ActiveBrand, ann: User, brand_token: str
) -> None:
    """Else one brand could end the sessions of another. Also with a token that would be reuse at home."""
    opened = await make_session(server, brand, ann.id)
    standing = (await make_session(server, brand, ann.id, SessionKind.standing)).refresh_token.reveal()
    eve = await make_user(server, other_brand, "eve@example.com")
    foreign = [
        {"brand": (await make_brand_token(server, other_brand)).reveal()},
        {"key": (await make_api_key(server, other_brand, "admin"))[1].reveal()},
        {"key": (await make_api_key(server, other_brand, "read", is_publishable=True))[1].reveal()},
        {"token": make_access_token(server, await make_session(server, other_brand, eve.id))},
    ]
    first = opened.refresh_token.reveal()
    _, second = await refresh(api, first)
    _, third = await refresh(api, second)
    for credential in foreign:
        for token in (first, second, third):
            assert_error(await send_refresh(api, token, **credential), "REFRESH_TOKEN_INVALID", credential)
        assert_error(await send_get_access_token(api, standing, **credential), "REFRESH_TOKEN_INVALID", credential)
    assert await get_access_token(api, standing, brand=brand_token)
    assert await get_access_token(api, standing)
    _, fourth = await refresh(api, third, brand=brand_token)
    assert await refresh(api, fourth)


_SET_PRESET = Statement(
    update(brands).where(brands.c.id == bindparam("brand_id")).values(preset=bindparam("preset")),
    unbranded="a test changes what no use case changes",
)


@pytest.mark.attack("A28")
async def test_a_policy_change_leaves_one_current_token(
    server: Server, api: Api, brand: ActiveBrand, opened: Opened, clock: ManualClock
) -> None:
    """Windows shut and opened, the pair contract switched off and on again: never two tokens that could be rotated."""
    head = opened.refresh_token.reveal()
    policies = [{"grace": 0, "lost_window": 0}, {"grace": 60, "lost_window": 3600}, {"refresh_ttl": 60}, {}]
    for round_ in range(3):
        for policy in policies:
            await change_brand(server, brand, {"policy": {"grace": 10, "lost_window": 300, "refresh_ttl": 604_800}})
            await change_brand(server, brand, {"policy": policy})
            parent, (_, head) = head, await refresh(api, head)
            assert await count_heads(server, opened.session_id) == 1, (round_, policy)
            if policy.get("grace") != 0:
                assert (await refresh(api, parent))[1] == head
            await _switch_pair_off_and_on(server, api, brand, parent, head)
            assert await count_heads(server, opened.session_id) == 1, (round_, policy)
        clock.advance(seconds=30)
    assert "session.reuse_detected" not in dict(await events_of(server, opened.session_id))


async def _switch_pair_off_and_on(server: Server, api: Api, brand: ActiveBrand, parent: str, head: str) -> None:
    for preset in ("standing", "both"):
        async with server.db.transaction() as tx:
            await tx.execute(_SET_PRESET, brand_id=brand.id, preset=preset)
        if preset == "standing":
            for token in (parent, head):
                assert_error(await send_refresh(api, token), "FORBIDDEN", feature="pair")


@pytest.mark.attack("A28")
async def test_a_shortened_window_applies_to_tokens_rotated_before(
    server: Server, api: Api, brand: ActiveBrand, opened: Opened, clock: ManualClock
) -> None:
    """The policy of the moment judges, not the one of the rotation."""
    token = opened.refresh_token.reveal()
    _, head = await refresh(api, token)
    await change_brand(server, brand, {"policy": {"grace": 0, "lost_window": 0}})
    clock.advance(seconds=1)
    assert_reuse(await send_refresh(api, token))
    assert_error(await send_refresh(api, head), "REFRESH_TOKEN_INVALID")
