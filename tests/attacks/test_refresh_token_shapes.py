"""A27: texts that are no refresh token, or one of another kind."""

from __future__ import annotations

import dataclasses

import pytest

from keystead.authentication.refresh import get_access_token as use_case_access_token
from keystead.authentication.refresh import refresh_pair
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.errors import RefreshTokenInvalid
from keystead.policy import SessionKind
from keystead.sessions.model import Opened
from keystead.users.model import User
from tests.api import Api
from tests.attacks.operations import (
    assert_error,
    get_access_token,
    refresh,
    send_get_access_token,
    send_refresh,
)
from tests.attacks.watched import WatchedDatabase
from tests.make import (
    make_context,
    make_session,
)


def _bad_shapes(good: str) -> dict[str, str]:
    other = "A" if good[-1] != "A" else "B"
    shapes = {
        "truncated": good[:-1], "half": good[: len(good) // 2], "prefix alone": "ks_rt_", "empty": "",
        "longer": good + "0",
        "check sum": good[:-1] + other, "one letter": good[:20] + ("x" if good[20] != "x" else "y") + good[21:],
        "other case": good.swapcase(), "upper prefix": "KS_RT_" + good[6:], "no prefix": good[6:], "space": good + " ",
        "newline": good + "\n", "in front": " " + good, "quoted": f"'{good}'", "unknown kind": "ks_zz_" + good[6:],
        "not base62": good[:20] + "-" + good[21:], "wide letters": "ks_rt_" + "é" * 49,
        "full width": good[:-1] + "\uff10",
        "129 characters": good + "0" * (129 - len(good)), "60,000 characters": "ks_rt_" + "0" * 60_000,
        "a JWT": "e.y.J",
        "sql": "ks_rt_' OR 1=1--", "the greatest": "ks_rt_" + "z" * 49,
    }  # fmt: skip
    # Every other kind there is, well-formed; and the refresh token with the prefix of each.
    for kind in SecretKind:
        if kind is not SecretKind.refresh:
            shapes[f"a {kind.name}"] = secrets.generate(kind).reveal()
            shapes[f"as a {kind.name}"] = kind.prefix + good[6:]
    return shapes


@pytest.mark.attack("A27")
async def test_a_malformed_refresh_token_costs_no_query(
    server: Server, api: Api, brand: ActiveBrand, opened: Opened, watched: WatchedDatabase
) -> None:
    """It is refused by its length, prefix, alphabet or check sum; the whole request asks the database nothing."""
    ctx = dataclasses.replace(make_context(server, brand), brand_is_default=True)
    shapes = _bad_shapes(opened.refresh_token.reveal())
    for case, token in shapes.items():
        watched.forget()
        with pytest.raises(RefreshTokenInvalid):
            await refresh_pair(ctx, token)
        with pytest.raises(RefreshTokenInvalid):
            await use_case_access_token(ctx, token, None)
        assert watched.asked == [], case
        assert_error(await send_refresh(api, token), "REFRESH_TOKEN_INVALID", case)
        assert watched.asked == [], case
        assert_error(await send_get_access_token(api, token), "REFRESH_TOKEN_INVALID", case)
        assert watched.asked == [], case
    with pytest.raises(RefreshTokenInvalid):
        await refresh_pair(ctx, "ks_rt_" + "0" * 1_000_000)
    watched.forget()
    answer = await send_refresh(api, "ks_rt_" + "0" * 1_000_000)
    assert (answer.status, watched.asked) == (413, [])
    assert await refresh(api, opened.refresh_token.reveal())


@pytest.mark.attack("A27")
async def test_a_token_of_each_kind_is_rejected_by_the_other_operation(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    """And an unknown one, however well-formed, says no more."""
    pair = (await make_session(server, brand, ann.id)).refresh_token.reveal()
    standing = (await make_session(server, brand, ann.id, SessionKind.standing)).refresh_token.reveal()
    unknown = secrets.generate(SecretKind.refresh).reveal()
    answers = [
        await send_refresh(api, standing),
        await send_refresh(api, unknown),
        await send_get_access_token(api, pair),
        await send_get_access_token(api, unknown),
    ]
    for answer in answers:
        assert_error(answer, "REFRESH_TOKEN_INVALID")
        assert "unauthenticated" in answer.errors[0]["message"].lower()
    assert len({answer.errors[0]["message"] for answer in answers}) == 1
    assert await get_access_token(api, standing)
    assert await refresh(api, pair)
