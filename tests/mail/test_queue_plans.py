"""Due mails are found by an index in their order, however many mails there are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import asyncpg
import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.statements import Statement
from keystead.mail import lease_store
from keystead.mail.model import MailKind
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.mail.letters import make_mail

MANY = 2_000
LIMIT = 4
STATES = (("waiting", 0), ("waiting", 2), ("delivered", 1), ("dead", 3))
"""Of each there are so many, with what attempts; those that wait are due."""
LEASING = {
    lease_store._LEASE_NEW: "ix_mails_state_attempts_next_attempt_at",
    lease_store._LEASE_WAITING: "ix_mails_state_next_attempt_at",
}
COLUMNS = (
    "brand_id, kind, user_id, recipient, recipient_key, languages, link_base, shown, expires_at, created_at,"
    " answered_at, holder, held_until, delivered_at, last_error, is_doubtful"
)


@pytest.fixture
async def parameters(server: Server, brand: ActiveBrand, ann: User, clock: ManualClock) -> dict[str, Any]:
    """What the worker asks with, when one mail has been written."""
    await make_mail(server, brand, ann)
    now = clock.advance(days=1)
    return {
        "now": now,
        "until": now,
        "limit": LIMIT,
        "holder": "here",
        "kinds": [kind.value for kind in MailKind],
    }


def _needed(statement: Statement, dialect: Any, parameters: dict[str, Any]) -> tuple[str, list[Any]]:
    compiled = statement.compiled(dialect)
    return compiled.text, compiled.bind({name: parameters[name] for name in compiled.names})


def _fill_sqlite(connection: sqlite3.Connection) -> None:
    for place, (state, attempts) in enumerate(STATES):
        connection.execute(
            "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?)"
            f" INSERT INTO mails (id, {COLUMNS}, state, attempts, next_attempt_at)"
            # Times are text of a fixed width: 2026-01-01T12:00:00.000000.
            f" SELECT printf('%d-%034d', ?, n), {COLUMNS}, ?, ?, substr(next_attempt_at, 1, 20) || printf('%06d', n)"
            " FROM mails, many WHERE mails.id NOT LIKE '_-%'",
            (MANY, place, state, attempts),
        )
    connection.execute("ANALYZE")


async def _fill_postgres(connection: asyncpg.Connection) -> None:
    for place, (state, attempts) in enumerate(STATES):
        await connection.execute(
            f"INSERT INTO mails (id, {COLUMNS}, state, attempts, next_attempt_at)"
            f" SELECT $1 || '-' || lpad(n::text, 34, '0'), {COLUMNS}, $2, $3::integer,"
            " next_attempt_at - $3::integer * interval '10 s' + n * interval '1 ms'"
            " FROM mails, generate_series(1, $4) n WHERE mails.id NOT LIKE '_-%'",
            str(place),
            state,
            attempts,
            MANY,
        )
    await connection.execute("ANALYZE mails")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


async def test_due_mails_are_read_from_indexes(parameters: dict[str, Any], database_url: str) -> None:
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            _fill_sqlite(connection)
            plans = {}
            for statement in (lease_store._FIND_DUE, *LEASING):
                text, values = _needed(statement, "sqlite", parameters)
                plans[statement] = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
        for statement, index in LEASING.items():
            plan = plans[statement]
            assert any(index + " " in step and "next_attempt_at<" in step for step in plan), plan
            assert not [step for step in plan if "SCAN mails" in step or step.endswith("TEMP B-TREE FOR ORDER BY")], (
                plan
            )
        plan = plans[lease_store._FIND_DUE]
        assert len([step for step in plan if "SEARCH mails USING INDEX ix_mails_state_" in step]) == 2, plan
        return
    pg = await asyncpg.connect(database_url)
    try:
        await _fill_postgres(pg)
        # The worker's statements are prepared: after a while they are planned without their values.
        for mode in ("force_custom_plan", "force_generic_plan"):
            await pg.execute(f"SET plan_cache_mode = {mode}")
            for statement in (lease_store._FIND_DUE, *LEASING):
                text, values = _needed(statement, "postgresql", parameters)
                transaction = pg.transaction()
                await transaction.start()
                explained = json.loads(await pg.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *values))
                await transaction.rollback()
                nodes = list(_nodes(explained[0]["Plan"]))
                assert LEASING.get(statement) in {None, *(node.get("Index Name") for node in nodes)}, explained
                read = [node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes]
                assert max(read) <= 10 * LIMIT, explained
    finally:
        await pg.close()
