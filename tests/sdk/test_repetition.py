"""How long is waited before a repetition, what is never repeated, and what a refresh that failed leaves usable."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from keystead_client import _operations
from keystead_client._endpoint import Endpoint
from keystead_client._protocol import Flow, Question, Refresh, Reply, Send, Sleep, ask
from keystead_client._session import Session
from keystead_client.errors import KeysteadError, NetworkError, RateLimited, ServerError, Timeout
from keystead_client.tokens import MemoryTokens, Tokens

LOST = NetworkError("lost", was_sent=True)
UNREACHED = NetworkError("unreached", was_sent=False)
QUERY = Question.of("{ up }")


def answer(**data: Any) -> Reply:
    return Reply(200, {}, json.dumps({"data": data}).encode())


def of(**claims: Any) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


def steps_of(flow: Flow[Any], outcomes: list[Any]) -> tuple[list[Any], Any]:
    """The steps of a flow that is given these, and what comes of it."""
    steps = []
    try:
        step = next(flow)
        while True:
            steps.append(step)
            outcome = None if isinstance(step, Sleep) else outcomes.pop(0)
            step = flow.throw(outcome) if isinstance(outcome, KeysteadError) else flow.send(outcome)
    except StopIteration as done:
        return steps, done.value
    except KeysteadError as error:
        return steps, error


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_waits_are_random_and_grow_up_to_a_bound(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low + share * (high - low))
    steps, _ = steps_of(ask(QUERY, 8), [LOST] * 9)
    waits = [step.seconds for step in steps if isinstance(step, Sleep)]
    assert waits == pytest.approx([share * most for most in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)])


def test_what_the_server_asks_for_is_waited_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    body = {"errors": [{"message": "", "extensions": {"code": "RATE_LIMITED", "retryAfter": 3}}]}
    steps, _ = steps_of(ask(QUERY, 1), [Reply(429, {}, json.dumps(body).encode()), answer(up=True)])
    assert [step.seconds for step in steps if isinstance(step, Sleep)] == [3.1]


def create_me() -> Flow[Tokens]:
    return _operations.create_me(headers={}, retries=2)


def log_in_standing() -> Flow[Tokens]:
    return _operations.log_in("ann@example.com", "rainbow123", brand=None, kind="standing", headers={}, retries=2)


def log_in_pair() -> Flow[Tokens]:
    return _operations.log_in("ann@example.com", "rainbow123", brand=None, kind="pair", headers={}, retries=2)


@pytest.mark.parametrize("begin", [create_me, log_in_standing, log_in_pair])
def test_a_session_that_may_have_been_opened_is_not_opened_again(begin: Callable[[], Flow[Tokens]]) -> None:
    steps, error = steps_of(begin(), [LOST])
    assert [type(step) for step in steps] == [Send]
    assert error is LOST


def test_a_session_that_was_surely_not_opened_is() -> None:
    steps, tokens = steps_of(create_me(), [UNREACHED, answer(createMe="standing-1")])
    assert [type(step) for step in steps] == [Send, Sleep, Send]
    assert tokens == Tokens(None, "standing-1", "standing")


OLD = of(sub="ann", iat=0, exp=3600)


def asking(seconds: float) -> Flow[dict[str, Any]]:
    """What asks when the access token is so old."""
    store = MemoryTokens(Tokens(OLD, "refresh-1"))
    return Session(Endpoint("https://id.example.com/graphql"), store, 0, 60, lambda: seconds).execute(QUERY)


@pytest.mark.parametrize("failure", [LOST, UNREACHED, Timeout("late"), ServerError("no"), RateLimited("no")])
def test_a_refresh_that_came_early_and_failed_leaves_the_token_to_its_end(failure: KeysteadError) -> None:
    steps, data = steps_of(asking(3599), [failure, answer(up=True)])
    assert [type(step) for step in steps] == [Refresh, Send]
    assert steps[1].question.headers["Authorization"] == f"Bearer {OLD}"
    assert data == {"up": True}


@pytest.mark.parametrize("failure", [LOST, ServerError("no"), RateLimited("no")])
def test_a_token_past_its_end_is_not_used(failure: KeysteadError) -> None:
    steps, error = steps_of(asking(3600), [failure])
    assert [type(step) for step in steps] == [Refresh]
    assert error is failure


@pytest.mark.parametrize("token", ["\ud800", "é", "a b", "a\n", ""])
def test_what_no_header_can_carry_is_no_token(token: str) -> None:
    _, error = steps_of(create_me(), [answer(createMe=token)])
    assert type(error) is ServerError
