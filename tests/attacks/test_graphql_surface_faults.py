"""G6: what breaks inside says so, and nothing else; the log has the rest, without secrets."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from keystead.authentication import authenticate
from keystead.context import ActiveBrand, Context, Server
from keystead.errors import Conflict, InternalError
from keystead.graphql.resolvers import load_resolvers
from keystead.users.model import User
from keystead.web import graphql_endpoint, logs
from tests.api import Answer, Api, make_api
from tests.attacks.callers import make_key, sign_in
from tests.attacks.outage import FailingDatabase, failing
from tests.clocks import ManualClock
from tests.make import PASSWORD, make_brand, make_brand_token, make_entity, make_server

HEALTH = "{ health { data { up } } }"
BOTH = "{ health { data { up } } userList { data { id } } }"
TEXT = "SELECT password_hash FROM users WHERE id = 'x' -- /srv/keystead/secret.py line 7 ks_sk_marzipan"
FAULTS: list[BaseException] = [
    RuntimeError(TEXT), AssertionError(TEXT), KeyError(TEXT), ValueError(), ZeroDivisionError(TEXT), OSError(13, TEXT),
    RecursionError(TEXT), MemoryError(TEXT), TypeError(TEXT), sqlite3.OperationalError(TEXT), StopAsyncIteration(TEXT),
    asyncpg.PostgresError(TEXT), asyncpg.InterfaceError(TEXT), ExceptionGroup(TEXT, [RuntimeError(TEXT)]),
    UnicodeDecodeError("utf-8", TEXT.encode(), 0, 1, TEXT), InternalError(cause=TEXT), TimeoutError(TEXT),
]  # fmt: skip
ANSWERS: list[Any] = [None, 5, TEXT, [], {}, {"data": None}, {"data": {}}, {"data": {"up": object()}},
                      {"data": {"up": TEXT}}, {"data": [TEXT]}, object()]  # fmt: skip
TELLTALES = (
    *("select ", "insert ", " from ", "sqlite", "asyncpg", "postgres", "operationalerror", "runtimeerror", "assertion"),
    *("traceback", "exception", ".py", "/srv", "/var", "marzipan", "password_hash", "127.0.0.1", "errno", "connect"),
    *("ks_sk_", "ks_rt_", "ks_bt_", "eyj", "$argon2", "line 7", "disk", "object at", "dict", "nonetype"),
)


def assert_tells_nothing(answer: Answer) -> None:
    text = str(answer.body).lower()
    assert not [word for word in TELLTALES if word in text], text


@pytest.mark.attack("A85")
async def test_a_resolver_that_raises(server: Server, monkeypatch: pytest.MonkeyPatch, brand: ActiveBrand) -> None:
    for fault in FAULTS:

        async def broken(*_: Any, fault: BaseException = fault) -> None:
            raise fault

        monkeypatch.setitem(load_resolvers(), "Query.health", broken)
        api = await make_api(server)
        with capture_logs() as written:
            answer = await api.send(HEALTH, key=await make_key(server, brand, "read"))
            beside = await api.send("{ __typename health { data { up } } }")
        assert (answer.status, answer.code) == (200, "INTERNAL_SERVER_ERROR"), fault
        assert answer.body["data"] == {"health": None}
        assert beside.body["data"] == {"__typename": "Query", "health": None}
        assert set(answer.extensions) == {"code", "referenceId"}
        assert_tells_nothing(answer)
        in_log = [event for event in written if event.get("reference_id") == answer.extensions["referenceId"]]
        assert len(in_log) == 1, "the log has it under the reference id"
        assert TEXT[:20] in str(in_log) or not str(fault)
        shown = str([logs.redact_event(None, "", event) for event in written])
        assert "ks_sk_marzipan" not in shown


@pytest.mark.attack("A85")
async def test_a_resolver_that_answers_nonsense(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for nonsense in ANSWERS:

        async def confused(*_: Any, nonsense: Any = nonsense) -> Any:
            return nonsense

        monkeypatch.setitem(load_resolvers(), "Query.health", confused)
        answer = await (await make_api(server)).send(HEALTH)
        if nonsense is None:
            assert answer.data == {"health": None}
            continue
        assert (answer.status, answer.code) == (200, "INTERNAL_SERVER_ERROR"), nonsense
        assert answer.body["data"] == {"health": None}
        assert_tells_nothing(answer)
    monkeypatch.undo()
    assert (await (await make_api(server)).send(HEALTH)).data


@pytest.mark.attack("A85")
async def test_what_raises_before_execution(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch, brand: ActiveBrand
) -> None:
    key = await make_key(server, brand, "read")
    for place, name in ((authenticate, "authenticate"), (graphql_endpoint, "execute")):
        for fault in FAULTS:

            async def broken(*_: Any, fault: BaseException = fault) -> Context:
                raise fault

            with monkeypatch.context() as patch, capture_logs() as written:
                patch.setattr(place, name, broken)
                answer = await api.send(HEALTH, key=key)
            assert (answer.status, answer.code) == (500, "INTERNAL_SERVER_ERROR"), fault
            assert "data" not in answer.body
            assert_tells_nothing(answer)
            assert key not in str(written)
    assert (await api.send(HEALTH, key=key)).data


@pytest.mark.attack("A85")
async def test_a_fault_amid_secrets_leaves_them_out_of_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, brand: ActiveBrand, ann: User, caplog: pytest.LogCaptureFixture
) -> None:
    """The documents of credential operations, their variables, and the headers."""

    async def broken(_: Context, arguments: dict[str, Any], __: object) -> None:
        seen = arguments
        raise RuntimeError(f"could not do it with {seen}")

    registry = load_resolvers()
    for name in ("Query.login", "Mutation.login", "Mutation.changePassword", "Query.getAccessToken"):
        monkeypatch.setitem(registry, name, broken)
    api = await make_api(server)
    token, key = await sign_in(server, brand), await make_key(server, brand, "admin")
    email = str(ann.profile.email)
    literal = f'{{ login(email: "{email}", brand: "{brand.name}", password: "{PASSWORD}") }}'
    with caplog.at_level(logging.DEBUG), capture_logs() as written:
        for query, variables in (
            (literal, {}),
            (literal.replace("}", ""), {}),
            (literal.replace("password", "pasword"), {}),
            (literal.replace(f'"{PASSWORD}"', f'["{PASSWORD}"]'), {}),
            ("mutation($i: AuthRequest!) { login(input: $i) { data { auth_token } } }",
             {"i": {"email": email, "password": PASSWORD}}),
            ("mutation($i: AuthRequest!) { login(input: $i) { data { auth_token } } }",
             {"i": {"email": email, "password": PASSWORD, "passwort": PASSWORD}}),
            ("mutation($p: String!) { changePassword(newPassword: $p, oldPassword: $p) }", {"p": PASSWORD}),
            ("query($t: String!) { getAccessToken(refreshToken: $t) }", {"t": "ks_rt_marzipan" + PASSWORD}),
        ):  # fmt: skip
            answer = await api.send(query, variables, token=token, key=key)
            assert answer.code in ("INTERNAL_SERVER_ERROR", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED",
                                   "BAD_USER_INPUT"), query  # fmt: skip
            assert_tells_nothing(answer)
            assert PASSWORD not in str(answer.body), query
    assert [event for event in written if event["event"] == "graphql.internal_error"]
    text = str(written) + caplog.text
    assert not [secret for secret in (PASSWORD, token, key, "ks_rt_marzipan") if secret in text]


@pytest.mark.attack("A85")
async def test_an_error_of_ours_keeps_its_cause_to_itself(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any) -> None:
        raise Conflict("This name is taken.", field="name", cause=TEXT)

    monkeypatch.setitem(load_resolvers(), "Query.health", refused)
    answer = await (await make_api(server)).send(HEALTH)
    assert answer.code == "CONFLICT"
    assert_tells_nothing(answer)


@pytest.fixture
async def fragile(database_url: str) -> AsyncIterator[FailingDatabase]:
    async with failing(database_url) as database:
        yield database


@pytest.mark.attack("A85")
async def test_the_database_is_down(
    fragile: FailingDatabase, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = await make_server(fragile.database, clock)
    brand = await make_entity(server, await make_brand(server))
    key, token = await make_key(server, brand, "admin"), await sign_in(server, brand, "admin")
    brand_token = (await make_brand_token(server, brand)).reveal()
    api = await make_api(server)
    login = (
        f'mutation {{ login(input: {{email: "ann@example.com", password: "{PASSWORD}"}}) {{ data {{ auth_token }} }} }}'
    )
    requests: list[tuple[str, dict[str, Any]]] = [
        (HEALTH, {"key": key}), (login, {}), (login, {"brand": brand_token}), ("{ me { id } }", {"token": token}),
        ("{ userList { data { id } } }", {"key": key}), ("mutation { createMe }", {"brand": brand_token}),
        ("{ customerList { data { id } } }", {"key": key, "token": token}),
    ]  # fmt: skip
    await api.send(HEALTH)
    await fragile.fail()
    with caplog.at_level(logging.DEBUG), capture_logs() as written:
        for query, caller in requests:
            answer = await api.send(query, **caller)
            assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE"), query
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.extensions["referenceId"]
            assert_tells_nothing(answer)
        assert (await api.http.get("/ready")).status_code == 503
        assert (await api.http.get("/health")).status_code == 200
        assert (await api.send(HEALTH, key="ks_sk_nonsense")).status == 401
    text = str(written) + caplog.text
    assert not [secret for secret in (PASSWORD, token, key, brand_token) if secret in text]
    await fragile.recover()
    for query, caller in requests:
        if query != login:
            assert (await api.send(query, **caller)).data, query
    assert (await api.http.get("/ready")).status_code == 200


@pytest.mark.attack("A85")
async def test_the_database_goes_away_during_a_request(
    fragile: FailingDatabase, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One field that needs it: 503. One that needs it and one that does not: what there is, and an error."""
    server = await make_server(fragile.database, clock)
    brand = await make_brand(server)
    key, registry = await make_key(server, brand, "admin"), load_resolvers()
    user_list, create_key = registry["Query.userList"], registry["Mutation.createApiKey"]

    async def cut_and(resolver: Any, *given: Any) -> Any:
        await fragile.fail()
        return await resolver(*given)

    monkeypatch.setitem(registry, "Query.userList", lambda *given: cut_and(user_list, *given))
    monkeypatch.setitem(registry, "Mutation.createApiKey", lambda *given: cut_and(create_key, *given))
    api = await make_api(server)
    making = 'mutation { createApiKey(input: {name: "n", permissions: []}) { data { token } } }'
    await api.send(HEALTH, key=key)
    for query, status in ((making, 503), ("{ brand { data { id } } }", 200), (BOTH, 200)):
        answer = await api.send(query, key=key)
        assert answer.status == status, query
        if query == BOTH:
            assert answer.body["data"] == {"health": {"data": {"up": True}}, "userList": None}
        if query != "{ brand { data { id } } }":
            assert answer.code == "SERVICE_UNAVAILABLE"
            assert_tells_nothing(answer)
        await fragile.recover()
    monkeypatch.undo()
    api = await make_api(server)
    for query in (making, BOTH):
        assert (await api.send(query, key=key)).data
