"""Dump a database, as an attacker with a copy of it reads it."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from keystead.crypto import secrets


async def dump(url: str) -> bytes:
    """Every cell of every table as text, as bytes, and as hexadecimal digits; of SQLite the files too."""
    cells: list[Any] = []
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        cells += [file.read_bytes() for file in path.parent.glob(f"{path.name}*")]
        connection = sqlite3.connect(path)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cells += [cell for row in connection.execute(f'SELECT * FROM "{table}"') for cell in row]
        connection.close()
    else:
        pg = await asyncpg.connect(url)
        tables = await pg.fetch("SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
                                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")  # fmt: skip
        for (table,) in tables:
            cells += [cell for row in await pg.fetch(f"SELECT * FROM {table}") for cell in row]
        await pg.close()
    return b"\n".join(part for cell in cells for part in _spelt(cell))


def _spelt(cell: Any) -> tuple[bytes, ...]:
    return (cell, cell.hex().encode()) if isinstance(cell, bytes) else (str(cell).encode(),)


def is_digest_held(held: bytes, text: str) -> bool:
    """Whether the digest of this secret is in the dump: that a search finds what is there."""
    secret = secrets.parse(text)
    return secret is not None and secret.digest().hex().encode() in held


def assert_not_held(held: bytes, used: Mapping[str, str]) -> None:
    """None of these secrets is in the dump: as text, in base64 or hexadecimal, the random part alone, a signature."""
    for name, text in used.items():
        parts = [text, base64.b64encode(text.encode()).decode().rstrip("="), text.encode().hex()]
        parts += text.split(".")[1:] if text.startswith("eyJ") else []
        if secrets.parse(text) is not None:
            parts += [text[6:], text[6:-6]]
        for part in parts:
            assert part.encode() not in held, (name, part)
