"""The metadata of the fixed tables, and column types that behave the same on both databases.

Text is compared by bytes (``COLLATE "C"`` on PostgreSQL, BINARY on SQLite), so that both sort it equally.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Index, MetaData, text
from sqlalchemy import types as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

Processor = Callable[[Any], Any]
T = TypeVar("T")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def filled_index(name: str, column: str, *others: str) -> Index:
    """A partial index of the rows in which ``column``, NULL in most, is not NULL.

    Without statistics, SQLite considers ``IS NULL`` as selective as an id: with a full index it would read every such
    row of the installation.
    """
    is_filled = text(f"{column} IS NOT NULL")
    return Index(name, column, *others, sqlite_where=is_filled, postgresql_where=is_filled)


Boolean = sa.Boolean
BigInteger = sa.BigInteger
Integer = sa.Integer


def _is_postgresql(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"


class _TextShaped(sa.TypeDecorator[T]):
    """A value stored as text, in byte order."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.TypeEngine[Any]:
        """TEXT, on PostgreSQL with the collation C."""
        kind = postgresql.TEXT(collation="C") if _is_postgresql(dialect) else sa.Text()
        return dialect.type_descriptor(kind)

    def bind_processor(self, dialect: Dialect) -> Processor | None:
        """The converter to text; None when there is none."""
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor | None:
        """The converter from text; None when there is none."""
        return None


class Text(_TextShaped[str]):
    """Any text, in byte order."""

    cache_ok = True


class Id(_TextShaped[str]):
    """A UUIDv7 in its 36-character form."""

    cache_ok = True


def _encode_json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _decode_json(text: str | None) -> object:
    return None if text is None else msgspec.json.decode(text)


class Json(_TextShaped[Any]):
    """A JSON value, stored as text; SQL NULL is None."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Processor:
        """Encode compact JSON."""
        return _encode_json

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor:
        """Decode JSON."""
        return _decode_json


def _join_words(words: Sequence[str] | None) -> str | None:
    if words is None:
        return None
    if isinstance(words, str) or any(not word or word != "".join(word.split()) for word in words):
        raise ValueError("expected words without white space in them")
    return " ".join(words)


def _split_words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(text.split())


class Words(_TextShaped[Sequence[str]]):
    """A list of words without white space (permissions, features), stored as one text; read as a tuple."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Processor:
        """Join by a space.

        :raises ValueError: for a word with white space.
        """
        return _join_words

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor:
        """Split at white space."""
        return _split_words


# asyncpg writes the two ends of datetime as PostgreSQL's infinities, and reads those without a time zone.
_FIRST = datetime.min.replace(tzinfo=UTC) + datetime.resolution
_LAST = datetime.max.replace(tzinfo=UTC) - datetime.resolution


def _require_aware(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("expected an aware datetime")
    return value if _FIRST <= value <= _LAST else min(max(value, _FIRST), _LAST)


def _write_time(value: datetime | None) -> str | None:
    value = _require_aware(value)
    if value is None:
        return None
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")[:26] + "Z"


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


class UtcTime(sa.TypeDecorator[datetime]):
    """An aware instant in UTC. SQLite stores fixed-width text, so that text order is time order.

    The first and last microsecond of ``datetime`` are clamped to their neighbours on both databases.
    """

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.TypeEngine[Any]:
        """``timestamptz`` on PostgreSQL, text on SQLite."""
        return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True) if _is_postgresql(dialect) else sa.Text())

    def bind_processor(self, dialect: Dialect) -> Processor:
        """Convert to UTC.

        :raises ValueError: for a naive datetime, whose time zone is unknown.
        """
        return _require_aware if _is_postgresql(dialect) else _write_time

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor | None:
        """asyncpg returns aware datetimes in UTC."""
        return None if _is_postgresql(dialect) else _read_time


class Digest(sa.TypeDecorator[bytes]):
    """Bytes: a SHA-256 digest or ciphertext."""

    impl = sa.LargeBinary
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Processor | None:
        """Both drivers accept bytes."""
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor | None:
        """Both drivers return bytes."""
        return None


class Real(sa.TypeDecorator[float]):
    """A double-precision float."""

    impl = sa.Double
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor | None:
        """Both drivers return floats."""
        return None


def _compact(items: Sequence[Any]) -> str:
    return msgspec.json.encode(items).decode()


class ListOf(sa.TypeDecorator[Sequence[Any]]):
    """One parameter with many values of ``item``: an array on PostgreSQL, a JSON array on SQLite."""

    impl = sa.Text
    cache_ok = False

    def __init__(self, item: sa.TypeEngine[Any]) -> None:
        super().__init__()
        if isinstance(item, sa.LargeBinary | Digest):
            raise TypeError("SQLite cannot take a list of bytes as JSON")
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> sa.TypeEngine[Any]:
        """``item[]``, or text."""
        if not _is_postgresql(dialect):
            return dialect.type_descriptor(sa.Text())
        is_text = isinstance(self.item.dialect_impl(dialect), sa.String)
        return dialect.type_descriptor(postgresql.ARRAY(sa.Text() if is_text else self.item))

    def bind_processor(self, dialect: Dialect) -> Processor:
        """Apply the item type's converter to each item."""
        one = self.item.bind_processor(dialect)
        pack: Processor = list if _is_postgresql(dialect) else _compact
        return pack if one is None else lambda items: pack([one(item) for item in items])
