"""What PostgreSQL's errors mean to us.

The server's texts may quote values (a duplicate key's DETAIL, a malformed number), and so may asyncpg's own;
only what cannot hold a value is kept.
"""

from __future__ import annotations

import re

import asyncpg

from keystead import errors
from keystead.db.engine import (
    ConnectionLost,
    Contention,
    ForeignKeyViolation,
    OutcomeUnknown,
    ReadOnly,
    RightMissing,
    SchemaChanged,
    TooManyColumns,
    UniqueViolation,
)
from keystead.db.postgres_states import Fate, Meaning, Retry, row_of

_KEY = re.compile(r"\(([^()]+)\)[^(=]{0,3}=[^(]{0,3}\(")
_SIMPLE = {
    Meaning.unavailable: errors.ServiceUnavailable,
    Meaning.full: errors.StorageFull,
    Meaning.right: RightMissing,
    Meaning.contention: Contention,
    Meaning.changed: SchemaChanged,
    Meaning.columns: TooManyColumns,
}


def fate(error: BaseException) -> Fate:
    """What becomes of the connection on which this was raised."""
    if isinstance(error, asyncpg.DataError | asyncpg.OutdatedSchemaCacheError):
        return Fate.kept
    if isinstance(error, asyncpg.PostgresError):
        return row_of(error.sqlstate or "").fate
    return Fate.renewed if is_lost(error) else Fate.dropped


def is_lost(error: BaseException) -> bool:
    """The connection is of no use any more, and nothing that was not committed has happened."""
    if isinstance(error, asyncpg.DataError | asyncpg.OutdatedSchemaCacheError):
        return False
    if isinstance(error, asyncpg.PostgresError):
        return row_of(error.sqlstate or "").retry is Retry.statement
    # An InternalClientError is what asyncpg makes of a server that ended the session while it was idle.
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    if isinstance(error, RuntimeError):  # uvloop: the socket was closed under asyncpg
        return "the handler is closed" in str(error)
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)


def translate(error: BaseException) -> BaseException:
    """The error of ours, without any value in it; an error that is not the driver's stays as it is."""
    if isinstance(error, asyncpg.DataError):
        return _bad_value(error)
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error)
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return SchemaChanged(cause=type(error).__name__)
    if is_lost(error):
        return ConnectionLost(cause=f"{type(error).__name__}: {error}")
    if isinstance(error, OSError):
        return errors.ServiceUnavailable(cause=f"{type(error).__name__}: {error}")
    return error


def translate_at_commit(error: BaseException) -> BaseException:
    """The same for an error that came in the place of COMMIT's answer.

    Where the server itself refused it and the session lives on, the transaction is undone. In every other case the
    server may have committed before the connection went.
    """
    if isinstance(error, asyncpg.PostgresError) and fate(error) is Fate.kept:
        refused = _of_server(error)
        # A rule of the database's own, a trigger say: nothing that the caller sent is at fault.
        return errors.ServiceUnavailable(cause=f"at COMMIT: {error}") if _is_fault(refused) else refused
    if isinstance(error, Exception):
        return OutcomeUnknown(cause=f"at COMMIT: {type(error).__name__}: {error}")
    return error


def _is_fault(error: BaseException) -> bool:
    return type(error) is errors.InternalError


def _of_server(error: asyncpg.PostgresError) -> BaseException:
    state = error.sqlstate or ""
    row = row_of(state)
    cause = f"{state} {type(error).__name__}"
    if row.meaning is not Meaning.rule:
        cause = f"{cause}: {error.args[0] if error.args else ''}"
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return SchemaChanged(cause=cause)
    if state == "23505":
        return _unique(error)
    if state == "23503":
        return ForeignKeyViolation(error.constraint_name)
    if state == "25006":
        return ReadOnly(cause=cause)
    if row.retry is Retry.statement:
        return ConnectionLost(cause=cause)
    kind: type[errors.KeysteadError] = _SIMPLE.get(row.meaning, errors.InternalError)
    return kind(cause=cause)


def _bad_value(error: asyncpg.DataError) -> Exception:
    text = str(error)
    if error.sqlstate == "22021" or "codec can't encode" in text:  # NUL; a lone surrogate
        return errors.BadUserInput("Text holds a character that cannot be stored.")
    which = text.partition(":")[0] if text.startswith("invalid input for query argument") else ""
    return errors.InternalError(cause=f"{error.sqlstate} {type(error).__name__} {which}".rstrip())


def _unique(error: asyncpg.PostgresError) -> UniqueViolation:
    found = _KEY.search(error.detail or "")
    columns = tuple(name.strip().strip('"') for name in found[1].split(",")) if found else ()
    return UniqueViolation(error.table_name or "", columns, error.constraint_name)
