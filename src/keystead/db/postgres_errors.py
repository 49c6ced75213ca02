"""What PostgreSQL's errors mean to us.

The server's texts may quote values (a duplicate key's DETAIL, a malformed number), and so may asyncpg's own;
only what cannot hold a value is kept.
"""

from __future__ import annotations

import re

import asyncpg

from keystead import errors
from keystead.db.engine import Contention, ForeignKeyViolation, SchemaChanged, TooManyColumns, UniqueViolation

_KEY = re.compile(r"\(([^()]+)\)[^(=]{0,3}=[^(]{0,3}\(")
_AGAIN = {"40001", "40P01"}
_GONE = {"42P01", "42703", "3F000"}
_CHANGED = {"42804", "54000"}
"""A column of another type, an index that a value is too long for: statements and values are right for a definition."""
_TOO_MANY_COLUMNS = "54011"
_UNAVAILABLE = {"55P03", "57014", "25P03", "25P04", "25006", "3D000"}
"""Among them: a server that only reads (it was the standby a moment ago), a database that is gone."""
_UNAVAILABLE_CLASSES = ("08", "28", "53", "57P", "58")
"""28: the server knows us no more, since its passwords or its rules were changed while we run."""


def is_lost(error: BaseException) -> bool:
    """The connection is gone: nothing that was not committed has happened."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(("08", "57P0"))
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error)
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)


def translate(error: BaseException) -> BaseException:
    """The error of ours, without any value in it; an error that is not the driver's stays as it is."""
    if isinstance(error, asyncpg.DataError):
        return _bad_value(error)
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error)
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return SchemaChanged(cause=type(error).__name__)
    if is_lost(error) or isinstance(error, OSError):
        return errors.ServiceUnavailable(cause=f"{type(error).__name__}: {error}")
    if isinstance(error, asyncpg.InterfaceError):
        return errors.InternalError(cause=f"{type(error).__name__}: {error}")
    return error


def _of_server(error: asyncpg.PostgresError) -> BaseException:
    state = error.sqlstate or ""
    cause = f"{state} {type(error).__name__}"
    if not state.startswith("23"):
        cause = f"{cause}: {error.args[0] if error.args else ''}"
    if state == "23505":
        return _unique(error)
    if state == "23503":
        return ForeignKeyViolation(error.constraint_name)
    if state == "53100":
        return errors.StorageFull(cause=cause)
    if state in _AGAIN:
        return Contention(cause=cause)
    if state == _TOO_MANY_COLUMNS:
        return TooManyColumns(cause=cause)
    if state in _GONE | _CHANGED or isinstance(error, asyncpg.InvalidCachedStatementError):
        return SchemaChanged(cause=cause)
    if state in _UNAVAILABLE or state.startswith(_UNAVAILABLE_CLASSES):
        return errors.ServiceUnavailable(cause=cause)
    return errors.InternalError(cause=cause)


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
