"""A server whose connections to PostgreSQL are cut at COMMIT (a ledger of its answers), or that is behind PgBouncer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from tests.databases import PostgresTemplate
from tests.make import PASSWORD, make_access_token, make_brand, make_brand_token, make_session, make_user
from tests.pgbouncer import pooled
from tests.processes.node import Node, RemoteApi, make_colleague, running
from tests.relay import Cut, relay_to
from tests.use_cases.people import ANN, LOGIN, ME, get_access_token, log_in, refresh

ATTEMPTS = 24
DEFINE = "mutation ($definition: JSON!) { defineEntity(definition: $definition) { data { applied } } }"
CREATE = "mutation ($input: CreateCustomerInput!) { createCustomer(input: $input) { data { id } } }"
CUSTOMERS = "{ customerList { data { name } } }"


@pytest.fixture
def url(postgres_template: PostgresTemplate) -> Iterator[str]:
    """A migrated database."""
    made = postgres_template.copy()
    yield made
    postgres_template.drop(made)


async def _colleague(url: str) -> tuple[Server, ActiveBrand, str]:
    db = open_database(url)
    await db.open()
    server = await make_colleague(db)
    brand = await make_brand(server)
    return server, brand, (await make_brand_token(server, brand)).reveal()


@asynccontextmanager
async def _running(folder: Path, url: str) -> AsyncIterator[Node]:
    """A node that starts and ends while this loop runs the relay."""
    with ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, running(folder, url))
        await asyncio.to_thread(stack.close)


async def _count(url: str, brand: ActiveBrand) -> int:
    connection = await asyncpg.connect(url)
    count: int = await connection.fetchval("SELECT count(*) FROM users WHERE brand_id = $1", brand.id)
    await connection.close()
    return count


async def test_a_connection_lost_at_commit_is_reported_and_nothing_is_lost_or_repeated(
    url: str, tmp_path: Path
) -> None:
    server, brand, token = await _colleague(url)
    relay, through = await relay_to(url)
    ledger: Counter[tuple[str, Cut | None]] = Counter()
    kept = []
    async with _running(tmp_path, through) as node, RemoteApi(node) as api:
        for number in range(ATTEMPTS):
            cut = (None, Cut.before, Cut.after)[number % 3]
            relay.next_commit = cut
            answer = await api.send("mutation { createMe }", brand=token)
            relay.next_commit = None
            assert (answer.status, answer.code) in {(200, None), (503, "SERVICE_UNAVAILABLE")}
            if answer.status == 200:
                kept.append(answer.data["createMe"])
            is_unknown = answer.status == 503 and answer.extensions.get("outcome") == "unknown"
            ledger["acknowledged" if answer.status == 200 else "unknown" if is_unknown else "refused", cut] += 1
        tokens = [await get_access_token(api, one) for one in kept]
        assert [(await api.send(ME, token=one)).status for one in tokens] == [200] * len(kept)
    unknown = {cut for answer, cut in ledger.elements() if answer == "unknown"}
    assert unknown == {Cut.before, Cut.after}, node.log.read_text()[-2000:]
    assert ledger["acknowledged", None] == ATTEMPTS // 3
    assert not [entry for entry in ledger if entry[0] == "refused"]
    # A COMMIT of the upkeep may have been cut in place of the request's, which is acknowledged then.
    assert await _count(url, brand) == len(kept) + ledger["unknown", Cut.after], "what was committed, once each"
    await relay.cut()
    await server.db.close()


async def test_a_server_works_behind_pgbouncer(url: str, tmp_path: Path) -> None:
    server, brand, token = await _colleague(url)
    user = await make_user(server, brand, ANN, password=PASSWORD, permissions=("admin",))
    admin = make_access_token(server, await make_session(server, brand, user.id))
    with pooled(url) as through, running(tmp_path, through) as node:
        async with RemoteApi(node) as api:
            assert node.get("/ready")[0] == 200
            fields = {"customer": {"fields": {"name": {"type": "string"}}}}
            assert (await api.send(DEFINE, {"definition": fields}, token=admin)).data
            signed_in = [await log_in(api, brand=token) for _ in range(3)]

            async def use(number: int) -> None:
                new = {"input": {"name": f"customer {number}"}}
                assert (await api.send(CREATE, new, token=admin)).data
                assert (await api.send(CUSTOMERS, token=admin)).data
                assert (await api.send(ME, token=signed_in[number % 3].auth)).data["me"]["id"] == user.id

            await asyncio.gather(*(use(number) for number in range(20)))
            assert len((await api.send(CUSTOMERS, token=admin)).data["customerList"]["data"]) == 20
            assert await refresh(api, signed_in[0].refresh)
            wrong = {"input": {"email": ANN, "password": "not it"}}
            assert (await api.send(LOGIN, wrong, brand=token)).code == "INVALID_CREDENTIALS"
    assert "database_pooler_found" in node.log.read_text()
    await server.db.close()
