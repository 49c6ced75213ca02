"""A server that hangs does not hang the application that asks it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import pytest

from keystead_client.errors import KeysteadError, NetworkError, NotAuthenticated, Timeout
from keystead_client.tokens import Tokens
from keystead_client.wary import SILENCE, WaryServer

ANN = {"id": "1"}


class Hanging:
    """Answers what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.answer: KeysteadError | dict[str, str] = Timeout("no answer", was_sent=True)

    async def me_with(self, auth_token: str, *, forwarded_for: str | None = None) -> Mapping[str, Any]:
        self.asked += 1
        await self.may_answer.wait()
        if isinstance(self.answer, KeysteadError):
            raise self.answer
        return self.answer

    async def login_with(
        self, email: str, password: str, *, brand: str | None = None, forwarded_for: str | None = None
    ) -> Tokens:
        await self.me_with("")
        raise AssertionError

    async def refresh_with(self, refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        raise AssertionError

    async def logout_with(self, auth_token: str, *, forwarded_for: str | None = None) -> None:
        raise AssertionError

    async def close(self) -> None:
        raise AssertionError


class Now:
    """Seconds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Now:
    return Now()


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


@pytest.fixture
async def wary(hanging: Hanging, clock: Now) -> WaryServer:
    """One whose server hangs, since more than the pause ago."""
    wary = WaryServer(hanging, clock)
    hanging.may_answer.set()
    for _ in range(SILENCE):
        with pytest.raises(Timeout, match="no answer"):
            await wary.me_with("token")
    with pytest.raises(Timeout, match="at the moment"):
        await wary.me_with("token")
    clock.now += 2
    hanging.may_answer.clear()
    assert hanging.asked == SILENCE
    hanging.asked = 0
    return wary


async def heard(wary: WaryServer) -> Any:
    """The answer, or the error that is raised."""
    return (await asyncio.gather(wary.me_with("token"), return_exceptions=True))[0]


async def test_a_slow_moment_sends_nobody_away(hanging: Hanging, clock: Now) -> None:
    wary = WaryServer(hanging, clock)
    hanging.may_answer.set()
    for answer in [Timeout("no answer", was_sent=True)] * (SILENCE - 1) + [ANN]:
        hanging.answer = answer
        assert await heard(wary) is answer
    hanging.answer = Timeout("no answer", was_sent=True)
    for _ in range(SILENCE - 1):
        with pytest.raises(Timeout, match="no answer"):
            await wary.me_with("token")
    hanging.answer = ANN
    assert await wary.me_with("token") == ANN


async def test_logins_that_take_too_long_send_nobody_away(hanging: Hanging, clock: Now) -> None:
    wary = WaryServer(hanging, clock)
    hanging.may_answer.set()
    for _ in range(SILENCE):
        with pytest.raises(Timeout, match="no answer"):
            await wary.login_with("ann@example.com", "slowly")
    hanging.answer = ANN
    assert await wary.me_with("token") == ANN


async def test_while_one_asks_the_others_are_told_at_once(wary: WaryServer, hanging: Hanging, clock: Now) -> None:
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    for ask in (wary.me_with("x"), wary.login_with("a", "b"), wary.refresh_with("c"), wary.logout_with("d")):
        with pytest.raises(Timeout, match="at the moment"):
            await ask
    assert hanging.asked == 1
    hanging.may_answer.set()
    with pytest.raises(Timeout, match="no answer"):
        await one
    clock.now += 2
    with pytest.raises(Timeout, match="no answer"):
        await wary.me_with("x")
    assert hanging.asked == 2, "one question after another"


@pytest.mark.parametrize("answer", [ANN, NotAuthenticated("over"), NetworkError("refused", was_sent=False)])
async def test_whatever_is_heard_ends_the_silence(wary: WaryServer, hanging: Hanging, answer: Any) -> None:
    hanging.answer = answer
    hanging.may_answer.set()
    for _ in range(2):
        assert await heard(wary) is answer
    hanging.may_answer.clear()
    both = [asyncio.create_task(wary.me_with("token")) for _ in range(2)]
    await asyncio.sleep(0)
    assert hanging.asked == 4, "many at a time again"
    hanging.may_answer.set()
    await asyncio.gather(*both, return_exceptions=True)


async def test_one_who_is_cancelled_keeps_nobody_from_asking(wary: WaryServer, hanging: Hanging) -> None:
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait([one])
    hanging.answer = ANN
    hanging.may_answer.set()
    assert await wary.me_with("two") == ANN


async def test_a_process_that_was_forked_asks_for_itself(
    wary: WaryServer, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    hanging.answer = ANN
    hanging.may_answer.set()
    assert await wary.me_with("two") == ANN
    await one
