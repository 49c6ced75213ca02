"""G6: what is no request for one operation is refused before anything runs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from keystead.context import ActiveBrand, Server
from tests.api import URL, Api, listening, make_api
from tests.attacks.callers import make_key
from tests.attacks.stored import stored
from tests.attacks.watched import WatchedDatabase
from tests.make import SETTINGS, make_server

JSON = {"content-type": "application/json"}
UP = "{ health { data { up } } }"
SIGN_UP = "mutation { createMe }"
"""With a brand token: it makes a user, so that one sees whether it ran."""


@pytest.fixture
def brand_header(brand_token: str) -> dict[str, str]:
    return {"keystead-brand-authorization": brand_token}


@pytest.mark.attack("A78")
async def test_a_batch_is_refused(server: Server, api: Api, brand_header: dict[str, str]) -> None:
    one = {"query": SIGN_UP}
    before = await stored(server)
    batches: list[list[Any]] = [[], [one], [one, one], [[one]], [one] * 500, [{}], [None], ["{ me { id } }"]]
    for batch in batches:
        answer = await api.post(json=batch, headers=brand_header)
        assert (answer.status, answer.code) == (400, "BAD_USER_INPUT"), batch
        assert isinstance(answer.body, dict)
        assert len(answer.errors) == 1
    assert await stored(server) == before
    assert (await api.post(json=one, headers=brand_header)).data


@pytest.mark.attack("A78")
async def test_the_one_operation_must_be_clear(server: Server, api: Api, brand_header: dict[str, str]) -> None:
    two = f"query Health {UP} mutation SignUp {{ createMe }}"
    unclear: list[tuple[str, str | None]] = [
        (two, None), (two, ""), (two, "health"), (two, "Other"), (two, "Health "), (two, "__proto__"), (two, "1"),
        (SIGN_UP, "SignUp"), ("mutation SignUp { createMe }", "signUp"), (f"{SIGN_UP} {UP}", None),
        (f"{SIGN_UP} {SIGN_UP}", None), ("mutation A { createMe } mutation A { createMe }", "A"),
        ("fragment F on Query { health { data { up } } }", None), ("fragment F on Mutation { createMe }", "F"),
    ]  # fmt: skip
    before = await stored(server)
    for query, name in unclear:
        answer = await api.send(query, operation_name=name, headers=brand_header)
        assert (answer.status, answer.code) == (400, "GRAPHQL_VALIDATION_FAILED"), (query, name)
        assert "data" not in answer.body
    assert await stored(server) == before
    assert (await api.send(two, operation_name="Health")).data == {"health": {"data": {"up": True}}}
    assert (await api.send(two, operation_name="SignUp", headers=brand_header)).data["createMe"]


@pytest.mark.attack("A79")
async def test_only_post_runs_anything(
    server: Server, api: Api, brand_header: dict[str, str], watched: WatchedDatabase
) -> None:
    body = b""
    for query in (UP, SIGN_UP):
        body = json.dumps({"query": query}).encode()
        before = await stored(server)
        watched.forget()
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "QUERY", "POSTS", "pOST "):
            for accept in ("*/*", "application/json", "text/html"):
                headers = {**JSON, **brand_header, "accept": accept}
                request = httpx.Request(method, URL, params={"query": query}, headers=headers, content=body)
                refused = await api.http.send(request)
                assert (refused.status_code, refused.headers["allow"]) == (405, "POST"), method
                assert "data" not in refused.text
        assert watched.asked == []
        assert await stored(server) == before
    assert (await api.post(content=body, headers={**JSON, **brand_header})).data


@pytest.mark.attack("A79")
async def test_where_graphiql_is_on_a_browser_gets_a_page_and_runs_nothing(
    watched: WatchedDatabase, server: Server
) -> None:
    api = await make_api(await make_server(server.db, server.clock, settings=replace(SETTINGS, graphiql=True)))
    watched.forget()
    page = await api.http.get("/graphql", params={"query": SIGN_UP}, headers={"accept": "text/html"})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for method, accept in (("GET", "application/json"), ("PUT", "text/html"), ("HEAD", "*/*")):
        refused = await api.http.request(method, "/graphql", params={"query": UP}, headers={"accept": accept})
        assert refused.status_code == 405, method
    assert watched.asked == []


@pytest.mark.attack("A80")
async def test_another_content_type_is_refused(
    server: Server, api: Api, brand_header: dict[str, str], watched: WatchedDatabase
) -> None:
    body = json.dumps({"query": SIGN_UP})
    refused: list[str | None] = [
        None, "", "text/plain", "text/json", "text/html", "application/graphql", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x", "application/graphql+json", "application/graphql-response+json",
        "application/jsonp", "application/json-patch+json", "application/ld+json", "application/vnd.api+json",
        "application/*", "*/*", "json", "application", "/", "application/json/", "xapplication/json",
        "application/json, text/plain", "text/plain, application/json", "text/plain; application/json",
        "text/plain;charset=application/json", "application/json; charset=utf-16", "application/json; charset=latin1",
        "application/json;charset=utf-7", 'application/json; charset="utf-32"', "application/ json",
    ]  # fmt: skip
    before = await stored(server)
    watched.forget()
    for content_type in refused:
        headers = {**brand_header, **({} if content_type is None else {"content-type": content_type})}
        for content in (body, f"query={SIGN_UP}", SIGN_UP):
            answer = await api.post(content=content, headers=headers)
            assert answer.status == 415, content_type
    for encoding in ("gzip", "br", "deflate", "zstd", "x", "identity, gzip"):
        answer = await api.post(content=body, headers={**JSON, **brand_header, "content-encoding": encoding})
        assert answer.status == 415, encoding
    assert watched.asked == []
    assert await stored(server) == before
    for content_type in ("application/json", "Application/JSON", "application/json;charset=UTF-8",
                         'application/json ; charset="utf-8"', "application/json; odata=verbose"):  # fmt: skip
        assert (await api.post(content=body, headers={**brand_header, "content-type": content_type})).data


ASKED = b'{"query": "{ __typename }"'
OTHER_JSON: list[bytes] = [
    b"", b" ", b"null", b"true", b"1", b'"{ me { id } }"', b"{", b"}", b"{}", b'{"query"}', b'{"query":}',
    ASKED, ASKED + b",}", ASKED + b"} x", ASKED + b"}" + ASKED + b"}", ASKED + b"}\n" + ASKED + b"}",
    b"/**/" + ASKED + b"}", b"\xef\xbb\xbf" + ASKED + b"}", (ASKED + b"}").decode().encode("utf-16"),
    (ASKED + b"}").decode().encode("utf-32"), b"{'query': '{ __typename }'}", b'{query: "{ __typename }"}',
    b'{"query": "{ __typename }\x00"}', b'{"query": "{ __typename \\u0000}"}', b'{"query": "\xff\xfe"}',
    b'{"query": "\xc0\xaf"}', b'{"query": "\xed\xa0\x80"}', b'{"query": "a\nb"}', b'{"query": "\\x41"}',
    b"[" * 60_000, b'{"a":' * 10_000, ASKED + b', "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    *(b'{"query": %s}' % value for value in (b"null", b"1", b"true", b"[]", b"{}", b'""', b'["{ __typename }"]')),
    *(ASKED + b', "variables": %s}' % value for value in (b"[]", b'"{}"', b"1", b"true", b"[{}]", b'{"\\udfff": 1}')),
    *(ASKED + b', "operationName": %s}' % value for value in (b"[]", b"{}", b"1", b"false")),
    *(ASKED + b', "extensions": %s}' % value for value in (b"[]", b'"x"', b"1", b"true")),
    *(
        ASKED + b', "variables": {"a": %s}}' % value
        for value in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"01", b"+1", b"0x1", b".5", b"1.",
                      b"9" * 60_000, b'"\\ud800"', b'"\\udc00\\ud800"', b'["\\u0000"]', b"undefined", b"True")
    ),
]  # fmt: skip
TWICE: list[bytes] = [
    ASKED + member + b"}"
    for member in (
        b', "query": "{ __typename }"',
        b', "qu\\u0065ry": "mutation { createMe }"',
        b', "variables": {}, "variables": null',
        b', "x": 1, "x": 1',
        b', "variables": {"a": 1, "a": 1}',
        b', "variables": {"a": [{"b": 1, "b": 2}]}',
        b', "extensions": {"a": 1, "\\u0061": 1}',
    )
]


@pytest.mark.attack("A86")
async def test_what_is_no_strict_json_is_refused(api: Api, watched: WatchedDatabase) -> None:
    watched.forget()
    for body in OTHER_JSON + TWICE:
        started = time.thread_time()
        answer = await api.post(content=body, headers=JSON)
        assert (answer.status, answer.code) == (400, "BAD_USER_INPUT"), body[:100]
        assert time.thread_time() - started < 1
        assert "data" not in answer.body
    assert watched.asked == []
    for body in (
        b'\n{"query": "{ __typename }", "variables": null, "operationName": null, "extensions": null}\r\n ',
        b'{"query": "{ __typename }", "variables": {"a": 9007199254740993, "b": "\\ud83d\\ude00", "c": 1e-999}}',
    ):
        assert (await api.post(content=body, headers=JSON)).data == {"__typename": "Query"}


@pytest.mark.attack("A87")
async def test_an_unknown_member_is_ignored_and_never_logged(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    key = await make_key(server, brand, "admin")
    strange: dict[str, Any] = {
        "keystead-api-key": key, "Authorization": f"Bearer {key}", "authorization": key, "token": key, "apiKey": key,
        "brand": brand_token, "yoli-brand-authorization": brand_token, "headers": {"keystead-api-key": key},
        "__proto__": {"admin": True}, "id": 1, "type": "start", "payload": {"query": SIGN_UP}, "mutation": SIGN_UP,
        "Query": SIGN_UP, "query ": SIGN_UP, "queries": [SIGN_UP], "operation_name": "x", "key": "marzipan-in-the-log",
    }  # fmt: skip
    with capture_logs() as written:
        answer = await api.post(json={"query": UP, **strange})
        assert answer.data == {"health": {"data": {"up": True}}}
        refused = await api.post(json={"query": "{ userList { data { id } } }", **strange})
        assert (refused.status, refused.code) == (200, "UNAUTHENTICATED")
        assert (await api.post(json={"query": SIGN_UP, **strange})).code == "UNAUTHENTICATED"
    log = str(written) + capfd.readouterr().err
    assert '"event":"request"' in log
    assert not [text for text in (key, brand_token, "marzipan") if text in log]
    assert (await api.send("{ userList { data { id } } }", key=key)).data


@pytest.mark.attack("A88")
async def test_persisted_queries_are_ignored(server: Server, api: Api, brand_header: dict[str, str]) -> None:
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": sha256(SIGN_UP.encode()).hexdigest()}}
    assert (await api.post(json={"query": UP, "extensions": persisted})).data == {"health": {"data": {"up": True}}}
    before = await stored(server)
    for body in ({"extensions": persisted}, {"query": None, "extensions": persisted}, {"id": "1"}, {"documentId": "1"}):
        answer = await api.post(json=body, headers=brand_header)
        assert (answer.status, answer.code) == (400, "BAD_USER_INPUT"), body
    assert await stored(server) == before
    assert (await api.post(json={"query": SIGN_UP, "extensions": persisted}, headers=brand_header)).data
    assert (await api.post(json={"extensions": persisted}, headers=brand_header)).status == 400


@pytest.mark.attack("A89")
async def test_nothing_is_deferred_streamed_or_subscribed_to(server: Server, api: Api, brand: ActiveBrand) -> None:
    key = await make_key(server, brand, "admin")
    for query in (
        "subscription { health { data { up } } }", "subscription S { me { id } }", "subscription { __typename }",
        "{ userList { data { id } } ... @defer { roleList { data { name } } } }",
        "{ ...F @defer(if: true) } fragment F on Query { health { data { up } } }",
        "{ userList { data @stream { id } } }", "{ userList { data @stream(initialCount: 0) { id } } }",
        "query @live { health { data { up } } }", "{ health @client { data { up } } }",
    ):  # fmt: skip
        for accept in ("*/*", "multipart/mixed; deferSpec=20220824", "text/event-stream"):
            answer = await api.send(query, key=key, headers={"accept": accept})
            assert (answer.status, answer.code) == (400, "GRAPHQL_VALIDATION_FAILED"), query
            assert answer.headers["content-type"].startswith("application/json")
    assert (await api.send("{ userList { data { id } } }", key=key, headers={"accept": "text/event-stream"})).data


@pytest.mark.attack("A89")
async def test_there_is_no_websocket(server: Server) -> None:
    upgrade = {
        "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-protocol": "graphql-transport-ws",
    }  # fmt: skip
    async with listening(server.settings, server) as url, httpx.AsyncClient() as client:
        refused = await client.get(f"{url}/graphql", headers=upgrade)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
        assert (await client.post(f"{url}/graphql", json={"query": UP}, headers=upgrade)).status_code in (200, 400)
        assert (await client.post(f"{url}/graphql", json={"query": UP})).status_code == 200
