"""The rules about errors and repetition, without any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from keystead_client._endpoint import Endpoint
from keystead_client._protocol import Flow, Question, Refresh, Reply, Send, Sleep, ask, is_query
from keystead_client._session import Session
from keystead_client.errors import (
    KeysteadError,
    NetworkError,
    NotAuthenticated,
    RateLimited,
    RefreshTokenInvalid,
    ServerError,
    Unauthenticated,
    Unauthorized,
    Unavailable,
)
from keystead_client.tokens import MemoryTokens, Tokens

QUERY = Question.of("{ me { id } }")
MUTATION = Question.of("mutation { logout { data { success } } }")
ENDPOINT = Endpoint("https://id.example.com/graphql", api_key="the key", brand_token="the brand token")


def answer(data: object = None, code: str | None = None, status: int = 200, **headers: str) -> Reply:
    envelope: dict[str, Any] = {"errors": [{"message": "no", "extensions": {"code": code}}]} if code else {}
    if data is not None:
        envelope["data"] = data
    return Reply(status, headers, json.dumps(envelope).encode())


def play(flow: Flow[Any], outcomes: list[Reply | KeysteadError | str]) -> tuple[list[Any], Any]:
    """The steps that the flow took, and its result or error; sleeps take no outcome."""
    steps: list[Any] = []
    result: Any = None
    try:
        step = next(flow)
        while True:
            steps.append(step)
            if isinstance(step, Sleep):
                step = flow.send(None)
                continue
            outcome = outcomes.pop(0)
            step = flow.throw(outcome) if isinstance(outcome, KeysteadError) else flow.send(outcome)
    except StopIteration as done:
        result = done.value
    except KeysteadError as error:
        result = error
    assert outcomes == []
    return steps, result


def sent(steps: list[Any]) -> list[Question]:
    return [step.question for step in steps if isinstance(step, Send)]


LOST = NetworkError("lost", was_sent=True)
UNREACHED = NetworkError("unreached", was_sent=False)
BUSY_BEFORE = answer(None, "SERVER_BUSY", 503)
BUSY_AFTER = answer({"logout": None}, "SERVICE_UNAVAILABLE", 503)
PROXY = Reply(502, {}, b"<html>")


@pytest.mark.parametrize("failure", [LOST, UNREACHED, BUSY_BEFORE, BUSY_AFTER, PROXY])
def test_a_query_is_repeated(failure: Reply | KeysteadError) -> None:
    steps, result = play(ask(QUERY, 2), [failure, failure, answer({"me": None})])
    assert result == {"me": None}
    assert [type(step) for step in steps] == [Send, Sleep, Send, Sleep, Send]


@pytest.mark.parametrize("failure", [LOST, UNREACHED, BUSY_BEFORE, PROXY])
def test_a_query_is_repeated_only_so_often(failure: Reply | KeysteadError) -> None:
    steps, result = play(ask(QUERY, 2), [failure] * 3)
    assert len(sent(steps)) == 3
    assert isinstance(result, NetworkError | Unavailable)


@pytest.mark.parametrize("failure", [LOST, BUSY_AFTER, PROXY])
def test_what_may_have_changed_something_is_never_repeated(failure: Reply | KeysteadError) -> None:
    steps, result = play(ask(MUTATION, 2), [failure])
    assert len(steps) == 1
    assert isinstance(result, NetworkError | Unavailable)


@pytest.mark.parametrize("failure", [UNREACHED, BUSY_BEFORE])
def test_what_surely_did_not_run_is_repeated(failure: Reply | KeysteadError) -> None:
    assert len(sent(play(ask(MUTATION, 2), [failure, answer({"logout": {}})])[0])) == 2


def test_the_server_says_when_to_come_back() -> None:
    headers = {"Retry-After": "3"}
    steps, _ = play(ask(QUERY, 1), [answer(None, "RATE_LIMITED", 429, **headers), answer({})])
    assert 3 <= steps[1].seconds <= 4


def test_nobody_is_kept_waiting_long() -> None:
    headers = {"retry-after": "60"}
    steps, error = play(ask(QUERY, 2), [answer(None, "RATE_LIMITED", 429, **headers)])
    assert len(steps) == 1
    assert isinstance(error, RateLimited)
    assert error.retry_after == 60


@pytest.mark.parametrize("code", ["FORBIDDEN", "BAD_USER_INPUT", "INTERNAL_SERVER_ERROR", "INVALID_CREDENTIALS", "NEW"])
def test_a_refusal_is_not_repeated(code: str) -> None:
    steps, error = play(ask(QUERY, 2), [answer({"me": None}, code)])
    assert len(steps) == 1
    assert error.code == code


def test_partial_data_is_on_the_error() -> None:
    _, error = play(ask(QUERY, 2), [answer({"me": None, "health": {"up": True}}, "FORBIDDEN")])
    assert error.data == {"me": None, "health": {"up": True}}
    assert len(error.errors) == 1


BODIES = [
    b"",
    b"[]",
    b"null",
    b'{"data": null}',
    b'{"data": [], "errors": []}',
    b'{"errors": [7]}',
    b"[" * 100_000,
    b"\xff",
]


@pytest.mark.parametrize("body", BODIES)
def test_an_answer_of_something_else_is_a_server_error(body: bytes) -> None:
    _, error = play(ask(QUERY, 0), [Reply(200, {}, body)])
    assert type(error) is ServerError


@pytest.mark.attack("A104")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error(status: int) -> None:
    reply = Reply(status, {"location": "https://evil.example.com/graphql"}, b'{"data": {}}')
    steps, error = play(ask(QUERY, 2), [reply])
    assert len(steps) == 1
    assert isinstance(error, ServerError)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ me { id } }", True),
        ("query mutation { me { id } }", False),
        ("query A { me { mutation } } fragment F on Me { id }", True),
        ('query { userById(id: "} mutation {") { data { id } } }', True),
        ('query { a(b: """ " } mutation { """) }', True),
        ("# mutation\n{ me { id } }", True),
        ("query A { me { id } } mutation B { logout { data { success } } }", False),
        ("mutation { logout { data { success } } }", False),
        ("subscription { a }", False),
        ('{ a(b: "unclosed) }\n mutation { b }', False),
        ("} mutation {", False),
        ("{ a", False),
        ('{ login(email: "a", brand: "b", password: "c") }', False),
        ('{ a(b: "login") # login\n}', True),
    ],
)
def test_in_doubt_a_document_is_no_query(document: str, expected: bool) -> None:
    assert is_query(document) is expected


def session(tokens: Tokens | None) -> tuple[Session, MemoryTokens]:
    store = MemoryTokens(tokens)
    return Session(ENDPOINT, store, 0, 60, lambda: 0.0), store


PAIR = Tokens("auth-1", "refresh-1")
REFUSED = answer(None, "UNAUTHENTICATED", 401)


@pytest.mark.attack("A104")
def test_a_refused_request_is_repeated_once_and_no_more() -> None:
    steps, error = play(session(PAIR)[0].execute(MUTATION), [REFUSED, "auth-2", REFUSED])
    assert [type(step) for step in steps] == [Send, Refresh, Send]
    assert [question.headers["Authorization"] for question in sent(steps)] == ["Bearer auth-1", "Bearer auth-2"]
    assert isinstance(error, Unauthenticated)


def test_a_bad_key_is_not_mended_by_a_refresh() -> None:
    steps, error = play(session(PAIR)[0].execute(QUERY), [answer(None, "UNAUTHORIZED", 401)])
    assert len(steps) == 1
    assert isinstance(error, Unauthorized)


def test_a_field_that_needs_a_user_is_not_mended_by_a_refresh() -> None:
    steps, _ = play(session(PAIR)[0].execute(QUERY), [answer({"me": None}, "UNAUTHENTICATED")])
    assert len(steps) == 1


PAIR_ANSWER = answer({"refreshToken": {"data": {"auth_token": "auth-2", "refresh_token": "refresh-2"}}})


def test_an_exchange_shows_the_refresh_token_alone() -> None:
    kept, store = session(PAIR)
    steps, new = play(kept.refresh(Refresh("auth-1", "refresh-1")), [PAIR_ANSWER])
    assert dict(sent(steps)[0].headers) == {}
    assert store.load() == new == Tokens("auth-2", "refresh-2", "pair", "refresh-1")


def test_the_replaced_token_is_tried_where_the_new_one_is_unknown() -> None:
    kept, store = session(Tokens("auth-2", "refresh-2", "pair", "refresh-1"))
    steps, _ = play(kept.refresh(Refresh("auth-2", "refresh-2")), [answer({}, "REFRESH_TOKEN_INVALID"), PAIR_ANSWER])
    assert [_presented(question.variables) for question in sent(steps)] == ["refresh-2", "refresh-1"]
    assert store.load() is not None


@pytest.mark.attack("A104")
@pytest.mark.parametrize("code", ["REFRESH_TOKEN_INVALID", "REFRESH_TOKEN_EXPIRED", "REFRESH_TOKEN_REUSED"])
def test_a_session_that_is_over_is_over(code: str) -> None:
    kept, store = session(PAIR)
    steps, error = play(kept.refresh(Refresh("auth-1", "refresh-1")), [answer({"refreshToken": None}, code)])
    assert len(steps) == 1
    assert isinstance(error, NotAuthenticated)
    assert kept.tokens is None
    # The API key may do more than the user could: it must not act in the user's stead, in the next run either.
    steps, error = play(kept.execute(QUERY), [])
    assert steps == []
    assert error.code == code
    steps, error = play(Session(ENDPOINT, store, 0, 60, lambda: 0.0).execute(QUERY), [])
    assert steps == []
    assert type(error) is Unauthenticated


@pytest.mark.parametrize("failure", [LOST, PROXY, answer(None, "RATE_LIMITED", 429)])
def test_a_refresh_that_failed_on_the_way_ends_nothing(failure: Reply | KeysteadError) -> None:
    kept, store = session(PAIR)
    play(kept.refresh(Refresh("auth-1", "refresh-1")), [failure])
    assert store.load() == PAIR


def test_a_refresh_that_ends_after_a_logout_revives_nothing() -> None:
    kept, store = session(PAIR)
    flow = kept.refresh(Refresh("auth-1", "refresh-1"))
    next(flow)
    kept.begin(None)
    with pytest.raises(NotAuthenticated):
        flow.send(PAIR_ANSWER)
    assert store.load() is None


def test_who_comes_late_is_given_what_the_others_have() -> None:
    steps, tokens = play(session(PAIR)[0].refresh(Refresh("auth-0", "refresh-1")), [])
    assert (steps, tokens) == ([], PAIR)


def test_the_end_of_a_refresh_token_is_told_by_its_code() -> None:
    kept, _ = session(Tokens(None, "standing-1", "standing"))
    _, error = play(kept.access_token(60), [answer({"getAccessToken": None}, "REFRESH_TOKEN_INVALID")])
    assert isinstance(error, RefreshTokenInvalid)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1, 10**400, True, "5"])
def test_what_is_no_time_to_wait_is_not_waited(seconds: Any) -> None:
    body = json.dumps({"errors": [{"message": "no", "extensions": {"code": "SERVER_BUSY", "retryAfter": seconds}}]})
    steps, error = play(ask(QUERY, 1), [Reply(503, {}, body.encode()), Reply(503, {}, body.encode())])
    assert error.retry_after is None
    assert 0 <= steps[1].seconds < 1


@pytest.mark.parametrize(
    "given", [None, [], {}, {"data": []}, {"data": {"auth_token": ["a"], "refresh_token": "b"}}, 7]
)
def test_an_answer_without_tokens_is_a_server_error(given: Any) -> None:
    _, error = play(session(PAIR)[0].refresh(Refresh("auth-1", "refresh-1")), [answer({"refreshToken": given})])
    assert type(error) is ServerError


def test_secrets_are_not_shown() -> None:
    question = Question("{ a }", {"password": "hidden"}, None, ENDPOINT.headers("hidden"))
    tokens = Tokens("hidden", "hidden"), Refresh("hidden", "hidden")
    shown = repr([ENDPOINT, question, Reply(200, {"a": "hidden"}, b"hidden"), *tokens])
    assert "hidden" not in shown
    assert "the key" not in shown


def _presented(variables: Mapping[str, Any]) -> str:
    token: str = variables["input"]["refresh_token"]
    return token
