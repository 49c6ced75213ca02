"""Read query plans of both databases: the tables, indexes and limits of a statement."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from keystead.db.statements import Compiled


@dataclass(frozen=True)
class Access:
    """One table that is read: ``columns`` are those by which the index finds rows, none for a scan.

    ``is_paged``: in the order of an index, and no more rows than a LIMIT lets through.
    """

    table: str
    columns: frozenset[str]
    is_paged: bool = False

    def __str__(self) -> str:
        return f"{self.table} by {', '.join(sorted(self.columns)) or 'no index'}{' (a page)' if self.is_paged else ''}"


_SEARCH = re.compile(r"SEARCH (\S+) USING (?:COVERING )?(?:INDEX (\S+)|INTEGER PRIMARY KEY) \((.*)\)")
_SCAN = re.compile(r"SCAN (\S+)(?: USING (?:COVERING )?INDEX (\S+))?")
_INNER_LIMIT = re.compile(r"LIMIT (\?|\(SELECT \?)")
_LAST_LIMIT = re.compile(r"LIMIT \?( OFFSET \?)?$")


def sqlite_plan(connection: sqlite3.Connection, compiled: Compiled) -> list[Access]:
    """SQLite's plan, which does not depend on the number of rows without ANALYZE."""
    rows = connection.execute(f"EXPLAIN QUERY PLAN {compiled.text}", [None] * len(compiled.parameters)).fetchall()
    text = " ".join(compiled.text.split())
    tables = dict(connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'").fetchall())
    is_sorted = any("TEMP B-TREE FOR ORDER BY" in row[3] for row in rows)
    is_limited = {True: bool(_LAST_LIMIT.search(text)), False: bool(_INNER_LIMIT.search(_LAST_LIMIT.sub("", text)))}
    no_tables = {"CONSTANT", *(row[3].removeprefix("CO-ROUTINE ") for row in rows)}
    found = []
    for _, parent, _, detail in rows:
        is_paged = not is_sorted and is_limited[parent == 0]
        if searched := _SEARCH.match(detail):
            name, index, conditions = searched.groups()
            columns = frozenset(re.findall(r"(\w+)[=<>]", conditions))
            found.append(Access(str(tables.get(index, name)), columns, is_paged))
        elif (scanned := _SCAN.match(detail)) and scanned[1] not in no_tables and "VIRTUAL TABLE" not in detail:
            # Nothing may be sorted out on the way: SQLite does not say by what.
            found.append(Access(scanned[1], frozenset(), is_paged and " WHERE " not in text))
    return found


async def postgres_plan(connection: asyncpg.Connection, compiled: Compiled, offset: int = 21) -> list[Access]:
    """PostgreSQL's plan after a few executions, as on a server's long-lived connections.

    ``offset`` is the number of rows that a page skips: for a deep page the planner may prefer to sort the whole table.
    """
    prepared = await connection.prepare(compiled.text)
    literals = [_literal(kind.name) for kind in prepared.get_parameters()]
    for number in _OFFSET.findall(compiled.text):
        literals[int(number) - 1] = str(offset)
    values = ", ".join(literals)
    await connection.execute(f"PREPARE asked AS {compiled.text}")
    explain = f"EXPLAIN (FORMAT JSON) EXECUTE asked{f'({values})' if values else ''}"
    try:
        # From the sixth on, the server may have one plan for all values.
        answers = [await connection.fetchval(explain) for _ in range(7)]
    finally:
        await connection.execute("DEALLOCATE asked")
    indexes = dict(await connection.fetch("SELECT indexname, tablename FROM pg_indexes"))
    return list(_accesses(json.loads(answers[-1])[0]["Plan"], indexes, is_paged=False))


def _literal(kind: str) -> str:
    if kind.endswith("[]"):
        # Many, so that they are worth a scan where each stands for many rows.
        return f"'{{{','.join(f'x{n}' for n in range(100))}}}'"
    return {"timestamptz": "'2026-01-01'", "int4": "21", "int8": "21", "bool": "true", "bytea": r"'\x00'"}.get(
        kind, "'x'"
    )


_OFFSET = re.compile(r"OFFSET \$(\d+)")
_STREAMING = {"Limit", "LockRows", "Subquery Scan", "Result", "Index Scan", "Index Only Scan", "Seq Scan"}
_COLUMN = re.compile(r"\(?\b([a-z_]+)\)?(?:::\w+)? (?:=|<|>|<=|>=|IS NULL)(?: |\))")


def _accesses(node: dict[str, Any], indexes: dict[str, str], *, is_paged: bool) -> Iterator[Access]:
    kind = node["Node Type"]
    is_paged = kind == "Limit" or (is_paged and kind in _STREAMING and "Filter" not in node)
    columns = frozenset(_COLUMN.findall(node.get("Index Cond", "")))
    if kind == "Seq Scan":
        # With a LIMIT but no order, it reads for as long as it finds too little.
        yield Access(node["Relation Name"], frozenset())
    elif kind in ("Index Scan", "Index Only Scan"):
        yield Access(node["Relation Name"], columns, is_paged)
    elif kind == "Bitmap Index Scan":
        yield Access(indexes[node["Index Name"]], columns)
    for inner in node.get("Plans", []):
        yield from _accesses(inner, indexes, is_paged=is_paged)
