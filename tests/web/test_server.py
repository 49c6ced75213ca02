"""Putting a process together."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from keystead.context import Server
from keystead.web.server import compare_clocks
from tests.clocks import ManualClock


@pytest.mark.parametrize(("seconds", "is_warned"), [(0, False), (-30, True), (30, True)])
async def test_a_clock_that_is_not_the_databases_is_warned_about(
    server: Server, clock: ManualClock, seconds: int, is_warned: bool
) -> None:
    theirs = await server.db.now()
    clock.advance(seconds=(theirs - clock.now()).total_seconds() + seconds)
    with capture_logs() as lines:
        await compare_clocks(server)
    assert [line["event"] for line in lines] == ["clocks_apart"] * is_warned
