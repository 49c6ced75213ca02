"""Checks of tokens at the server: caching, the circuit breaker, and the limit of concurrent logins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest

from keystead_client._checks import (
    CHECK_TTL,
    MAX_LOGINS,
    PROBE_INTERVAL,
    PROBE_LEASE,
    TIMEOUT_WINDOW,
    TIMEOUTS_TO_OPEN,
    CircuitBreaker,
    TokenChecks,
)
from keystead_client._transport import PoolTimeout
from keystead_client.async_client import AsyncClient
from keystead_client.cookies import CookieTokens
from keystead_client.errors import (
    InvalidCredentials,
    KeysteadError,
    NetworkError,
    NotAuthenticated,
    RefreshTokenInvalid,
    ServerBusy,
    ServerError,
    Timeout,
    TokenExpired,
)
from keystead_client.tokens import Tokens
from keystead_client.verify import Verifier

ACCESS, REFRESH = "head.body.signature", "ks_rt_secret"
ANN = {"id": "1", "permissions": ["order:read"]}
NO_ANSWER = Timeout("no answer", was_sent=True)


@dataclass
class Claimed:
    user_id: str = "1"


class FakeServer:
    """Responds with ``outcome`` once it may answer; also a verifier."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls = 0
        self.outcome: KeysteadError | Mapping[str, Any] = ANN
        self.tokens = Tokens(ACCESS, REFRESH)
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def me_with(self, auth_token: str, **options: Any) -> Mapping[str, Any]:
        self.calls += 1
        outcome = self.outcome
        await self.may_answer.wait()
        if isinstance(outcome, KeysteadError):
            raise outcome
        return outcome

    async def verify_async(self, token: str) -> Claimed:
        await self.me_with(token)
        return Claimed()

    async def refresh_with(self, refresh_token: str, **options: Any) -> Tokens:
        await self.me_with("")
        return self.tokens

    async def login_with(self, email: str, password: str, **options: Any) -> Tokens:
        return await self.refresh_with("")

    def checks(self, verifier: Any = None) -> TokenChecks:
        return TokenChecks(cast(AsyncClient, self), cast(Verifier, verifier), lambda: self.now)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def checks(server: FakeServer) -> TokenChecks:
    return server.checks()


async def log_in(checks: TokenChecks) -> Tokens:
    return await checks.log_in("ann@example.com", "x", None, None)


# ------------------------------------------------------------------------------------------------------------- caching


async def test_an_answer_is_valid_from_the_start_of_the_call(server: FakeServer, checks: TokenChecks) -> None:
    """The session ends while the answer that it is valid is on its way, for four seconds."""
    server.may_answer.clear()
    first = asyncio.create_task(checks.check(ACCESS, None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert server.calls == 1
    server.outcome = NotAuthenticated("over")
    server.now += CHECK_TTL
    second = asyncio.create_task(checks.check(ACCESS, None))
    await asyncio.sleep(0)
    server.now += 3
    server.may_answer.set()
    assert await first == ANN
    assert await second is None
    assert await checks.check(ACCESS, None) is None


async def test_the_answer_of_a_verifier_is_not_cached_again(server: FakeServer) -> None:
    checks = server.checks(server)
    assert await checks.check(ACCESS, None) == {"id": "1"}
    server.outcome = NotAuthenticated("over")
    assert await checks.check(ACCESS, None) is None


async def test_the_server_decides_once_for_all_when_a_verifier_is_in_doubt(server: FakeServer) -> None:
    class Doubting:
        async def verify_async(self, token: str) -> Claimed:
            raise TokenExpired("by this clock")

    checks = server.checks(Doubting())
    assert await asyncio.gather(*(checks.check(ACCESS, None) for _ in range(3))) == [{"id": "1"}] * 3
    assert server.calls == 1


async def test_a_request_cannot_change_the_cached_user(server: FakeServer, checks: TokenChecks) -> None:
    user = cast(dict[str, Any], await checks.check(ACCESS, None))
    user["permissions"].append("admin")
    user["id"] = "2"
    assert await checks.check(ACCESS, None) == ANN
    assert server.calls == 1


@pytest.mark.parametrize("user", [{}, {"id": None}, {"email": "ann@example.com"}])
async def test_an_answer_without_a_user_ends_no_session(
    server: FakeServer, checks: TokenChecks, user: dict[str, Any]
) -> None:
    server.outcome = user
    with pytest.raises(ServerError):
        await checks.check(ACCESS, None)


async def test_malformed_tokens_of_the_server_are_its_fault(server: FakeServer, checks: TokenChecks) -> None:
    server.tokens = Tokens("a b", "c")
    for call in (log_in(checks), checks.refresh(REFRESH, None)):
        with pytest.raises(ServerError):
            await call


@pytest.mark.parametrize("token", ["token", "a.b", "a.b.c.d", "0" * 4000, "ks", REFRESH.upper()])
async def test_text_that_is_no_token_costs_no_call(server: FakeServer, checks: TokenChecks, token: str) -> None:
    assert await checks.check(token, None) is None
    assert await checks.refresh(token, None) is None
    await checks.end_session(CookieTokens(token, token), None)
    assert server.calls == 0


@pytest.mark.parametrize("token", [ACCESS, "a.b.c.d.e", "ks_at_future"])
async def test_text_that_may_be_a_token_is_checked(checks: TokenChecks, token: str) -> None:
    assert await checks.check(token, None) == ANN


async def test_a_rejected_refresh_is_cached(server: FakeServer, checks: TokenChecks) -> None:
    server.outcome = RefreshTokenInvalid("over")
    for _ in range(3):
        assert await checks.refresh(REFRESH, None) is None
    assert server.calls == 1


# ----------------------------------------------------------------------------------------------------- circuit breaker


def ask(breaker: CircuitBreaker, *outcomes: KeysteadError | None, kind: str = "token") -> list[str]:
    """Make one call after another: the messages of their errors."""
    messages = []
    for outcome in outcomes:
        try:
            with breaker.guard(kind):
                if outcome is not None:
                    raise outcome
        except KeysteadError as error:
            messages.append(error.message)
    return messages


@pytest.fixture
def breaker(server: FakeServer) -> CircuitBreaker:
    """Closed."""
    return CircuitBreaker(lambda: server.now)


@pytest.fixture
def open_breaker(breaker: CircuitBreaker) -> CircuitBreaker:
    ask(breaker, *[NO_ANSWER] * TIMEOUTS_TO_OPEN)
    assert breaker.is_open
    return breaker


@pytest.mark.parametrize("between", [NotAuthenticated("over"), ServerError("failed"), PoolTimeout("no slot")])
def test_timeouts_open_it_whatever_was_rejected_in_between(breaker: CircuitBreaker, between: KeysteadError) -> None:
    ask(breaker, *[between, NO_ANSWER] * (TIMEOUTS_TO_OPEN - 1), *[between] * 9)
    assert not breaker.is_open
    ask(breaker, NO_ANSWER)
    assert breaker.is_open


def test_a_success_starts_the_count_again(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        ask(breaker, *[NO_ANSWER] * (TIMEOUTS_TO_OPEN - 1), None)
    assert not breaker.is_open


def test_timeouts_of_more_than_a_minute_do_not_open_it(breaker: CircuitBreaker, server: FakeServer) -> None:
    for _ in range(9):
        ask(breaker, NO_ANSWER)
        server.now += TIMEOUT_WINDOW / 2
        assert not breaker.is_open


def test_slow_logins_do_not_open_it(breaker: CircuitBreaker) -> None:
    ask(breaker, *[NO_ANSWER] * 9, kind="login")
    assert not breaker.is_open


def test_open_it_lets_one_probe_a_second_through(open_breaker: CircuitBreaker, server: FakeServer) -> None:
    assert ask(open_breaker, NO_ANSWER, None) == ["no answer", "the server does not respond at the moment"]
    server.now += PROBE_INTERVAL
    with open_breaker.guard("login"), open_breaker.guard("token"):
        assert ask(open_breaker, None) == ["the server does not respond at the moment"], "the probe is in progress"
        assert ask(open_breaker, None, kind="login") == ["the server does not respond at the moment"]
    assert not open_breaker.is_open, "a success closes it"
    assert ask(open_breaker, None, None) == []


def test_rejected_probes_keep_no_user_from_the_next_one(open_breaker: CircuitBreaker) -> None:
    """A stranger's made-up token is rejected each time; a user's valid token then closes the breaker."""
    rejected = NotAuthenticated("over")
    assert ask(open_breaker, *[rejected] * 3) == ["over"] * 3
    assert open_breaker.is_open
    assert ask(open_breaker, None) == []
    assert not open_breaker.is_open


def test_concurrent_timeouts_count_once(breaker: CircuitBreaker, server: FakeServer) -> None:
    guards = [breaker.guard("token") for _ in range(TIMEOUTS_TO_OPEN)]
    for guard in guards:
        guard.__enter__()
    server.now += 5
    for guard in guards:
        assert not guard.__exit__(Timeout, NO_ANSWER, None)
    assert not breaker.is_open


def test_an_abandoned_probe_does_not_block_the_next_for_long(open_breaker: CircuitBreaker, server: FakeServer) -> None:
    abandoned = open_breaker.guard("token")
    abandoned.__enter__()
    server.now += PROBE_LEASE
    assert open_breaker.is_open
    assert ask(open_breaker, None) == []


@pytest.mark.parametrize("seconds", [TIMEOUT_WINDOW, -1])
def test_it_closes_after_a_minute_without_timeouts(
    open_breaker: CircuitBreaker, server: FakeServer, seconds: float
) -> None:
    server.now += seconds
    assert not open_breaker.is_open


async def test_a_server_that_hangs_fails_checks_and_refreshes_fast(server: FakeServer, checks: TokenChecks) -> None:
    server.outcome = NO_ANSWER
    for number in range(TIMEOUTS_TO_OPEN + 1):
        with pytest.raises(Timeout, match="no answer"):
            await checks.check(f"a.b.{number}", None)
    ending = checks.end_session(CookieTokens(None, REFRESH), None)
    for call in (checks.check(ACCESS, None), checks.refresh(REFRESH, None), ending):
        with pytest.raises(Timeout, match="at the moment"):
            await call
    assert server.calls == TIMEOUTS_TO_OPEN + 1
    server.outcome = ANN
    server.now += 1
    assert await log_in(checks) == server.tokens, "logins have their own probe"
    assert await checks.check(ACCESS, None) == ANN


# ------------------------------------------------------------------------------------------------------ login limit


async def test_concurrent_logins_are_limited(server: FakeServer, checks: TokenChecks) -> None:
    server.may_answer.clear()
    server.outcome = InvalidCredentials("wrong")
    logins = [asyncio.create_task(log_in(checks)) for _ in range(MAX_LOGINS + 9)]
    await asyncio.sleep(0)
    assert server.calls == MAX_LOGINS
    assert [type(task.exception()) for task in logins if task.done()] == [ServerBusy] * 9
    logins[0].cancel()
    server.may_answer.set()
    await asyncio.gather(*logins, return_exceptions=True)
    server.outcome = ANN
    assert await asyncio.gather(*(log_in(checks) for _ in range(MAX_LOGINS))) == [server.tokens] * MAX_LOGINS


async def test_a_network_error_says_nothing_of_a_hanging_server(server: FakeServer, checks: TokenChecks) -> None:
    server.outcome = NetworkError("refused", was_sent=False)
    for _ in range(9):
        with pytest.raises(NetworkError, match="refused"):
            await checks.check(ACCESS, None)


@pytest.mark.parametrize("seconds", [0, 1, 5])
async def test_no_worker_waits_for_a_busy_server(seconds: int) -> None:
    """A longer ``Retry-After`` is not waited for, whatever client the middleware was given."""
    asked: list[httpx.Request] = []

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        error = {"message": "busy", "extensions": {"code": "SERVER_BUSY", "retryAfter": seconds}}
        return httpx.Response(503, json={"errors": [error]})

    async with AsyncClient("https://id.example.com", transport=httpx.MockTransport(busy), retries=1) as client:
        checks = TokenChecks(client, None, time.time)
        for call in (checks.check(ACCESS, None), checks.refresh(REFRESH, None), log_in(checks)):
            asked.clear()
            with pytest.raises(ServerBusy) as raised:
                await call
            assert len(asked) == (1 if seconds else 2)
            assert raised.value.retry_after == seconds


async def test_an_exhausted_connection_pool_is_no_timeout_of_the_server() -> None:
    def crowded(request: httpx.Request) -> httpx.Response:
        raise httpx.PoolTimeout("crowded")

    transport = httpx.MockTransport(crowded)
    async with AsyncClient("https://id.example.com", transport=transport, retries=0) as client:
        with pytest.raises(PoolTimeout) as raised:
            await client.me_with("token")
    assert not raised.value.was_sent
