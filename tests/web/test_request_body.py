"""The body of a request: size, encoding, strict JSON (A86, A87, A88 in part)."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from keystead.errors import MalformedRequest
from keystead.web.request_body import LARGEST_BODY, ClientGone, Receive, parse_request, read_body


def receiving(*messages: MutableMapping[str, Any]) -> Receive:
    queue = list(messages)

    async def receive() -> MutableMapping[str, Any]:
        return queue.pop(0)

    return receive


def part(body: bytes, more: bool = False) -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_arrives_in_parts() -> None:
    assert await read_body(receiving(part(b"ab", True), part(b"c")), 3) == b"abc"
    assert len(await read_body(receiving(part(b" " * LARGEST_BODY)), LARGEST_BODY)) == LARGEST_BODY


@pytest.mark.parametrize("declared", [LARGEST_BODY + 1, None])
async def test_a_larger_body_is_413(declared: int | None) -> None:
    with pytest.raises(MalformedRequest) as caught:
        await read_body(receiving(part(b" " * LARGEST_BODY, True), part(b" ")), declared)
    assert caught.value.status == 413


async def test_a_client_that_disconnects_raises() -> None:
    with pytest.raises(ClientGone):
        await read_body(receiving(part(b"{", True), {"type": "http.disconnect"}), None)


def test_a_request_is_read() -> None:
    request = parse_request(
        b'{"query": "{a}", "variables": {"x": 1}, "operationName": "A", "other": [1], "extensions": {}}'
    )
    assert (request.query, request.variables, request.operation_name) == ("{a}", {"x": 1}, "A")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'[{"query": "{a}"}]', b'"{a}"', b"{}", b'{"query": null}', b'{"query": ""}',
        b'{"query": 1}', b'{"query": "{a}", "variables": []}', b'{"query": "{a}", "variables": "{}"}',
        b'{"query": "{a}", "operationName": 1}', b'{"query": "{a}", "extensions": []}',
        b'{"query": "{a}", "query": "{b}"}', b'{"query": "{a}", "variables": {"x": 1, "x": 2}}',
        b'{"query": "{a}", "variables": {"x": NaN}}', b'{"query": "{a}", "variables": {"x": Infinity}}',
        b'{"query": "{a}", "variables": {"x": 1e999}}', b'{"query": "{a}", "variables": {"x": ' + b"9" * 30_000 + b"}}",
        b'{"query": "{a}", "variables": {"x": "\\u0000"}}', b'{"query": "{a}", "variables": {"\\u0000": 1}}',
        b'{"query": "{a}", "variables": {"x": ["\\ud800"]}}', b'{"query": "{\xff}"}', b'\xef\xbb\xbf{"query": "{a}"}',
        b'{"query": "{a}"} x', b'{"query": "{a}",}', b"[" * 60_000,
    ],
)  # fmt: skip
def test_any_other_body_is_400(body: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_request(body)
    assert caught.value.status == 400


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    assert parse_request(b'{"query": "{a}", "variables": {"x": "\\ud83d\\ude00"}}').variables == {"x": "\U0001f600"}
