"""The rules of errors, retries and refreshes, without any network."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, replace
from types import coroutine
from typing import Any

import pytest

from keystead_client import AsyncClient, _operations, _protocol
from keystead_client._endpoint import Endpoint
from keystead_client._protocol import Operation, Reply, is_query
from keystead_client.errors import (
    KeysteadError,
    NetworkError,
    NotAuthenticated,
    RateLimited,
    RefreshTokenInvalid,
    ServerError,
    Timeout,
    Unauthenticated,
    Unauthorized,
    Unavailable,
)
from keystead_client.tokens import MemoryTokens, Tokens
from tests.sdk.jwts import access_token

QUERY = Operation.of("{ me { id } }")
MUTATION = Operation.of("mutation { logout { data { success } } }")
ENDPOINT = Endpoint("https://id.example.com/graphql", api_key="the key", brand_token="the brand token")


def answer(data: object = None, code: str | None = None, status: int = 200, **headers: str) -> Reply:
    envelope: dict[str, Any] = {"errors": [{"message": "no", "extensions": {"code": code}}]} if code else {}
    if data is not None:
        envelope["data"] = data
    return Reply(status, headers, json.dumps(envelope).encode())


@dataclass(frozen=True)
class Send:
    operation: Operation


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Refresh:
    tokens: Tokens


Flow = Coroutine[Any, Any, Any]


@coroutine
def step(asked: object) -> Generator[object, Any, Any]:
    """Hand a step to :func:`play`; its outcome."""
    return (yield asked)


async def post(operation: Operation) -> Reply:
    reply: Reply = await step(Send(operation))
    return reply


async def sleep(seconds: float) -> None:
    await step(Sleep(seconds))


def execute(operation: Operation, retries: int) -> Flow:
    return _protocol.execute(operation, post, sleep, retries)


async def ask(operation: Operation) -> dict[str, Any]:
    return await _protocol.execute(operation, post, sleep, 2)


def play(flow: Flow, *outcomes: Reply | KeysteadError | str) -> tuple[list[Any], Any]:
    """The steps of a flow that is given these outcomes, and its result or error; sleeps take none."""
    left, steps = list(outcomes), []
    result: Any = None
    try:
        step = flow.send(None)
        while True:
            steps.append(step)
            if isinstance(step, Sleep):
                step = flow.send(None)
                continue
            outcome = left.pop(0)
            step = flow.throw(outcome) if isinstance(outcome, KeysteadError) else flow.send(outcome)
    except StopIteration as done:
        result = done.value
    except KeysteadError as error:
        result = error
    assert left == []
    return steps, result


def sent(steps: list[Any]) -> list[Operation]:
    return [step.operation for step in steps if isinstance(step, Send)]


LOST = NetworkError("lost", was_sent=True)
UNREACHED = NetworkError("unreached", was_sent=False)
BUSY_BEFORE = answer(None, "SERVER_BUSY", 503)
BUSY_AFTER = answer({"logout": None}, "SERVICE_UNAVAILABLE", 503)
PROXY = Reply(502, {}, b"<html>")


@pytest.mark.parametrize("failure", [LOST, UNREACHED, BUSY_BEFORE, BUSY_AFTER, PROXY])
def test_a_query_is_retried_a_few_times(failure: Reply | KeysteadError) -> None:
    steps, result = play(execute(QUERY, 2), failure, failure, answer({"me": None}))
    assert result == {"me": None}
    assert [type(step) for step in steps] == [Send, Sleep, Send, Sleep, Send]
    steps, result = play(execute(QUERY, 2), failure, failure, failure)
    assert isinstance(result, NetworkError | Unavailable)


@pytest.mark.parametrize("failure", [LOST, BUSY_AFTER, PROXY])
def test_a_mutation_that_may_have_been_executed_is_never_retried(failure: Reply | KeysteadError) -> None:
    steps, result = play(execute(MUTATION, 2), failure)
    assert len(steps) == 1
    assert isinstance(result, NetworkError | Unavailable)


@pytest.mark.parametrize("failure", [UNREACHED, BUSY_BEFORE])
def test_a_mutation_that_was_certainly_not_executed_is_retried(failure: Reply | KeysteadError) -> None:
    assert len(sent(play(execute(MUTATION, 2), failure, answer({"logout": {}}))[0])) == 2


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_the_backoff_is_exponential_with_jitter_and_bounded(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low + share * (high - low))
    steps, _ = play(execute(QUERY, 8), *[LOST] * 9)
    waits = [step.seconds for step in steps if isinstance(step, Sleep)]
    assert waits == pytest.approx([share * most for most in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)])


def test_retry_after_is_respected_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    steps, _ = play(execute(QUERY, 1), answer(None, "RATE_LIMITED", 429, **{"Retry-After": "3"}), answer({}))
    assert steps[1] == Sleep(3.1)
    steps, error = play(execute(QUERY, 2), answer(None, "RATE_LIMITED", 429, **{"retry-after": "60"}))
    assert len(steps) == 1
    assert isinstance(error, RateLimited)
    assert error.retry_after == 60


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1, 10**400, True, "5"])
def test_an_invalid_retry_after_is_ignored(seconds: Any) -> None:
    body = json.dumps({"errors": [{"message": "no", "extensions": {"code": "SERVER_BUSY", "retryAfter": seconds}}]})
    steps, error = play(execute(QUERY, 1), *[Reply(503, {}, body.encode())] * 2)
    assert error.retry_after is None
    assert 0 <= steps[1].seconds < 1


@pytest.mark.parametrize("code", ["FORBIDDEN", "BAD_USER_INPUT", "INTERNAL_SERVER_ERROR", "INVALID_CREDENTIALS", "NEW"])
def test_a_rejection_is_not_retried(code: str) -> None:
    steps, error = play(execute(QUERY, 2), answer({"me": None, "health": {"up": True}}, code))
    assert len(steps) == 1
    assert (error.code, error.data, len(error.errors)) == (code, {"me": None, "health": {"up": True}}, 1)


BODIES = [b"", b"[]", b"null", b'{"data": null}', b'{"data": [], "errors": []}', b'{"errors": [7]}', b"\xff"]


@pytest.mark.parametrize("body", [*BODIES, b"[" * 100_000])
def test_a_foreign_answer_is_a_server_error(body: bytes) -> None:
    _, error = play(execute(QUERY, 0), Reply(200, {}, body))
    assert type(error) is ServerError


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ me { id } }", True),
        ("query A($b: ID!) { mutations(by: $b) { last_login } } fragment F on Me { id }", True),
        ("query A { me { id } } mutation B { logout { data { success } } }", False),
        ("query A{me{id}}mutation{logout}", False),
        ("\ufeffmutation@a{logout}", False),
        ("subscription { a }", False),
        ('{ login(email: "a", brand: "b", password: "c") }', False),
        ('{ a(b: "in doubt, mutation") }', False),
    ],
)
def test_a_document_in_doubt_is_no_query(document: str, expected: bool) -> None:
    assert is_query(document) is expected


# ------------------------------------------------------------------------------------------------------------- sessions


class Session(AsyncClient):
    """A client whose steps are played."""

    _post, _sleep = staticmethod(post), staticmethod(sleep)

    def __init__(self, store: MemoryTokens, now: float = 0.0) -> None:
        options: dict[str, Any] = {"api_key": "ks_sk_key", "brand_token": "ks_bt_token", "retries": 0}
        super().__init__("https://id.example.com", tokens=store, clock=lambda: now, **options)

    async def _refresh(self, due: Tokens) -> Tokens:
        return replace(due, auth_token=await step(Refresh(due)))

    async def run(self, operation: Operation) -> dict[str, Any]:
        return await self._execute(operation, self._state.current())


def session(tokens: Tokens | None, now: float = 0.0) -> tuple[Session, MemoryTokens]:
    store = MemoryTokens(tokens)
    return Session(store, now), store


PAIR = Tokens("auth-1", "refresh-1")
REJECTED = answer(None, "UNAUTHENTICATED", 401)
PAIR_ANSWER = answer({"refreshToken": {"data": {"auth_token": "auth-2", "refresh_token": "refresh-2"}}})


@pytest.mark.attack("A104")
def test_a_rejected_request_is_retried_once_after_a_refresh() -> None:
    steps, error = play(session(PAIR)[0].run(MUTATION), REJECTED, "auth-2", REJECTED)
    assert [type(step) for step in steps] == [Send, Refresh, Send]
    assert [operation.headers["Authorization"] for operation in sent(steps)] == ["Bearer auth-1", "Bearer auth-2"]
    assert isinstance(error, Unauthenticated)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(answer(None, "UNAUTHORIZED", 401), Unauthorized), (answer({"me": None}, "UNAUTHENTICATED"), Unauthenticated)],
)
def test_other_rejections_lead_to_no_refresh(reply: Reply, expected: type[KeysteadError]) -> None:
    """A bad API key, and a field that needs a user."""
    steps, error = play(session(PAIR)[0].run(QUERY), reply)
    assert len(steps) == 1
    assert type(error) is expected


def test_an_exchange_shows_only_the_refresh_token() -> None:
    kept, store = session(PAIR)
    steps, new = play(kept._refresh_alone(PAIR), PAIR_ANSWER)
    assert dict(sent(steps)[0].headers) == {}
    assert store.load() == new == Tokens("auth-2", "refresh-2", "pair", "refresh-1")


def test_the_previous_token_is_tried_where_the_new_one_is_unknown() -> None:
    tokens = Tokens("auth-2", "refresh-2", "pair", "refresh-1")
    steps, _ = play(session(tokens)[0]._refresh_alone(tokens), answer({}, "REFRESH_TOKEN_INVALID"), PAIR_ANSWER)
    presented = [operation.variables["input"]["refresh_token"] for operation in sent(steps)]
    assert presented == ["refresh-2", "refresh-1"]


@pytest.mark.attack("A104")
@pytest.mark.parametrize("code", ["REFRESH_TOKEN_INVALID", "REFRESH_TOKEN_EXPIRED", "REFRESH_TOKEN_REUSED"])
def test_a_session_that_is_over_is_over(code: str) -> None:
    kept, store = session(PAIR)
    steps, error = play(kept._refresh_alone(PAIR), answer({"refreshToken": None}, code))
    assert len(steps) == 1
    assert isinstance(error, NotAuthenticated)
    assert kept.tokens is None
    # The API key may have more rights than the user: it must not act in their place, in the next run either.
    steps, error = play(kept.run(QUERY))
    assert (steps, type(error)) == ([], Unauthenticated)
    steps, error = play(Session(store).run(QUERY))
    assert (steps, type(error)) == ([], Unauthenticated)


def test_the_end_of_a_standing_session_is_an_invalid_refresh_token() -> None:
    kept, _ = session(Tokens(None, "standing-1", "standing"))
    _, error = play(kept.get_access_token(60), answer({"getAccessToken": None}, "REFRESH_TOKEN_INVALID"))
    assert isinstance(error, RefreshTokenInvalid)
    assert kept.tokens is None


@pytest.mark.parametrize("failure", [LOST, PROXY, answer(None, "RATE_LIMITED", 429)])
def test_a_refresh_that_failed_on_the_way_ends_nothing(failure: Reply | KeysteadError) -> None:
    kept, store = session(PAIR)
    play(kept._refresh_alone(PAIR), failure)
    assert store.load() == PAIR


def test_a_refresh_that_ends_after_a_logout_revives_nothing() -> None:
    kept, store = session(PAIR)
    flow = kept._refresh_alone(PAIR)
    flow.send(None)
    kept._state.start(None)
    with pytest.raises(NotAuthenticated):
        flow.send(PAIR_ANSWER)
    assert store.load() is None


def test_a_late_caller_gets_the_refreshed_tokens() -> None:
    assert play(session(PAIR)[0]._refresh_alone(Tokens("auth-0", "refresh-1"))) == ([], PAIR)


EARLY = access_token("s1", iat=0, exp=3600)
FAILURES = [LOST, UNREACHED, Timeout("late"), ServerError("no"), RateLimited("no")]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_refresh_that_came_early_and_failed_leaves_the_token_until_it_expires(failure: KeysteadError) -> None:
    steps, data = play(session(Tokens(EARLY, "refresh-1"), 3599)[0].run(QUERY), failure, answer({"up": True}))
    assert [type(step) for step in steps] == [Refresh, Send]
    assert steps[1].operation.headers["Authorization"] == f"Bearer {EARLY}"
    assert data == {"up": True}
    steps, error = play(session(Tokens(EARLY, "refresh-1"), 3600)[0].run(QUERY), failure)
    assert [type(step) for step in steps] == [Refresh]
    assert error is failure


# ----------------------------------------------------------------------------------------------------------- operations


def create_me() -> Flow:
    return _operations.create_me(ask)


def log_in_standing() -> Flow:
    return _operations.log_in(ask, "ann@example.com", "rainbow123", None, "standing")


def log_in_pair() -> Flow:
    return _operations.log_in(ask, "ann@example.com", "rainbow123", None, "pair")


@pytest.mark.parametrize("start", [create_me, log_in_standing, log_in_pair])
def test_a_session_that_may_have_been_opened_is_not_opened_again(start: Callable[[], Flow]) -> None:
    steps, error = play(start(), LOST)
    assert ([type(step) for step in steps], error) == ([Send], LOST)


def test_a_session_that_was_certainly_not_opened_is() -> None:
    steps, tokens = play(create_me(), UNREACHED, answer({"createMe": "standing-1"}))
    assert [type(step) for step in steps] == [Send, Sleep, Send]
    assert tokens == Tokens(None, "standing-1", "standing")


@pytest.mark.parametrize("token", ["\ud800", "é", "a b", "a\n", ""])
def test_what_no_header_can_carry_is_no_token(token: str) -> None:
    _, error = play(create_me(), answer({"createMe": token}))
    assert type(error) is ServerError


@pytest.mark.parametrize(
    "given", [None, [], {}, {"data": []}, {"data": {"auth_token": ["a"], "refresh_token": "b"}}, 7]
)
def test_an_answer_without_tokens_is_a_server_error(given: Any) -> None:
    _, error = play(session(PAIR)[0]._refresh_alone(PAIR), answer({"refreshToken": given}))
    assert type(error) is ServerError


def test_secrets_are_hidden_in_repr() -> None:
    operation = Operation("{ a }", {"password": "hidden"}, None, ENDPOINT.headers("hidden"))
    tokens = Tokens("hidden", "hidden")
    shown = repr([ENDPOINT, operation, Reply(200, {"a": "hidden"}, b"hidden"), tokens])
    assert "hidden" not in shown
    assert "the key" not in shown
