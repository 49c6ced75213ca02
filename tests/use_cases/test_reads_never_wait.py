"""A request that only reads begins no transaction: it waits for no writer, and a full disk does not stop it."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import GraphQLNonNull, get_named_type, is_object_type

from keystead.api_keys import service as api_keys
from keystead.context import ActiveBrand, Server
from keystead.graphql.resolvers import load_resolvers
from keystead.graphql.schema import load_fixed
from keystead.policy import SessionKind
from keystead.sessions import refresh_token_store
from keystead.sessions import service as sessions
from keystead.users.model import User
from keystead.web.upkeep import Upkeep
from tests.api import Api
from tests.attacks.watched import watch
from tests.clocks import ManualClock
from tests.make import make_access_token, make_api_key, make_context, make_session
from tests.use_cases.people import get_access_token

NOT_READS = {
    "login": "opens a session",
    "brandList": "denied to a brand's administrator, and denials are recorded",
    "getAccessToken": "takes a refresh token: a separate test below",
}


def _reads() -> list[str]:
    """A document for each field of ``Query``; an id that a field needs is the user's."""
    query = load_fixed(load_resolvers()).version.schema.query_type
    assert query is not None
    documents = []
    for name, field in query.fields.items():
        needed = [key for key, argument in field.args.items() if isinstance(argument.type, GraphQLNonNull)]
        if name not in NOT_READS:
            assert set(needed) <= {"id"}, name
            below = " { __typename }" if is_object_type(get_named_type(field.type)) else ""
            head, arguments = ("query ($id: ID!)", "(id: $id)") if needed else ("", "")
            documents.append(f"{head} {{ {name}{arguments}{below} }}")
    assert len(documents) > 10
    return documents


@pytest.mark.parametrize(
    "credentials", [{"token"}, {"key"}, {"token", "key"}, {"brand"}], ids=lambda given: " and ".join(sorted(given))
)
async def test_no_read_begins_a_transaction(
    server: Server,
    api: Api,
    brand: ActiveBrand,
    brand_token: str,
    admin: User,
    clock: ManualClock,
    credentials: set[str],
) -> None:
    held = {
        "key": (await make_api_key(server, brand, "admin"))[1].reveal(),
        "token": make_access_token(server, await make_session(server, brand, admin.id)),
        "brand": brand_token,
    }
    sent: dict[str, Any] = {name: held[name] for name in credentials}
    clock.advance(minutes=10)
    counted = watch(server)
    # A brand token may read nothing, and a denial is recorded.
    for document in ["{ __typename }", *_reads()] if credentials != {"brand"} else ["{ __typename }"]:
        answer = await api.send(document, {"id": admin.id} if "$id" in document else None, **sent)
        assert answer.status == 200, answer.body
    assert counted.transactions == 0
    assert len(server.key_uses) == ("key" in credentials)


async def test_an_access_token_of_a_standing_session_is_a_read(
    server: Server, api: Api, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    opened = await make_session(server, brand, ann.id, SessionKind.standing)
    clock.advance(minutes=10)
    counted = watch(server)
    await get_access_token(api, opened.refresh_token.reveal())
    assert (counted.transactions, len(server.session_uses)) == (0, 1)


async def test_last_uses_are_written_at_shutdown(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    key, secret = await make_api_key(server, brand, "read")
    opened = await make_session(server, brand, ann.id, SessionKind.standing)
    clock.advance(minutes=10)
    found = await api_keys.find_by_secret(server.db.reads, secret, clock.now())
    assert found is not None
    api_keys.note_use(server, found, clock.now())
    sessions.note_use(server, brand.id, opened.session_id, clock.now(), clock.now())
    sessions.note_use(server, brand.id, opened.session_id, key.created_at, clock.now())
    upkeep = Upkeep(server)
    upkeep.start()
    await upkeep.stop()
    written = await api_keys.find_key(make_context(server), brand.id, key.id)
    assert written is not None
    assert written.last_used_at == clock.now()
    token = await refresh_token_store.find_presented(server.db.reads, opened.refresh_token.digest(), brand.id)
    assert token is not None
    assert token.used_at == clock.now()


async def test_an_older_last_use_does_not_overwrite_a_newer_one(
    server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    key, secret = await make_api_key(server, brand, "read")
    found = await api_keys.find_by_secret(server.db.reads, secret, clock.now())
    assert found is not None
    earlier = clock.now()
    clock.advance(minutes=2)
    for at in (clock.now(), earlier):
        api_keys.note_use(server, found, at)
        await api_keys.write_uses(server)
    written = await api_keys.find_key(make_context(server), brand.id, key.id)
    assert written is not None
    assert written.last_used_at == clock.now()
