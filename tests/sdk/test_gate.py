"""What the gate remembers of a token, for how long, and what it takes for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from keystead_client.errors import NotAuthenticated, RefreshTokenInvalid, ServerError, TokenExpired
from keystead_client.gate import Gate
from keystead_client.tokens import Tokens

ACCESS, REFRESH = "head.body.signature", "ks_rt_secret"


@dataclass
class Claimed:
    user_id: str = "1"


class Asked:
    """A server, and a verifier, whose session can be ended and whose answers can be held back."""

    def __init__(self) -> None:
        self.now = 100.0
        self.checks = 0
        self.refreshes = 0
        self.is_over = False
        self.user: dict[str, Any] = {"id": "1", "permissions": ["order:read"]}
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def me_with(self, auth_token: str, *, forwarded_for: str | None = None) -> Mapping[str, Any]:
        self.checks += 1
        is_over = self.is_over
        await self.may_answer.wait()
        if is_over:
            raise NotAuthenticated("over")
        return self.user

    async def verify_async(self, token: str) -> Claimed:
        await self.me_with(token)
        return Claimed()

    async def refresh_with(self, refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        self.refreshes += 1
        raise RefreshTokenInvalid("over")

    async def login_with(
        self, email: str, password: str, *, brand: str | None = None, forwarded_for: str | None = None
    ) -> Tokens:
        raise AssertionError

    async def logout_with(self, auth_token: str, *, forwarded_for: str | None = None) -> None:
        raise AssertionError


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def gate(asked: Asked) -> Gate:
    return Gate(asked, None, lambda: asked.now)


async def test_the_answer_of_a_slow_server_is_no_longer_believed(asked: Asked, gate: Gate) -> None:
    """The session ends while the answer that it is good is on its way, for four seconds."""
    asked.may_answer.clear()
    first = asyncio.create_task(gate.check(ACCESS, None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asked.checks == 1
    asked.is_over = True
    asked.now += 1
    second = asyncio.create_task(gate.check(ACCESS, None))
    await asyncio.sleep(0)
    asked.now += 3
    asked.may_answer.set()
    assert await first is not None
    assert await second is None
    assert await gate.check(ACCESS, None) is None


async def test_what_a_verifier_says_is_not_remembered_once_more(asked: Asked) -> None:
    """It has a memory of its own, and two would add up."""
    gate = Gate(asked, asked, lambda: asked.now)
    assert await gate.check(ACCESS, None) == {"id": "1"}
    asked.is_over = True
    assert await gate.check(ACCESS, None) is None


async def test_where_a_verifier_is_in_doubt_the_server_is_asked_once_for_all(asked: Asked) -> None:
    class Doubting:
        async def verify_async(self, token: str) -> Claimed:
            raise TokenExpired("by this clock")

    gate = Gate(asked, Doubting(), lambda: asked.now)
    assert await asyncio.gather(*(gate.check(ACCESS, None) for _ in range(3))) == [{"id": "1"}] * 3
    assert await gate.check(ACCESS, None) == {"id": "1"}
    assert asked.checks == 1


async def test_what_a_request_does_to_its_user_is_not_seen_by_the_next(asked: Asked, gate: Gate) -> None:
    user = await gate.check(ACCESS, None)
    assert isinstance(user, dict)
    user["permissions"].append("admin")
    user["id"] = "2"
    assert await gate.check(ACCESS, None) == {"id": "1", "permissions": ["order:read"]}
    assert asked.checks == 1


@pytest.mark.parametrize("user", [{}, {"id": None}, {"email": "ann@example.com"}])
async def test_an_answer_without_a_user_throws_nobody_out(asked: Asked, gate: Gate, user: dict[str, Any]) -> None:
    asked.user = user
    with pytest.raises(ServerError):
        await gate.check(ACCESS, None)


@pytest.mark.parametrize("token", ["token", "a.b", "a.b.c.d", "0" * 4000, "ks", REFRESH.upper()])
async def test_what_no_token_looks_like_costs_no_question(asked: Asked, gate: Gate, token: str) -> None:
    assert await gate.check(token, None) is None
    assert await gate.refresh(token, None) is None
    assert asked.checks + asked.refreshes == 0


@pytest.mark.parametrize("token", [ACCESS, "a.b.c.d.e", "ks_at_future"])
async def test_what_a_token_may_look_like_is_asked_about(asked: Asked, gate: Gate, token: str) -> None:
    assert await gate.check(token, None) is not None


async def test_a_refresh_that_was_refused_is_not_asked_for_again(asked: Asked, gate: Gate) -> None:
    for _ in range(3):
        assert await gate.refresh(REFRESH, None) is None
    assert asked.refreshes == 1
