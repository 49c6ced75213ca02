"""PostgreSQL's errors: which of ours each SQLSTATE becomes, whether its connection is reusable, what may be retried.

The server's texts may quote values (a duplicate key's DETAIL, a malformed number), and so may asyncpg's own: only what
cannot hold a value is kept.

Rows of the table are of a class (two characters) or of one state (five); the longest match counts. A test holds the
table against every class that asyncpg knows. Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

import asyncpg

from keystead import errors
from keystead.db.interface import (
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


class Meaning(Enum):
    """Which of our errors a state becomes."""

    fault = "a bug of ours: 500"
    unavailable = "503, try again later"
    full = "503, the storage is full"
    privilege = "503, the database role lacks a privilege"
    contention = "503 when retries have not helped"
    changed = "503, the schema has changed"
    value = "a value that cannot be stored"
    constraint = "a unique constraint or a foreign key"
    columns = "more columns than a table may have"


class ConnectionAction(Enum):
    """What the pool does with the connection."""

    release = "reuse it"
    discard = "close it: its state is unknown"
    renew = "close it and the idle ones, which are as broken"


class Retry(Enum):
    """What may be sent again, once."""

    never = "nothing"
    statement = "a read or a BEGIN, and a transaction whose COMMIT was not sent"
    transaction = "the whole transaction: the server rolled it back"


@dataclass(frozen=True, slots=True)
class Handling:
    """How one state, or a whole class of them, is handled."""

    meaning: Meaning
    action: ConnectionAction
    retry: Retry


_FAULT: Final = Handling(Meaning.fault, ConnectionAction.release, Retry.never)
_BROKEN_STATE: Final = Handling(Meaning.fault, ConnectionAction.discard, Retry.never)
_LOST: Final = Handling(Meaning.unavailable, ConnectionAction.renew, Retry.statement)
_ENDED: Final = Handling(Meaning.unavailable, ConnectionAction.discard, Retry.never)
_TRANSIENT: Final = Handling(Meaning.unavailable, ConnectionAction.release, Retry.never)
_CHANGED: Final = Handling(Meaning.changed, ConnectionAction.release, Retry.never)
_ROLLED_BACK: Final = Handling(Meaning.contention, ConnectionAction.release, Retry.transaction)

BEHIND_A_POOLER: Final = frozenset(("26000", "42P05"))
"""A prepared statement of ours is missing, or another session's is there: a connection pooler stands in between."""

_HANDLING: Final[dict[str, Handling]] = {
    "00": _FAULT,  # success
    "01": _FAULT,  # warning
    "02": _FAULT,  # no data
    "03": _BROKEN_STATE,  # SQL statement not yet complete
    "08": _LOST,  # connection exception; PgBouncer reports its own failures as 08P01
    "09": _FAULT,  # triggered action exception
    "0A": _FAULT,  # feature not supported
    "0B": _BROKEN_STATE,  # invalid transaction initiation
    "0F": _FAULT,  # locator exception
    "0L": _FAULT,  # invalid grantor
    "0P": _FAULT,  # invalid role specification
    "0Z": _FAULT,  # diagnostics exception
    "10": _FAULT,  # XQuery error
    "20": _FAULT,  # case not found
    "21": _FAULT,  # cardinality violation
    "22": Handling(Meaning.value, ConnectionAction.release, Retry.never),  # data exception
    "23": Handling(Meaning.constraint, ConnectionAction.release, Retry.never),  # integrity constraint violation
    "24": _FAULT,  # invalid cursor state
    "25": _BROKEN_STATE,  # invalid transaction state
    "25006": _LOST,  # read-only, as on a former primary: the session would stay so for its whole life
    "25P03": _ENDED,  # idle in transaction for too long
    "25P04": _ENDED,  # transaction took too long
    "26": _LOST,  # invalid SQL statement name: see BEHIND_A_POOLER
    "27": _FAULT,  # triggered data change violation
    "28": _ENDED,  # invalid authorization: passwords or pg_hba.conf changed while we run
    "2B": _FAULT,  # dependent privilege descriptors still exist
    "2D": _BROKEN_STATE,  # invalid transaction termination
    "2F": _FAULT,  # SQL routine exception
    "34": _FAULT,  # invalid cursor name
    "38": _FAULT,  # external routine exception
    "39": _FAULT,  # external routine invocation exception
    "3B": _FAULT,  # savepoint exception
    "3D": _ENDED,  # invalid catalog name: the database is gone
    "3F": _CHANGED,  # invalid schema name
    "40": _ROLLED_BACK,  # transaction rollback: serialization failure, deadlock
    "40002": _FAULT,  # transaction integrity constraint violation
    "40003": _ENDED,  # statement completion unknown
    "42": _FAULT,  # syntax error or access rule violation
    "42501": Handling(Meaning.privilege, ConnectionAction.release, Retry.never),  # insufficient privilege
    "42703": _CHANGED,  # undefined column
    "42804": _CHANGED,  # datatype mismatch: a column of another type
    "42P01": _CHANGED,  # undefined table
    "42P05": _LOST,  # duplicate prepared statement: see BEHIND_A_POOLER
    "44": _FAULT,  # WITH CHECK OPTION violation
    "53": _TRANSIENT,  # insufficient resources
    "53100": Handling(Meaning.full, ConnectionAction.release, Retry.never),  # disk full
    "54": _FAULT,  # program limit exceeded
    "54000": _CHANGED,  # a value too long for an index that another definition of the entity added
    "54011": Handling(Meaning.columns, ConnectionAction.release, Retry.never),  # too many columns
    "55": _FAULT,  # object not in prerequisite state
    "55006": _TRANSIENT,  # object in use
    "55P03": _TRANSIENT,  # lock not available
    "57": _TRANSIENT,  # operator intervention
    "57014": _TRANSIENT,  # query cancelled: a time limit
    "57P01": _LOST,  # admin shutdown
    "57P02": _LOST,  # crash shutdown
    "57P03": _LOST,  # cannot connect now
    "57P04": _LOST,  # database dropped
    "57P05": _LOST,  # idle session timeout
    "58": _ENDED,  # system error: an input or output that failed
    "72": _TRANSIENT,  # snapshot too old
    "F0": _ENDED,  # configuration file error
    "HV": _FAULT,  # foreign data wrapper error
    "P0": _FAULT,  # PL/pgSQL error
    "XX": _BROKEN_STATE,  # internal error
    "XX001": _ENDED,  # data corrupted
    "XX002": _ENDED,  # index corrupted
}


_KEY = re.compile(r"\(([^()]+)\)[^(=]{0,3}=[^(]{0,3}\(")
_SIMPLE = {
    Meaning.unavailable: errors.ServiceUnavailable,
    Meaning.full: errors.StorageFull,
    Meaning.privilege: RightMissing,
    Meaning.contention: Contention,
    Meaning.changed: SchemaChanged,
    Meaning.columns: TooManyColumns,
}


@cache
def handling_of(state: str) -> Handling:
    """The handling of a SQLSTATE; an unknown one is a bug of ours on a connection that is closed."""
    return _HANDLING.get(state) or _HANDLING.get(state[:2]) or _BROKEN_STATE


def connection_action(error: BaseException) -> ConnectionAction:
    """What the pool does with the connection on which ``error`` was raised."""
    if isinstance(error, asyncpg.DataError | asyncpg.OutdatedSchemaCacheError):
        return ConnectionAction.release
    if isinstance(error, asyncpg.PostgresError):
        return handling_of(error.sqlstate or "").action
    return ConnectionAction.renew if is_lost(error) else ConnectionAction.discard


def is_lost(error: BaseException) -> bool:
    """Whether the connection is lost and nothing uncommitted has taken effect: a read or BEGIN may be retried."""
    if isinstance(error, asyncpg.DataError | asyncpg.OutdatedSchemaCacheError):
        return False
    if isinstance(error, asyncpg.PostgresError):
        return handling_of(error.sqlstate or "").retry is Retry.statement
    # asyncpg raises InternalClientError when the server ended the session while it was idle.
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    if isinstance(error, RuntimeError):  # uvloop: the socket was closed under asyncpg
        return "the handler is closed" in str(error)
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)


def translate(error: BaseException) -> BaseException:
    """Translate a driver error to ours, without any value in it; other errors are returned as they are."""
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
    """Translate an error that was raised by COMMIT.

    If the server rejected it and the session survives, the transaction is rolled back. In every other case the server
    may have committed before the connection was lost.
    """
    if isinstance(error, asyncpg.PostgresError) and connection_action(error) is ConnectionAction.release:
        rejection = _of_server(error)
        # For example a trigger that an operator added: the caller's input is not at fault.
        return errors.ServiceUnavailable(cause=f"at COMMIT: {error}") if _is_fault(rejection) else rejection
    if isinstance(error, Exception):
        return OutcomeUnknown(cause=f"at COMMIT: {type(error).__name__}: {error}")
    return error


def _is_fault(error: BaseException) -> bool:
    return type(error) is errors.InternalError


def _of_server(error: asyncpg.PostgresError) -> BaseException:
    state = error.sqlstate or ""
    handling = handling_of(state)
    cause = f"{state} {type(error).__name__}"
    if handling.meaning is not Meaning.constraint:
        cause = f"{cause}: {error.args[0] if error.args else ''}"
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return SchemaChanged(cause=cause)
    if state == "23505":
        return _unique(error)
    if state == "23503":
        return ForeignKeyViolation(error.constraint_name)
    if state == "25006":
        return ReadOnly(cause=cause)
    if handling.retry is Retry.statement:
        return ConnectionLost(cause=cause)
    kind: type[errors.KeysteadError] = _SIMPLE.get(handling.meaning, errors.InternalError)
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
