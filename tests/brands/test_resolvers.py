"""What the resolvers of brands and audit events answer; who may call them is the schema's business."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.brands import service
from keystead.context import Context, Server
from keystead.crypto.secrets import SecretKind, parse
from keystead.errors import BadUserInput
from keystead.graphql.executor.selection import EMPTY, SelectedField, Selection
from keystead.graphql.resolvers import load_resolvers
from tests.clocks import ManualClock
from tests.make import make_brand, make_context

COUNTED = Selection(
    (SelectedField("pagination", "pagination", selection=Selection((SelectedField("total", "total"),))),)
)


async def ask(ctx: Context, name: str, /, selection: Selection = EMPTY, **arguments: Any) -> Any:
    return await load_resolvers()[name](ctx, arguments, selection)


async def test_an_administrator_sees_and_changes_the_own_brand(server: Server, clock: ManualClock) -> None:
    brand = await make_brand(server, preset="pair")
    ctx = make_context(server, brand)
    answer = await ask(ctx, "Query.brand")
    assert answer == {
        "data": {
            "id": brand.id,
            "name": "rainbowMakers",
            "preset": "pair",
            "features": {
                "email_verification": True,
                "password_login": True,
                "password_reset": True,
                "magic_login": False,
                "anonymous_users": False,
            },
            "policy": answer["data"]["policy"],
            "is_disabled": False,
            "created_at": clock.now(),
        }
    }
    assert (answer["data"]["policy"]["grace"], answer["data"]["policy"]["default_permissions"]) == (10, [])
    changed = await ask(ctx, "Mutation.updateBrand", input={"features": {"magic_login": True}})
    assert changed["data"]["features"]["magic_login"] is True
    assert await ask(ctx, "Query.brand") == changed


@pytest.mark.parametrize("name", ["Query.brand", "Mutation.updateBrand", "Query.auditEventList"])
async def test_without_a_brand_the_field_is_named(server: Server, name: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        await ask(make_context(server), name, input={})
    assert refused.value.extensions == {"field": "brand"}


async def test_an_operator_makes_brands_and_tokens(server: Server) -> None:
    ctx = make_context(server)
    made = await ask(ctx, "Mutation.createBrand", input={"name": "one", "preset": "both"})
    assert (made["data"]["name"], made["data"]["preset"]) == ("one", "both")
    token = (await ask(ctx, "Mutation.issueBrandToken", name="one", revoke_others=False))["data"]
    secret = parse(token["token"], SecretKind.brand_token)
    assert secret is not None
    found = await service.find_by_token(server.db.reads, secret)
    assert found is not None
    assert (found[1].name, token["brand"]) == ("one", "one")
    listed = await ask(ctx, "Query.brandList", COUNTED, pagination={"page": 1, "per_page": 1})
    assert [one["name"] for one in listed["data"]] == ["keystead"]
    assert (listed["pagination"]["total"], listed["pagination"]["last_page"]) == (2, 2)
    with pytest.raises(BadUserInput):
        await ask(ctx, "Query.brandList", pagination={"per_page": 101})


async def test_an_administrator_sees_what_happened(server: Server) -> None:
    ctx = make_context(server, await make_brand(server))
    listed = await ask(ctx, "Query.auditEventList", COUNTED)
    assert [event["event"] for event in listed["data"]] == ["brand.created"]
    assert listed["data"][0]["details"] == {"name": "rainbowMakers", "preset": "both"}
    assert listed["pagination"]["total"] == 1
    with pytest.raises(BadUserInput) as refused:
        await ask(ctx, "Query.auditEventList", filter={"sortby": [{"field": "at"}]})
    assert refused.value.extensions == {"field": "filter"}
