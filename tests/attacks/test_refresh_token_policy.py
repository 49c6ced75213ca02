"""A28: a brand changes its mind while a session lives."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, update

from keystead.brands.store import brands
from keystead.context import ActiveBrand, Server
from keystead.db.statements import Statement
from keystead.sessions.model import Opened
from tests.api import Api
from tests.attacks.operations import (
    assert_error,
    assert_reuse,
    refresh,
    send_refresh,
)
from tests.attacks.session_rows import count_heads, events_of
from tests.clocks import ManualClock
from tests.make import (
    change_brand,
)

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
