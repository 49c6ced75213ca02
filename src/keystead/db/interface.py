"""The interface over both databases, and the errors they raise.

A failed statement invalidates its transaction on both databases: nothing more runs in it, and it cannot be committed.
Where a conflict is expected, use ``ON CONFLICT``.
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
    """A unique constraint is violated: on ``columns``; ``constraint`` is its name where known."""

    def __init__(self, table: str, columns: tuple[str, ...], constraint: str | None = None) -> None:
        super().__init__(cause=f"unique constraint violated on {table} ({', '.join(columns)})")
        self.table = table
        self.columns = columns
        self.constraint = constraint


class ForeignKeyViolation(errors.InternalError):
    """A row is referenced, or references a missing row. On SQLite ``constraint`` is None."""

    def __init__(self, constraint: str | None = None) -> None:
        super().__init__(cause=f"foreign key violated: {constraint or 'unnamed'}")
        self.constraint = constraint


class SchemaChanged(errors.ServiceUnavailable):
    """A table or column is missing or has changed: the brand's schema changed during the request."""


class TooManyColumns(errors.BadUserInput):
    """A PostgreSQL table has had its 1,600 columns, dropped ones included."""

    default_message = "This table has had all the fields it may have: dropped ones count too. Define another entity."


class RightMissing(errors.ServiceUnavailable):
    """The database role lacks a privilege (42501), which the operator has to grant."""

    default_message = "The server's database role lacks a right that this needs. 'keystead doctor' names it."


class OutcomeUnknown(errors.ServiceUnavailable):
    """COMMIT failed ambiguously: the change may have taken effect or not. Never retried here."""

    default_message = (
        "The service became unavailable while it saved this change: it may have taken effect or not. "
        "Read the current state before you try again."
    )

    def __init__(self, *, cause: str) -> None:
        super().__init__(cause=cause, outcome="unknown")


class Undone(errors.ServiceUnavailable):
    """The transaction had no effect and may be retried."""


class Contention(Undone):
    """The database rolled the transaction back because of a concurrent one (40001, 40P01)."""


class ConnectionLost(Undone):
    """The connection was lost before COMMIT was sent."""


class ReadOnly(Undone):
    """The database is read-only: a standby, or a file system mounted read-only."""

    default_message = "The service accepts no changes at the moment: try again."


class Unusable(errors.ServiceUnavailable):
    """The open SQLite file is no longer the one at its path, or is damaged: see docs/operations.md."""


@contextmanager
def retry_when_deleted() -> Iterator[None]:
    """Guard an insert of a row that references one read before, against its concurrent deletion.

    :raises Contention: when the referenced row was deleted: the retried transaction finds it missing.
    """
    try:
        yield
    except ForeignKeyViolation as clash:
        raise Contention(cause="a row was deleted before another one referenced it") from clash


class Tx(Protocol):
    """Runs statements; what every store function takes."""

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
        """Execute DDL, which is transactional on both databases."""
        ...


class Database(Protocol):
    """An open database."""

    @property
    def dialect(self) -> Dialect:
        """Which of the two it is."""
        ...

    @property
    def reads(self) -> Tx:
        """Short indexed reads outside a transaction. Statements that write raise TypeError."""
        ...

    @property
    def scans(self) -> Tx:
        """Like ``reads``, for statements that may touch many rows."""
        ...

    async def open(self) -> None:
        """Connect.

        :raises StartupError: with one clear line.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """Commits when the block ends, rolls back when it raises or is cancelled."""
        ...

    async def run(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction, with up to three attempts while the database rolls it back (``Undone``)."""
        ...

    async def now(self) -> datetime:
        """The database's own clock, UTC."""
        ...

    async def ping(self) -> None:
        """Check that the database answers and accepts changes.

        :raises ServiceUnavailable: when it does not answer.
        :raises ReadOnly: when it accepts no changes.
        """
        ...


ATTEMPTS = 3


async def run_with_retries(database: Database, work: Callable[[Tx], Awaitable[T]]) -> T:
    """Run ``work`` in up to three transactions, until one is not rolled back.

    :raises Undone: when the last attempt was rolled back.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            async with database.transaction() as tx:
                return await work(tx)
        except Undone:
            continue
    async with database.transaction() as tx:
        return await work(tx)
