"""A21, A34: lifetimes requested from ``getAccessToken``, and bad Authorization headers."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.policy import SessionKind
from keystead.users.model import User
from tests.api import Api
from tests.attacks.operations import (
    ME,
    assert_error,
    assert_token_refused,
    get_access_token,
    refresh,
    send_get_access_token,
    send_refresh,
)
from tests.clocks import ManualClock
from tests.make import change_brand, make_access_token, make_session


@pytest.fixture
async def standing(server: Server, brand: ActiveBrand, ann: User) -> str:
    """The refresh token of a standing session."""
    return (await make_session(server, brand, ann.id, SessionKind.standing)).refresh_token.reveal()


def lifetime(token: str) -> int:
    """Seconds from its issue to its end; read as the contract promises, with plain base64."""
    part = token.split(".")[1]
    claims = json.loads(b64decode(part + "=" * (-len(part) % 4), validate=True))
    seconds: int = claims["exp"] - claims["iat"]
    return seconds


async def _get_by_literal(api: Api, token: str, literal: str) -> Any:
    return await api.send(f'{{ getAccessToken(refreshToken: "{token}", expiresIn: {literal}) }}')


@pytest.mark.attack("A21")
async def test_lifetimes_within_the_range_are_given_as_asked(api: Api, standing: str) -> None:
    """Null is 900, and so is nothing."""
    for asked, given in ((30, 30), (31, 31), (900, 900), (3600, 3600), (None, 900)):
        token = await get_access_token(api, standing, asked)
        assert lifetime(token) == given
        assert (await api.send(ME, token=token)).data["me"]
        literal = await _get_by_literal(api, standing, json.dumps(asked))
        assert lifetime(literal.data["getAccessToken"]) == given
    absent = await api.send(f'{{ getAccessToken(refreshToken: "{standing}") }}')
    assert lifetime(absent.data["getAccessToken"]) == 900


@pytest.mark.attack("A21")
async def test_lifetimes_outside_the_range_are_rejected_not_clamped(api: Api, standing: str) -> None:
    """And the refresh token is as good as before."""
    for asked in (0, -1, 1, 29, 3601, 86_400, 2**31 - 1, -(2**31)):
        answer = await send_get_access_token(api, standing, asked)
        assert_error(answer, "BAD_USER_INPUT", asked, field="expiresIn")
        assert_error(await _get_by_literal(api, standing, str(asked)), "BAD_USER_INPUT", asked, field="expiresIn")
    assert await get_access_token(api, standing)


@pytest.mark.attack("A21")
async def test_values_that_are_no_int_fail_before_execution(api: Api, standing: str) -> None:
    """400, as a literal and as a variable."""
    for asked in (2**31, -(2**31) - 1, 2**63, "600", "", 1.5, True, [600], {"seconds": 600}):
        answer = await send_get_access_token(api, standing, asked)
        assert (answer.status, answer.code, "data" in answer.body) == (400, "BAD_USER_INPUT", False), asked
        assert standing not in json.dumps(answer.body)
    for literal in (str(2**31), '"600"', "1.5", "true", "[600]", "{ seconds: 600 }", "six", "1e3"):
        answer = await _get_by_literal(api, standing, literal)
        assert (answer.status, answer.code) == (400, "GRAPHQL_VALIDATION_FAILED"), literal
        assert "data" not in answer.body
        assert standing not in json.dumps(answer.body)


@pytest.mark.attack("A21")
async def test_the_brand_may_set_a_lower_limit(server: Server, api: Api, brand: ActiveBrand, standing: str) -> None:
    """Its limit is what counts, for the default as well; effective with the next request."""
    await change_brand(server, brand, {"policy": {"access_ttl": 600}})
    assert lifetime(await get_access_token(api, standing, 600)) == 600
    assert lifetime(await get_access_token(api, standing)) == 600
    for asked in (601, 900, 3600):
        answer = await send_get_access_token(api, standing, asked)
        assert_error(answer, "BAD_USER_INPUT", asked, field="expiresIn")


@pytest.mark.attack("A34")
async def test_a_bad_authorization_header_rejects_every_exchange(
    server: Server, api: Api, brand: ActiveBrand, ann: User, standing: str, clock: ManualClock
) -> None:
    """Contract §1: 401 for the whole request, also where the operation itself needs no header."""
    opened = await make_session(server, brand, ann.id)
    revoked = await make_session(server, brand, ann.id)
    expired = make_access_token(server, opened, lifetime=60)
    of_revoked = make_access_token(server, revoked)
    assert (await api.send("mutation { logout { data { success } } }", token=of_revoked)).data
    clock.advance(seconds=60)
    for bad in (expired, of_revoked, f"Bearer {expired}", "garbage", ""):
        headers = {"Authorization": bad}
        assert_token_refused(await send_get_access_token(api, standing, headers=headers), bad)
        assert_token_refused(await send_refresh(api, opened.refresh_token.reveal(), headers=headers), bad)
    # Refused before anything was done: the same tokens are good without the header, and with a good one.
    assert await get_access_token(api, standing)
    assert await get_access_token(api, standing, token=make_access_token(server, opened))
    auth_token, _ = await refresh(api, opened.refresh_token.reveal())
    assert (await api.send(ME, token=auth_token)).data["me"]
