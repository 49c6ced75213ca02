"""Race conditions between two nodes on one PostgreSQL. ``make races`` repeats each many times."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from keystead.audit.service import list_events
from keystead.context import ActiveBrand, Server
from keystead.pagination import PageRequest
from keystead.users.model import User
from tests.make import make_access_token, make_context, make_session
from tests.processes.conftest import ROUNDS, Apis
from tests.use_cases.people import is_signed_out, log_in, refresh, try_refresh

CONCURRENT = 50


async def events(server: Server, brand: ActiveBrand) -> tuple[int | None, str]:
    """How many events the brand has seen, and the last one."""
    page = await list_events(make_context(server), brand.id, PageRequest(1, 1), with_total=True)
    return page.total, page.items[0].event


@pytest.mark.race
@pytest.mark.attack("A22")
async def test_fifty_concurrent_refreshes_get_one_successor(
    apis: Apis, server: Server, brand: ActiveBrand, brand_token: str, ann: User
) -> None:
    token = (await log_in(apis.here, brand=brand_token)).refresh
    before, _ = await events(server, brand)
    for number in range(1, ROUNDS + 1):
        pairs = await asyncio.gather(*(refresh(apis[n % 2], token) for n in range(CONCURRENT)))
        successors = {pair.refresh for pair in pairs}
        assert len(successors) == 1
        assert token not in successors
        (token,) = successors
        assert not await is_signed_out(apis.there, pairs[0].auth)
        assert not await is_signed_out(apis.here, pairs[1].auth)
        assert before is not None
        assert await events(server, brand) == (before + number, "session.refreshed"), "one rotation, and no false alarm"


@pytest.mark.race
@pytest.mark.attack("A30")
async def test_logging_out_everywhere_beats_concurrent_refreshes(
    apis: Apis, server: Server, brand: ActiveBrand, ann: User
) -> None:
    """Each token that was handed out before the acknowledgement, and each one after it, is dead."""
    for _ in range(ROUNDS):
        sessions = [await make_session(server, brand, ann.id) for _ in range(10)]
        tokens = [session.refresh_token.reveal() for session in sessions]
        caller = make_access_token(server, sessions[0])
        racing = [asyncio.create_task(try_refresh(apis[n % 2], tokens[n // 2])) for n in range(2 * len(tokens))]
        ended = await apis.there.send("mutation { invalidateRefreshToken }", token=caller)
        assert ended.data == {"invalidateRefreshToken": True}
        answers = [await answer for answer in racing]
        assert {answer.code for answer in answers} <= {None, "REFRESH_TOKEN_INVALID"}
        won = [answer.data["refreshToken"]["data"] for answer in answers if answer.code is None]
        for pair in won:
            assert await is_signed_out(apis.here, pair["auth_token"])
            assert await is_signed_out(apis.there, pair["auth_token"])
        for token in {*tokens, *(pair["refresh_token"] for pair in won)}:
            assert (await try_refresh(apis.here, token)).code == "REFRESH_TOKEN_INVALID"


@pytest.mark.race
async def test_concurrent_registrations_of_an_address_make_one_user(apis: Apis, admin_token: str) -> None:
    create = "mutation ($input: CreateUserInput!) { createUser(input: $input) { data { id } } }"
    for number in range(ROUNDS):
        new = {"input": {"email": f"bob{number}@example.com", "verified": True}}
        answers = await asyncio.gather(*(apis[n % 2].send(create, new, token=admin_token) for n in range(6)))
        assert Counter(answer.code for answer in answers) == {None: 1, "CONFLICT": 5}
