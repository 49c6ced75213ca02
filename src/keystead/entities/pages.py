"""One page of records, read so that a page of long texts is never in memory as a whole.

A hundred records of a hundred texts of 64 KiB are 600 MiB, and an answer has 1 MiB. So a page whose records may be that
wide is read in slices, and given up as soon as what was read is more than an answer may hold.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from keystead.db.interface import Tx
from keystead.entities import values
from keystead.entities.fields import KINDS, length_limits
from keystead.entities.model import Entity, Field, FieldType
from keystead.entities.records import Record, Records
from keystead.errors import DocumentInvalid
from keystead.pagination import PageRequest

LARGEST_SLICE = 16 * 1024 * 1024
"""Bytes that one statement may bring, if every value is as long as its field allows."""
LARGEST_PAGE = 1024 * 1024
"""Bytes of values; the answer that holds them is larger still, and may have no more than this."""

_NARROW = 64
_UTF8 = 4


def slice_of(entity: Entity, names: Iterable[str]) -> int:
    """How many records with the fields ``names`` one statement may bring."""
    widest = sum(_widest(entity.fields[name]) if name in entity.fields else _NARROW for name in names)
    return max(1, LARGEST_SLICE // max(1, widest))


async def read_in_slices(
    tx: Tx, records: Records, names: frozenset[str], request: PageRequest, owner: str | None, length: int
) -> list[Record]:
    """The records of a page, and one more to know whether another follows; ``length`` of them at a time.

    :raises DocumentInvalid: when they are more than an answer may hold; the limit is ``response``.
    """
    found: list[Record] = []
    size = 0
    while len(found) < request.probe:
        wanted = min(length, request.probe - len(found))
        part = await records.page(tx, names, wanted, request.offset + len(found), owner)
        found += part
        size += sum(map(_size, part))
        if size > LARGEST_PAGE and len(found) <= request.per_page:
            raise DocumentInvalid("The answer would be larger than 1 MiB: select less, or in pages.", limit="response")
        if len(part) < wanted:
            break
    return found


def _widest(field: Field) -> int:
    if field.type is FieldType.json:
        return values.LONGEST_JSON
    return max(_NARROW, _UTF8 * length_limits(field)[1]) if "max_length" in KINDS[field.type].rules else _UTF8 * 100


def _size(record: Record) -> int:
    """At least: no answer that holds the record is shorter."""
    return sum(len(value) if isinstance(value, str) else _encoded(value) for value in record.values())


def _encoded(value: object) -> int:
    return len(msgspec.json.encode(value)) if isinstance(value, dict | list) else 0
