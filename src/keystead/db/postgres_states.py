"""One table of SQLSTATEs: which error each means to us, whether its connection may be used again, what may be retried.

Rows are of a class (two characters) or of one state (five), and the longest one counts. A test holds the table against
every class that asyncpg knows. Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

__all__ = ["BEHIND_A_POOLER", "Fate", "Meaning", "Retry", "Row", "row_of"]


class Meaning(Enum):
    """Which error of ours a state becomes."""

    fault = "a fault of ours: 500"
    unavailable = "503, try again later"
    full = "503, the storage is full"
    right = "503, the database role lacks a right"
    contention = "503 once running it again has not helped"
    changed = "503, the schema is another one by now"
    value = "a value that cannot be stored"
    rule = "a unique rule or a foreign key"
    columns = "more columns than a table may have"


class Fate(Enum):
    """What becomes of the connection."""

    kept = "in order, given back to the pool"
    dropped = "closed: its state is not known"
    renewed = "closed, and the idle ones with it: they went the same way"


class Retry(Enum):
    """What may be sent again, once."""

    never = "nothing"
    statement = "a read or a BEGIN, and a transaction whose COMMIT was not sent"
    transaction = "the whole transaction: the server undid it"


@dataclass(frozen=True, slots=True)
class Row:
    """What happens after one state, or after a whole class of them."""

    meaning: Meaning
    fate: Fate
    retry: Retry


_FAULT: Final = Row(Meaning.fault, Fate.kept, Retry.never)
_CONFUSED: Final = Row(Meaning.fault, Fate.dropped, Retry.never)
_LOST: Final = Row(Meaning.unavailable, Fate.renewed, Retry.statement)
_ENDED: Final = Row(Meaning.unavailable, Fate.dropped, Retry.never)
_PASSING: Final = Row(Meaning.unavailable, Fate.kept, Retry.never)
_CHANGED: Final = Row(Meaning.changed, Fate.kept, Retry.never)
_UNDONE: Final = Row(Meaning.contention, Fate.kept, Retry.transaction)

BEHIND_A_POOLER: Final = frozenset(("26000", "42P05"))
"""A prepared statement of ours is not there, or one of another session's is: a pooler stands in between."""

_ROWS: Final[dict[str, Row]] = {
    "00": _FAULT,  # success
    "01": _FAULT,  # warning
    "02": _FAULT,  # no data
    "03": _CONFUSED,  # SQL statement not yet complete
    "08": _LOST,  # connection exception; PgBouncer reports its own failures as 08P01
    "09": _FAULT,  # triggered action exception
    "0A": _FAULT,  # feature not supported
    "0B": _CONFUSED,  # invalid transaction initiation
    "0F": _FAULT,  # locator exception
    "0L": _FAULT,  # invalid grantor
    "0P": _FAULT,  # invalid role specification
    "0Z": _FAULT,  # diagnostics exception
    "10": _FAULT,  # XQuery error
    "20": _FAULT,  # case not found
    "21": _FAULT,  # cardinality violation
    "22": Row(Meaning.value, Fate.kept, Retry.never),  # data exception
    "23": Row(Meaning.rule, Fate.kept, Retry.never),  # integrity constraint violation
    "24": _FAULT,  # invalid cursor state
    "25": _CONFUSED,  # invalid transaction state
    "25006": _LOST,  # only reads: the standby of a moment ago. It would stay so for as long as the session lives
    "25P03": _ENDED,  # idle in transaction for too long
    "25P04": _ENDED,  # transaction took too long
    "26": _LOST,  # invalid SQL statement name: see BEHIND_A_POOLER
    "27": _FAULT,  # triggered data change violation
    "28": _ENDED,  # invalid authorization: the passwords or rules were changed while we run
    "2B": _FAULT,  # dependent privilege descriptors still exist
    "2D": _CONFUSED,  # invalid transaction termination
    "2F": _FAULT,  # SQL routine exception
    "34": _FAULT,  # invalid cursor name
    "38": _FAULT,  # external routine exception
    "39": _FAULT,  # external routine invocation exception
    "3B": _FAULT,  # savepoint exception
    "3D": _ENDED,  # invalid catalog name: the database is gone
    "3F": _CHANGED,  # invalid schema name
    "40": _UNDONE,  # transaction rollback: serialization failure, deadlock
    "40002": _FAULT,  # transaction integrity constraint violation
    "40003": _ENDED,  # statement completion unknown
    "42": _FAULT,  # syntax error or access rule violation
    "42501": Row(Meaning.right, Fate.kept, Retry.never),  # insufficient privilege
    "42703": _CHANGED,  # undefined column
    "42804": _CHANGED,  # datatype mismatch: a column of another type
    "42P01": _CHANGED,  # undefined table
    "42P05": _LOST,  # duplicate prepared statement: see BEHIND_A_POOLER
    "44": _FAULT,  # WITH CHECK OPTION violation
    "53": _PASSING,  # insufficient resources
    "53100": Row(Meaning.full, Fate.kept, Retry.never),  # disk full
    "54": _FAULT,  # program limit exceeded
    "54000": _CHANGED,  # an index that a value is too long for: statement and value are right for a definition
    "54011": Row(Meaning.columns, Fate.kept, Retry.never),  # too many columns
    "55": _FAULT,  # object not in prerequisite state
    "55006": _PASSING,  # object in use
    "55P03": _PASSING,  # lock not available
    "57": _PASSING,  # operator intervention
    "57014": _PASSING,  # query cancelled: a time limit
    "57P01": _LOST,  # admin shutdown
    "57P02": _LOST,  # crash shutdown
    "57P03": _LOST,  # cannot connect now
    "57P04": _LOST,  # database dropped
    "57P05": _LOST,  # idle session timeout
    "58": _ENDED,  # system error: an input or output that failed
    "72": _PASSING,  # snapshot too old
    "F0": _ENDED,  # configuration file error
    "HV": _FAULT,  # foreign data wrapper error
    "P0": _FAULT,  # PL/pgSQL error
    "XX": _CONFUSED,  # internal error
    "XX001": _ENDED,  # data corrupted
    "XX002": _ENDED,  # index corrupted
}


@cache
def row_of(state: str) -> Row:
    """The row of a SQLSTATE; of one that is not known, a fault of ours on a connection that is closed."""
    return _ROWS.get(state) or _ROWS.get(state[:2]) or _CONFUSED
