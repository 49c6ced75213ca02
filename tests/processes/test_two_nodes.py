"""What one node does, the other one knows with its next request."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from keystead.context import ActiveBrand, Server
from keystead.installation import service as installation
from keystead.users.model import User
from tests.make import make_api_key, make_context
from tests.processes.conftest import Apis, Nodes
from tests.use_cases.people import (
    ME,
    create_me,
    get_access_token,
    is_signed_out,
    log_in,
    refresh,
    try_get_access_token,
    try_refresh,
)

DEFINE = """mutation ($definition: JSON!, $loss: Boolean) {
    defineEntity(definition: $definition, allow_data_loss: $loss) { data { applied steps { refused } } }
}"""
CREATE = "mutation ($input: CreateCustomerInput!) { createCustomer(input: $input) { data { id } } }"
CUSTOMERS = "{ customerList { data { name } } }"
UPDATE_USER = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { data { id } } }"


async def test_a_token_of_one_node_is_valid_at_the_other(apis: Apis, brand_token: str, ann: User) -> None:
    tokens = await log_in(apis.here, brand=brand_token)
    assert (await apis.there.send(ME, token=tokens.auth)).data["me"]["id"] == ann.id
    again = await refresh(apis.there, tokens.refresh)
    replayed = await refresh(apis.here, tokens.refresh)
    assert replayed.refresh == again.refresh, "both derive the same successor"


async def test_a_session_ended_on_one_node_is_ended_on_the_other(apis: Apis, brand_token: str, ann: User) -> None:
    tokens, other = await log_in(apis.here, brand=brand_token), await log_in(apis.here, brand=brand_token)
    assert not await is_signed_out(apis.there, tokens.auth)
    assert (await apis.here.send("mutation { logout { data { success } } }", token=tokens.auth)).data
    assert await is_signed_out(apis.there, tokens.auth)
    assert (await try_refresh(apis.there, tokens.refresh)).code == "REFRESH_TOKEN_INVALID"
    assert not await is_signed_out(apis.there, other.auth)
    assert (await apis.here.send("mutation { invalidateRefreshToken }", token=other.auth)).data
    assert await is_signed_out(apis.there, other.auth)


async def test_a_standing_session_ended_on_one_node_is_ended_on_the_other(apis: Apis, brand_token: str) -> None:
    kept = await create_me(apis.here, brand_token)
    token = await get_access_token(apis.there, kept)
    assert not await is_signed_out(apis.here, token)
    assert (await apis.here.send("mutation { invalidateRefreshToken(force: true) }", token=token)).data
    assert await is_signed_out(apis.there, token)
    assert (await try_get_access_token(apis.there, kept)).code == "REFRESH_TOKEN_INVALID"


async def test_a_user_disabled_on_one_node_is_signed_out_on_the_other(
    apis: Apis, brand_token: str, ann: User, admin_token: str
) -> None:
    tokens = await log_in(apis.there, brand=brand_token)
    assert not await is_signed_out(apis.there, tokens.auth)
    change = {"input": {"id": ann.id, "is_disabled": True}}
    assert (await apis.here.send(UPDATE_USER, change, token=admin_token)).data
    assert await is_signed_out(apis.there, tokens.auth)


async def test_a_permission_change_takes_effect_on_the_other_node(
    apis: Apis, brand_token: str, ann: User, admin_token: str
) -> None:
    assert await _define(apis, admin_token, {"name": {"type": "string"}})
    token = (await log_in(apis.there, brand=brand_token)).auth
    for permissions, code in ((["read"], None), ([], "FORBIDDEN"), (["customer:read"], None)):
        change = {"input": {"id": ann.id, "permissions": permissions}}
        assert (await apis.here.send(UPDATE_USER, change, token=admin_token)).data
        assert (await apis.there.send(CUSTOMERS, token=token)).code == code


async def test_a_key_deleted_on_one_node_is_rejected_on_the_other(
    apis: Apis, server: Server, brand: ActiveBrand, admin_token: str
) -> None:
    key, secret = await make_api_key(server, brand, "admin")
    ask = "{ brand { data { name } } }"
    assert (await apis.there.send(ask, key=secret.reveal())).data
    delete = "mutation ($ids: [ID!]!) { deleteApiKey(ids: $ids) { data { success } } }"
    assert (await apis.here.send(delete, {"ids": [key.id]}, token=admin_token)).data
    refused = await apis.there.send(ask, key=secret.reveal())
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")


async def test_a_feature_disabled_on_one_node_is_disabled_on_the_other(
    apis: Apis, brand_token: str, admin_token: str
) -> None:
    assert await create_me(apis.there, brand_token)
    switch = "mutation { updateBrand(input: { features: { anonymous_users: false } }) { data { id } } }"
    assert (await apis.here.send(switch, token=admin_token)).data
    assert (await apis.there.send("mutation { createMe }", brand=brand_token)).code == "FORBIDDEN"


async def test_a_schema_change_is_served_by_the_other_node(apis: Apis, admin_token: str) -> None:
    async def there(text: str, variables: dict[str, Any] | None = None) -> Any:
        return await apis.there.send(text, variables, token=admin_token)

    assert (await there(CUSTOMERS)).status == 400
    assert await _define(apis, admin_token, {"name": {"type": "string"}})
    assert (await there(CREATE, {"input": {"name": "Acme"}})).data
    assert (await there(CUSTOMERS)).data["customerList"]["data"] == [{"name": "Acme"}]
    assert await _define(apis, admin_token, {"name": {"type": "string"}, "city": {"type": "string"}})
    assert (await there(CREATE, {"input": {"name": "Umbrella", "city": "Oslo"}})).data
    assert await _define(apis, admin_token, {"city": {"type": "string"}}, loss=True)
    assert (await there(CUSTOMERS)).status == 400, "the field is gone"
    cities = (await there("{ customerList { data { city } } }")).data["customerList"]["data"]
    assert cities == [{"city": None}, {"city": "Oslo"}]
    delete = 'mutation { deleteEntity(names: ["customer"], allow_data_loss: true) { data { success } } }'
    assert (await apis.here.send(delete, token=admin_token)).data
    assert (await there("{ customerList { data { city } } }")).status == 400


async def test_schema_changes_during_requests_cause_no_error(apis: Apis, admin_token: str) -> None:
    """While fields come and go on one node, the other one answers by the old schema or the new: never with a fault."""
    await _define(apis, admin_token, {"name": {"type": "string"}})
    is_over = asyncio.Event()

    async def ask() -> list[tuple[int, str | None]]:
        seen = []
        while not is_over.is_set():
            answer = await apis.there.send("{ customerList { data { name city } } }", token=admin_token)
            seen.append((answer.status, answer.code))
        return seen

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    for _ in range(4):
        assert await _define(apis, admin_token, {"name": {"type": "string"}, "city": {"type": "string"}})
        assert await _define(apis, admin_token, {"name": {"type": "string"}}, loss=True)
    is_over.set()
    seen = {outcome for outcomes in await asyncio.gather(*asking) for outcome in outcomes}
    assert seen <= {(200, None), (400, "GRAPHQL_VALIDATION_FAILED")}


async def test_both_publish_the_same_signing_keys(nodes: Nodes) -> None:
    here, there = (node.get("/.well-known/jwks.json") for node in nodes[:2])
    assert here == there
    assert here[0] == 200
    for key in here[1]["keys"]:
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
        assert "d" not in key


async def test_a_revoked_signing_key_is_rejected_by_all_nodes_within_five_seconds(
    apis: Apis, nodes: Nodes, server: Server, brand_token: str, ann: User
) -> None:
    tokens = await log_in(apis.here, brand=brand_token)
    for api in apis:
        assert not await is_signed_out(api, tokens.auth)
    revoked = server.keyring.active.kid
    await installation.revoke(make_context(server), revoked)
    started = time.monotonic()
    for api in apis:
        while not await is_signed_out(api, tokens.auth):
            assert time.monotonic() - started < 5
    for node in nodes[:2]:
        assert revoked not in {key["kid"] for key in node.get("/.well-known/jwks.json")[1]["keys"]}
    again = await refresh(apis.here, tokens.refresh)
    assert not await is_signed_out(apis.there, again.auth), "the session stays valid with another key"


async def _define(apis: Apis, token: str, fields: dict[str, Any], *, loss: bool = False) -> bool:
    """Defines the customers on the first node."""
    variables = {"definition": {"customer": {"fields": fields}}, "loss": loss}
    applied: bool = (await apis.here.send(DEFINE, variables, token=token)).data["defineEntity"]["data"]["applied"]
    return applied
