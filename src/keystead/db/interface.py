"""One small interface over both databases, and the errors they speak.

A failed statement spoils its transaction on both databases: nothing more runs in it, and it cannot be
committed. Where a clash is expected, write ``ON CONFLICT``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from sqlalchemy.sql.ddl import ExecutableDDLElement

from keystead import errors
from keystead.db.statements import Statement

Dialect: TypeAlias = Literal["sqlite", "postgresql"]
Row: TypeAlias = Sequence[Any]
T = TypeVar("T")


class UniqueViolation(errors.InternalError):
    """A unique rule is broken: ``columns`` are those of the rule, ``constraint`` its name where known."""

    def __init__(self, table: str, columns: tuple[str, ...], constraint: str | None = None) -> None:
        super().__init__(cause=f"unique rule broken on {table} ({', '.join(columns)})")
        self.table = table
        self.columns = columns
        self.constraint = constraint


class ForeignKeyViolation(errors.InternalError):
    """A row is pointed at, or points nowhere. SQLite does not say which: ``constraint`` is then None."""

    def __init__(self, constraint: str | None = None) -> None:
        super().__init__(cause=f"foreign key broken: {constraint or 'unnamed'}")
        self.constraint = constraint


class SchemaChanged(errors.ServiceUnavailable):
    """A table or column is not there (any more), or is another one: the brand's schema moved under this request."""


class TooManyColumns(errors.BadUserInput):
    """PostgreSQL gives a table 1,600 columns in all its life."""

    default_message = "This table has had all the fields it may have: dropped ones count too. Define another entity."


class RightMissing(errors.ServiceUnavailable):
    """The role that the server connects with may not do this (42501): the operator has to grant a right."""

    default_message = "The server's database role lacks a right that this needs. 'keystead doctor' names it."


class OutcomeUnknown(errors.ServiceUnavailable):
    """The database failed while it committed: the change may have taken effect or not. Never retried here."""

    default_message = (
        "The service became unavailable while it saved this change: it may have taken effect or not. "
        "Read the current state before you try again."
    )

    def __init__(self, *, cause: str) -> None:
        super().__init__(cause=cause, outcome="unknown")


class Undone(errors.ServiceUnavailable):
    """Nothing of the transaction has happened; it may be run again."""


class Contention(Undone):
    """The database undid the transaction because of another one (40001, 40P01)."""


class ConnectionLost(Undone):
    """The connection went before COMMIT was sent."""


class ReadOnly(Undone):
    """The database answers and takes no changes: a standby, or a file system that is mounted read-only."""

    default_message = "The service takes no changes for the moment: try again."


class Unusable(errors.ServiceUnavailable):
    """The open SQLite file is not the one at its path any more, or it is damaged: see docs/operations.md."""


@contextmanager
def pointing_at_what_was_there() -> Iterator[None]:
    """Around a statement that adds a row which points at one that was read before.

    :raises Contention: when that one is deleted at this moment: run again, it is seen to be gone.
    """
    try:
        yield
    except ForeignKeyViolation as clash:
        raise Contention(cause="a row that was read is deleted before another pointed at it") from clash


class Tx(Protocol):
    """What a store function takes: something that runs statements."""

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        """The first row, or None."""
        ...

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        """All rows."""
        ...

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        """The number of rows changed."""
        ...

    async def execute_ddl(self, element: ExecutableDDLElement | str, /) -> None:
        """Creates, alters or drops; part of the transaction on both databases."""
        ...


class Database(Protocol):
    """An open database."""

    @property
    def dialect(self) -> Dialect:
        """Which of the two it is."""
        ...

    @property
    def reads(self) -> Tx:
        """Each statement by itself, for short indexed reads. Refuses statements that write."""
        ...

    @property
    def scans(self) -> Tx:
        """Like ``reads``, for statements that may touch many rows."""
        ...

    async def open(self) -> None:
        """Connects. Raises StartupError with one clear line."""
        ...

    async def close(self) -> None:
        """Lets go of every connection."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """Commits when the block ends, rolls back when it raises or is cancelled."""
        ...

    async def run(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Runs ``work`` in a transaction, again (three times at most) when the database undid it."""
        ...

    async def now(self) -> datetime:
        """The database's own clock, UTC."""
        ...

    async def ping(self) -> None:
        """Raises ServiceUnavailable unless the database answers, ReadOnly when it takes no changes."""
        ...


ATTEMPTS = 3


async def run_again(database: Database, work: Callable[[Tx], Awaitable[T]]) -> T:
    """Runs ``work`` in one transaction after another until one is not undone. Raises Undone."""
    for _ in range(ATTEMPTS - 1):
        try:
            async with database.transaction() as tx:
                return await work(tx)
        except Undone:
            continue
    async with database.transaction() as tx:
        return await work(tx)
