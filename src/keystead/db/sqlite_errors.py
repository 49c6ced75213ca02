"""SQLite's primary result codes: which of our errors each becomes.

A test holds the table against every code that Python's sqlite3 names. Source: https://www.sqlite.org/rescode.html
"""

from __future__ import annotations

import re
import sqlite3
from enum import Enum
from typing import Final

from keystead import errors
from keystead.db.interface import ForeignKeyViolation, ReadOnly, SchemaChanged, UniqueViolation, Unusable

__all__ = ["LOCKED", "Meaning", "is_busy", "is_undone_at_commit", "meaning_of", "translate"]


class Meaning(Enum):
    """Which of our errors a code becomes."""

    fault = "a bug of ours: 500"
    unavailable = "503, try again later"
    busy = "503 after the busy timeout; a read on the event loop is retried on a reader thread"
    damaged = "503 and not ready: the file has to be restored"
    read_only = "503, the database takes no changes"
    full = "503, the storage is full"
    changed = "503, the schema has changed"
    constraint = "a unique constraint or a foreign key"


_MEANINGS: Final[dict[int, Meaning]] = {
    sqlite3.SQLITE_OK: Meaning.fault,
    sqlite3.SQLITE_ERROR: Meaning.fault,  # except for a missing table or column
    sqlite3.SQLITE_INTERNAL: Meaning.fault,
    sqlite3.SQLITE_PERM: Meaning.unavailable,  # the access mode that was asked for cannot be had
    sqlite3.SQLITE_ABORT: Meaning.fault,
    sqlite3.SQLITE_BUSY: Meaning.busy,
    sqlite3.SQLITE_LOCKED: Meaning.busy,
    sqlite3.SQLITE_NOMEM: Meaning.unavailable,
    sqlite3.SQLITE_READONLY: Meaning.read_only,
    sqlite3.SQLITE_INTERRUPT: Meaning.unavailable,  # a statement that took too long
    sqlite3.SQLITE_IOERR: Meaning.unavailable,
    sqlite3.SQLITE_CORRUPT: Meaning.damaged,  # "database disk image is malformed"
    sqlite3.SQLITE_NOTFOUND: Meaning.fault,
    sqlite3.SQLITE_FULL: Meaning.full,
    sqlite3.SQLITE_CANTOPEN: Meaning.unavailable,
    sqlite3.SQLITE_PROTOCOL: Meaning.unavailable,  # too many processes race for the log's locks
    sqlite3.SQLITE_EMPTY: Meaning.fault,  # not used by SQLite
    sqlite3.SQLITE_SCHEMA: Meaning.changed,
    sqlite3.SQLITE_TOOBIG: Meaning.fault,  # a text of a gigabyte
    sqlite3.SQLITE_CONSTRAINT: Meaning.constraint,
    sqlite3.SQLITE_MISMATCH: Meaning.fault,
    sqlite3.SQLITE_MISUSE: Meaning.fault,
    sqlite3.SQLITE_NOLFS: Meaning.full,  # the file system cannot hold a larger file
    sqlite3.SQLITE_AUTH: Meaning.fault,
    sqlite3.SQLITE_FORMAT: Meaning.fault,  # not used by SQLite
    sqlite3.SQLITE_RANGE: Meaning.fault,
    sqlite3.SQLITE_NOTADB: Meaning.damaged,
    sqlite3.SQLITE_NOTICE: Meaning.fault,
    sqlite3.SQLITE_WARNING: Meaning.fault,
    sqlite3.SQLITE_ROW: Meaning.fault,
    sqlite3.SQLITE_DONE: Meaning.fault,
}
_ERRORS: Final[dict[Meaning, type[errors.KeysteadError]]] = {
    Meaning.unavailable: errors.ServiceUnavailable,
    Meaning.busy: errors.ServiceUnavailable,
    Meaning.damaged: Unusable,
    Meaning.read_only: ReadOnly,
    Meaning.full: errors.StorageFull,
    Meaning.changed: SchemaChanged,
}
LOCKED: Final = "the database is locked by another process"
_UNDONE_AT_COMMIT: Final = {Meaning.busy, Meaning.full, Meaning.constraint, Meaning.read_only}
_MISSING: Final = ("no such table", "no such column", "has no column")
_UNIQUE = re.compile(r"UNIQUE constraint failed: (.+)")


def meaning_of(error: sqlite3.Error) -> Meaning:
    """The meaning of an error. Errors without a code come from the module: bugs, except for a closed connection."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return Meaning.unavailable if "closed database" in str(error) else Meaning.fault
    if code == sqlite3.SQLITE_ERROR and any(words in str(error) for words in _MISSING):
        return Meaning.changed
    return _MEANINGS.get(code & 0xFF, Meaning.fault)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds the lock."""
    return meaning_of(error) is Meaning.busy


def is_undone_at_commit(error: sqlite3.Error) -> bool:
    """Whether a COMMIT that failed with this error certainly wrote nothing.

    After a failed write or sync the log may hold the whole transaction, and the next process would recover it.
    """
    return meaning_of(error) in _UNDONE_AT_COMMIT


def translate(error: BaseException) -> BaseException:
    """Translate a driver error to ours. SQLite's messages name tables and columns, never values."""
    if isinstance(error, sqlite3.IntegrityError):
        return _constraint_violation(error)
    if isinstance(error, UnicodeEncodeError):
        return errors.BadUserInput("Text holds a character that cannot be stored.")
    if isinstance(error, OverflowError):
        return errors.InternalError(cause="an integer does not fit SQLite's 64 bits")
    if not isinstance(error, sqlite3.Error):
        return error
    ours = _ERRORS.get(meaning_of(error))
    return (
        ours(cause=LOCKED if is_busy(error) else str(error))
        if ours
        else errors.InternalError(cause=f"{type(error).__name__}: {error}")
    )


def _constraint_violation(error: sqlite3.IntegrityError) -> Exception:
    text = str(error)
    if "FOREIGN KEY" in text:
        return ForeignKeyViolation()
    found = _UNIQUE.match(text)
    if found is None:
        return errors.InternalError(cause=text)
    if found[1].startswith("index "):
        return UniqueViolation("", (), found[1].removeprefix("index ").strip("'"))
    pairs = [name.split(".", 1) for name in found[1].split(", ")]
    return UniqueViolation(pairs[0][0], tuple(column for _, column in pairs))
