"""What an execution answers: data, errors, statuses, headers; and what it never says."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from keystead.context import Context
from keystead.errors import (
    AccessTokenRefused,
    BrandMismatch,
    KeyRefused,
    MalformedRequest,
    RateLimited,
    ServiceUnavailable,
)
from keystead.graphql.documents import DocumentCache
from keystead.graphql.errors import error_response
from keystead.graphql.executor.execute import Target, execute
from keystead.graphql.executor.selection import Selection
from keystead.graphql.schema import load_fixed
from tests.graphql.fakes import SDL, api_key, ask, codes, context, fixed, registry, user

VERSION = fixed().version


async def test_data_and_errors_stand_side_by_side() -> None:
    status, body = await ask(VERSION, "{ words\n  other: refused }")
    assert status == 200
    assert body == {
        "data": {"words": ["x", "y"], "other": None},
        "errors": [
            {
                "message": "This value is taken.",
                "locations": [{"line": 2, "column": 3}],
                "path": ["other"],
                "extensions": {"field": "email", "code": "CONFLICT", "referenceId": "ref-1"},
            }
        ],
    }


@pytest.mark.parametrize(
    ("caller", "text", "code"),
    [
        (None, "{ mine }", "UNAUTHENTICATED"), (api_key("admin"), "{ mine }", "UNAUTHENTICATED"),
        (None, "{ ours }", "UNAUTHENTICATED"), (None, "{ secret }", "UNAUTHENTICATED"),
        (user("read"), "{ secret }", "FORBIDDEN"), (api_key("write"), "{ secret }", "FORBIDDEN"),
    ],
)  # fmt: skip
async def test_a_field_that_the_caller_may_not_use_is_null_with_an_error(caller: Any, text: str, code: str) -> None:
    status, body = await ask(VERSION, text, ctx=context(caller))
    assert (status, codes(body)) == (200, [code])
    assert list(body["data"].values()) == [None]


async def test_a_resolver_is_called_only_with_access() -> None:
    status, body = await ask(VERSION, "{ mine secret ours }", ctx=context(user("admin")))
    assert (status, body["data"]) == (200, {"mine": "mine", "secret": "the plans", "ours": "ours"})
    called: list[str] = []

    async def tell(_ctx: Context, _args: dict[str, Any], _selection: Selection) -> str:
        called.append("secret")
        return "the plans"

    version = load_fixed({**registry(), "Query.secret": tell}, SDL).version
    await ask(version, "{ secret }", ctx=context(user("read")))
    assert called == []
    await ask(version, "{ secret }", ctx=context(user("admin")))
    assert called == ["secret"]


async def test_a_cause_goes_to_the_log_alone_and_the_text_of_a_credential_operation_nowhere() -> None:
    async def fail(_ctx: Context, args: dict[str, Any], _selection: Selection) -> str:
        raise RuntimeError(f"could not log in with {args['password']}")

    version = load_fixed({**registry(), "Query.login": fail}, SDL).version
    with capture_logs() as logs:
        status, body = await ask(version, '{ login(email: "e", password: "hunter2") }')
    assert (status, codes(body)) == (200, ["INTERNAL_SERVER_ERROR"])
    assert "hunter2" not in str(logs)
    assert "hunter2" not in str(body)
    assert logs[0]["kind"] == "RuntimeError"
    with capture_logs() as logs:
        _, body = await ask(VERSION, "{ busy }")
    assert "10.0.0.1" not in str(body)
    assert logs[0]["cause"] == "connection refused by 10.0.0.1"


@pytest.mark.parametrize(
    ("text", "status", "retry"),
    [
        ("{ busy }", 503, "7"), ("{ limited }", 429, "30"), ("{ busy limited }", 503, "30"),
        ("{ busy words }", 200, "7"), ("{ busy refused }", 200, "7"), ("{ busy __typename }", 200, "7"),
        ("{ refused }", 200, None),
    ],
)  # fmt: skip
async def test_overload_is_a_status_only_where_nothing_else_was_answered(
    text: str, status: int, retry: str | None
) -> None:
    answer = await execute(Target(context(), VERSION), text, documents=DocumentCache())
    assert (answer.status, answer.headers.get("Retry-After")) == (status, retry)
    assert "data" in answer.body


async def test_an_execution_ends_at_its_deadline() -> None:
    status, body = await ask(VERSION, "{ words slow must }", deadline=0.01)
    assert status == 200
    assert body["data"] is None  # `must` may not be null
    status, body = await ask(VERSION, "{ words slow late: words }", deadline=0.01)
    assert (status, codes(body)) == (200, ["SERVICE_UNAVAILABLE"] * 2)
    assert body["data"] == {"words": ["x", "y"], "slow": None, "late": None}
    status, body = await ask(VERSION, "{ slow }", deadline=0.01)
    assert (status, body["data"]) == (503, {"slow": None})


async def test_an_answer_above_one_mebibyte_is_refused_and_nothing_more_gathered_for_it() -> None:
    calls = 0

    async def count(_ctx: Context, _arguments: dict[str, Any], _selection: Selection) -> str:
        nonlocal calls
        calls += 1
        return "x" * 600_000

    version = load_fixed({**registry(), "Query.big": count}, SDL).version
    status, body = await ask(version, "{ a: big b: big c: big words }")
    assert (status, codes(body), calls) == (400, ["GRAPHQL_VALIDATION_FAILED"], 2)
    assert body["errors"][0]["extensions"]["limit"] == "response"
    status, body = await ask(version, "{ big words }")
    assert (status, codes(body)) == (200, [])
    answer = await execute(Target(context(), VERSION), "{ big }", documents=DocumentCache())
    assert (answer.status, codes(answer.body)) == (400, ["GRAPHQL_VALIDATION_FAILED"])
    assert answer.body["errors"][0]["extensions"]["limit"] == "response"
    assert len(answer.content) < 1000


async def test_an_answer_of_too_many_values_is_refused_before_it_is_built() -> None:
    async def many(_ctx: Context, _args: dict[str, Any], _selection: Selection) -> Any:
        return [{"id": "x"}] * 200_000

    version = load_fixed({**registry(), "Query.twins": many}, SDL).version
    status, body = await ask(version, "{ twins { id } }")
    assert (status, body["errors"][0]["extensions"]["limit"]) == (400, "response")


async def test_mutations_run_one_after_another() -> None:
    order: list[int] = []

    async def add(_ctx: Context, args: dict[str, Any], _selection: Selection) -> int:
        order.append(args["n"])
        return int(args["n"])

    version = load_fixed({**registry(), "Mutation.add": add}, SDL).version
    _, body = await ask(version, "mutation { b: add(n: 2) a: add(n: 1) c: add(n: 3) }")
    assert order == [2, 1, 3]
    assert list(body["data"]) == ["b", "a", "c"]


async def test_arguments_are_the_resolvers_own() -> None:
    seen: list[Any] = []

    async def greedy(_ctx: Context, args: dict[str, Any], _selection: Selection) -> None:
        seen.append(repr(args))
        args["tags"].append("mine")
        args.get("where", {}).clear()
        args.clear()

    version = load_fixed({**registry(), "Query.people": greedy}, SDL).version
    cache = DocumentCache()
    for text in (
        '{ people(where: {field: "a"}) { pagination { total } } }',
        'query($w: ConditionInput = {field: "a"}) { people(where: $w) { pagination { total } } }',
        'query($f: String = "a") { people(where: {field: $f}, tags: ["t", $f]) { pagination { total } } }',
    ):
        for _ in range(3):
            await execute(Target(context(), version), text, documents=cache)
        assert len(set(seen)) == 1, seen
        seen.clear()


async def test_a_resolver_sees_what_is_selected_through_aliases_and_fragments() -> None:
    seen: list[Selection] = []

    async def look(_ctx: Context, _args: dict[str, Any], selection: Selection) -> None:
        seen.append(selection)

    version = load_fixed({**registry(), "Query.people": look}, SDL).version
    text = """query($m: Int) { people { a: data { id } ...F pagination { __typename } } }
      fragment F on PersonList {
        b: data { x: name few: orders(minimum: 1) { data { id } } many: orders(minimum: $m) { pagination { total } } }
      }"""
    await ask(version, text, {"m": 5})
    [selection] = seen
    assert selection.names == {"data", "pagination"}
    data = selection.child("data")
    assert data is not None
    assert data.names == {"id", "name", "orders"}
    assert selection.wants("data.orders.pagination.total")
    assert selection.wants("data.name")
    assert not any(map(selection.wants, ("pagination.total", "data.nickname", "data.nickname.x")))
    orders = [field for field in data.fields if field.name == "orders"]
    assert {field.key: dict(field.arguments) for field in orders} == {"few": {"minimum": 1}, "many": {"minimum": 5}}
    assert selection.child("nothing") is None
    assert repr(selection) == "Selection(['data', 'pagination'])"


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (AccessTokenRefused(), 401, ("WWW-Authenticate", 'Bearer error="invalid_token"')), (KeyRefused(), 401, None),
        (MalformedRequest(status=405), 405, ("Allow", "POST")), (MalformedRequest(status=413), 413, None),
        (RateLimited(retry_after=4), 429, ("Retry-After", "4")), (ServiceUnavailable(), 503, ("Retry-After", "1")),
    ],
)  # fmt: skip
def test_a_refused_request_has_its_status_and_header(
    error: Exception, status: int, header: tuple[str, str] | None
) -> None:
    answer = error_response(error, "ref-2")
    assert answer.status == status
    assert dict(answer.headers) == (dict([header]) if header else {})
    assert "data" not in answer.body
    assert answer.body["errors"][0]["extensions"]["referenceId"] == "ref-2"


def test_an_unknown_exception_before_execution_is_500_and_logged() -> None:
    with capture_logs() as logs:
        answer = error_response(RuntimeError("secret text"), "ref-3")
    assert (answer.status, codes(answer.body)) == (500, ["INTERNAL_SERVER_ERROR"])
    assert "secret" not in answer.content.decode()
    assert logs[0]["reference_id"] == "ref-3"
    answer = error_response(BrandMismatch(), "ref-4")
    assert (answer.status, answer.body["data"], codes(answer.body)) == (200, None, ["BRAND_MISMATCH"])
