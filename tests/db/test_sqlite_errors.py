"""Every result code of SQLite has a row: what it means, and what becomes of a COMMIT that ends in it."""

from __future__ import annotations

import re
import sqlite3

import pytest

from keystead import errors
from keystead.db.interface import SchemaChanged
from keystead.db.sqlite_errors import _MEANINGS, Meaning, is_undone_at_commit, meaning_of, translate

PRIMARY = """
    OK ERROR INTERNAL PERM ABORT BUSY LOCKED NOMEM READONLY INTERRUPT IOERR CORRUPT NOTFOUND FULL CANTOPEN PROTOCOL
    EMPTY SCHEMA TOOBIG CONSTRAINT MISMATCH MISUSE NOLFS AUTH FORMAT RANGE NOTADB NOTICE WARNING ROW DONE
""".split()
"""As https://www.sqlite.org/rescode.html lists them: Python's module has names of other things beside them."""
CODES = sorted(
    (name, getattr(sqlite3, name))
    for name in dir(sqlite3)
    if re.match(rf"SQLITE_({'|'.join(PRIMARY)})(_|$)", name) and isinstance(getattr(sqlite3, name), int)
)


def raised(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("a text")
    error.sqlite_errorcode = code
    return error


def test_the_table_has_every_primary_code() -> None:
    assert {getattr(sqlite3, f"SQLITE_{name}") for name in PRIMARY} == set(_MEANINGS)
    assert len(CODES) > 80


@pytest.mark.parametrize(("name", "code"), CODES, ids=[name for name, _ in CODES])
def test_codes_are_translated_as_the_table_says_and_definite_or_not_at_commit(name: str, code: int) -> None:
    meaning = _MEANINGS[code & 0xFF]
    assert meaning_of(raised(code)) is meaning
    ours = translate(raised(code))
    assert isinstance(ours, errors.KeysteadError)
    assert (ours.code == "INTERNAL_SERVER_ERROR") == (meaning in (Meaning.fault, Meaning.constraint)), name
    definite = name.split("_")[1] in ("BUSY", "LOCKED", "FULL", "NOLFS", "CONSTRAINT", "READONLY")
    assert is_undone_at_commit(raised(code)) == definite


def test_a_missing_table_is_a_changed_schema_and_errors_may_have_no_code() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as missing:
        connection.execute("SELECT 1 FROM nowhere")
    assert isinstance(translate(missing.value), SchemaChanged)
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError) as closed:
        connection.execute("SELECT 1")
    assert isinstance(translate(closed.value), errors.ServiceUnavailable)
    assert isinstance(translate(sqlite3.ProgrammingError("wrong number of bindings")), errors.InternalError)
