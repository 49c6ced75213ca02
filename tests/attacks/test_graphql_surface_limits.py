"""G6: each limit lets its last one pass and refuses the next."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from tests.api import Api
from tests.attacks.callers import make_key, sign_in
from tests.attacks.calls import credential_calls
from tests.attacks.stored import stored
from tests.attacks.surface import operations
from tests.make import make_entity

NAMES = "id name description permissions publishable allowed_origins hint token created_at created_by expires_at"


def tokens(number: int) -> str:
    """Three for ``{ x }``, and one for each of the others."""
    return "{ " + "a" + " @b" * ((number - 3) // 2) + ("" if number % 2 else " c") + " }"


@pytest.mark.attack("A82")
async def test_tokens(api: Api) -> None:
    assert tokens(9).split() == ["{", "a", "@b", "@b", "@b", "}"]
    refused = await api.send(tokens(1001))
    assert (refused.status, refused.extensions["limit"]) == (400, "tokens")
    passed = await api.send(tokens(1000))
    assert passed.extensions.get("limit") == "directives"
    lists = "mutation { deleteUser(ids: [" + "1 " * 984 + "]) { data { success } } }"
    assert (await api.send(lists)).code == "UNAUTHENTICATED"
    assert (await api.send(lists.replace("1 ", "1 1 ", 1))).extensions["limit"] == "tokens"


@pytest.mark.attack("A82")
async def test_the_body(api: Api) -> None:
    def body(size: int) -> bytes:
        empty = json.dumps({"query": "{ __typename }", "x": ""}).encode()
        return empty.replace(b'"x": ""', b'"x": "%s"' % (b"x" * (size - len(empty))))

    headers = {"content-type": "application/json"}
    assert len(body(65_536)) == 65_536
    assert (await api.post(content=body(65_536), headers=headers)).data == {"__typename": "Query"}
    refused = await api.post(content=body(65_537), headers=headers)
    assert (refused.status, refused.code) == (413, "BAD_USER_INPUT")

    async def in_parts() -> Any:
        for _ in range(100):
            yield b" " * 1024
        yield body(100)

    assert (await api.post(content=in_parts(), headers=headers)).status == 413


@pytest.mark.attack("A82")
async def test_the_cost(server: Server, api: Api, brand: ActiveBrand) -> None:
    key = await make_key(server, brand, "admin")
    ten = (
        "{" + " ".join(f"a{n}: apiKeyList(pagination: {{per_page: 100}}) {{ data {{ %s }} }}" for n in range(10)) + "}"
    )
    assert (await api.send(ten.replace("%s", NAMES.removesuffix(" expires_at")), key=key)).data
    refused = await api.send(ten.replace("%s", NAMES), key=key)
    assert (refused.status, refused.extensions["limit"]) == (400, "cost")
    by_variable = ten.replace("%s", NAMES).replace("100", "$n").replace("{", "query($n: Int) {", 1)
    assert (await api.send(by_variable, {"n": 90}, key=key)).data
    refused = await api.send(by_variable, {"n": 100}, key=key)
    assert (refused.status, refused.extensions["limit"]) == (400, "cost")


@pytest.mark.attack("A82")
async def test_pages(server: Server, api: Api, brand: ActiveBrand) -> None:
    """Of every list that there is."""
    shop = await make_entity(server, brand)
    key, token = await make_key(server, shop, "admin"), await sign_in(server, shop, "admin")
    lists = [one for one in await operations(server, shop) if "pagination" in one.inputs() and one.needs != "operator"]
    assert len(lists) >= 8
    for operation in lists:
        caller = {"token": token} if operation.name == "sessionList" else {"key": key}
        for page in (
            {"per_page": 101},
            {"per_page": 0},
            {"per_page": -1},
            {"page": 0},
            {"page": -1},
            {"page": 2**31 - 1},
        ):
            answer = await api.send(*operation.request(pagination=page), **caller)  # type: ignore[arg-type]
            assert (answer.status, answer.code) == (200, "BAD_USER_INPUT"), (operation, page)
            assert answer.extensions["field"] in ("pagination", *page), (operation, page)
        for page in ({"per_page": 100}, {"per_page": 1}, {"page": 1_000_000}, {"page": 10_000_000, "per_page": 100}):
            assert (await api.send(*operation.request(pagination=page), **caller)).data, operation  # type: ignore[arg-type]


@pytest.mark.attack("A82")
async def test_an_operation_with_a_secret_stands_alone(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str
) -> None:
    alone = {call.start.partition("(")[0] for call in credential_calls()}
    attacked = [one for one in await operations(server, brand) if one.name in alone]
    assert {one.name for one in attacked} == alone >= {"login", "createMe", "rotateApiKey"}
    before = await stored(server)
    for operation in attacked:
        query, values = operation.request()
        head, _, rest = query.partition(" { ")
        call = rest.removesuffix(" }")
        for several in (
            f"a: {call} b: {call}",
            f"{call} {call}",
            f"{call} __typename",
            f"... {{ {call} }} x: __typename",
        ):
            answer = await api.send(f"{head} {{ {several} }}", values, brand=brand_token)
            assert (answer.status, answer.extensions.get("limit")) == (400, "credential_operations"), several
    assert await stored(server) == before
    assert (await api.send("mutation { alias: createMe }", brand=brand_token)).data["alias"]


@pytest.mark.attack("A81")
async def test_an_answer_above_a_mebibyte_is_refused(server: Server, api: Api, brand: ActiveBrand) -> None:
    page = await make_entity(server, brand, "page", {"content": {"type": "json"}})
    key = await make_key(server, page, "admin")
    create = "mutation($c: JSON) { createPage(input: {content: $c}) { data { id } } }"
    for _ in range(21):
        assert (await api.send(create, {"c": ["x" * 50_000]}, key=key)).data
    listed = "query($n: Int) { pageList(pagination: {per_page: $n}) { data { content } } }"
    refused = await api.send(listed, {"n": 100}, key=key)
    assert (refused.status, refused.extensions["limit"]) == (400, "response")
    assert len(str(refused.body)) < 1000
    answer = await api.send(listed, {"n": 20}, key=key)
    assert len(answer.data["pageList"]["data"]) == 20
