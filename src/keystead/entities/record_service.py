"""Use cases on records: list, find, create, update, delete. Permissions: contract §4.

A hundred records of a hundred texts of 64 KiB are 600 MiB, while an answer has 1 MiB. So a page whose records may be
wide is read in slices, until the data exceed what an answer may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from keystead.context import Context
from keystead.db.interface import Tx, UniqueViolation
from keystead.entities import values
from keystead.entities.access import VISIBLE_TO_WRITERS, acting_user
from keystead.entities.fields import KINDS, length_limits
from keystead.entities.model import Entity, Field, FieldType
from keystead.entities.names import SYSTEM_FIELDS
from keystead.entities.records import Record, Records
from keystead.entities.registry import RecordType
from keystead.errors import Conflict, DocumentInvalid, Forbidden, NotFound, ValidationError
from keystead.ids import new_id
from keystead.pagination import Page, PageRequest

DEEP_OFFSET = 1_000
"""Offset above which a page is read on the pool for scans."""

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


async def list_records(
    ctx: Context, kind: RecordType, request: PageRequest, names: frozenset[str], *, with_total: bool = False
) -> Page[Record]:
    """Return one page of records with the fields ``names``, oldest first.

    :raises Forbidden: when the caller may not read records or one of the fields.
    :raises DocumentInvalid: when the page is too large for an answer.
    """
    owner = kind.access.read.owner(ctx)
    kind.access.check_read(ctx, names)
    records = await kind.get_records()
    length = slice_of(kind.entity, names)
    if length < request.probe:
        rows = await read_in_slices(ctx.db.scans, records, names, request, owner, length)
    else:
        reader: Tx = ctx.db.reads if request.offset <= DEEP_OFFSET else ctx.db.scans
        rows = await records.page(reader, names, request.probe, request.offset, owner)
    total = await records.count(ctx.db.scans, owner) if with_total else None
    return Page.cut(rows, request, total)


async def find_record(ctx: Context, kind: RecordType, record_id: str, names: frozenset[str]) -> Record | None:
    """Return one record, or None if there is none that the caller may read.

    :raises Forbidden: when the caller may not read records or one of the fields.
    """
    owner = kind.access.read.owner(ctx)
    kind.access.check_read(ctx, names)
    if not _ID.fullmatch(record_id):
        return None
    records = await kind.get_records()
    return await records.find(ctx.db.reads, record_id, names, owner)


async def create_record(
    ctx: Context, kind: RecordType, values: Mapping[str, Any], names: frozenset[str] = VISIBLE_TO_WRITERS
) -> Record:
    """Create a record and return its fields ``names``. Missing fields get their defaults.

    :raises Forbidden: when the caller may not create, may not set a field, or may not see one of ``names``.
    :raises ValidationError: when a rule is broken; names the field.
    :raises Conflict: when a unique value is taken; names the field.
    """
    kind.access.create.owner(ctx)
    kind.access.check_write(ctx, values)
    seen_by = kind.access.result_owner(ctx, names)
    user_id = acting_user(ctx)
    if seen_by is not None and seen_by != user_id:
        # The caller may read only a user's own records, and this one will have no owner.
        raise Forbidden(permission=kind.access.read.permission)
    _refuse_unknown(kind, values)
    checked = await kind.check({**kind.defaults, **values})
    records = await kind.get_records()
    prepared = await records.prepare_insert(names)
    now = ctx.now()
    checked |= {"id": new_id(now), "created_at": now, "updated_at": now, "created_by": user_id}
    try:
        async with ctx.db.transaction() as tx:
            return await records.insert(tx, prepared, checked)
    except UniqueViolation as error:
        raise _conflict(kind, error) from None


async def update_record(
    ctx: Context,
    kind: RecordType,
    record_id: str,
    changes: Mapping[str, Any],
    names: frozenset[str] = VISIBLE_TO_WRITERS,
) -> Record:
    """Change the given fields of a record and return its fields ``names``.

    :raises Forbidden: when the caller may not update, may not set a field, or may not see one of ``names``.
    :raises NotFound: when there is no such record that the caller may change, and read if ``names`` has more than the
        system fields.
    :raises ValidationError: when a rule is broken; names the field.
    :raises Conflict: when a unique value is taken; names the field.
    """
    changed_by = kind.access.update.owner(ctx)
    kind.access.check_write(ctx, changes)
    seen_by = kind.access.result_owner(ctx, names)
    _refuse_unknown(kind, changes)
    checked = await kind.check(changes)
    if not _ID.fullmatch(record_id):
        raise NotFound
    checked["updated_at"] = ctx.now()
    records = await kind.get_records()
    owner = changed_by if changed_by is not None else seen_by
    prepared = await records.prepare_update(checked, names, owner)
    try:
        async with ctx.db.transaction() as tx:
            record = await records.update(tx, prepared, record_id, checked, owner)
    except UniqueViolation as error:
        raise _conflict(kind, error) from None
    if record is None:
        raise NotFound
    return record


async def delete_records(ctx: Context, kind: RecordType, record_ids: Sequence[str]) -> None:
    """Delete records, all or none.

    :raises Forbidden: when the caller may not delete.
    :raises NotFound: when one of them does not exist, or the caller may not delete it.
    """
    owner = kind.access.delete.owner(ctx)
    wanted = sorted(set(record_ids))
    if not all(map(_ID.fullmatch, wanted)):
        raise NotFound
    if not wanted:
        return
    records = await kind.get_records()
    prepared = await records.prepare_delete(owner)

    async def delete(tx: Tx) -> None:
        if await records.delete(tx, prepared, wanted, owner) != len(wanted):
            # Raised inside, to roll back.
            raise NotFound

    # Retried after a deadlock: two deletions may overlap.
    await ctx.db.run(delete)


def _refuse_unknown(kind: RecordType, values: Mapping[str, Any]) -> None:
    """Reject fields that the entity lacks. GraphQL inputs contain only fields of the entity; the CLI does not check."""
    for name in values:
        if name not in kind.entity.fields:
            kept = "is set by the server" if name in SYSTEM_FIELDS else f"is not a field of '{kind.name}'"
            raise ValidationError(f"'{name[:80]}' {kept}.", field=name[:80])


def _conflict(kind: RecordType, error: UniqueViolation) -> Conflict:
    field = kind.records.taken_field(error)
    return Conflict(f"Another record has this value of '{field}'." if field else None, field=field, cause=error.cause)


LARGEST_SLICE = 16 * 1024 * 1024
"""Bytes that one statement may read, if every value has the maximum length."""
LARGEST_PAGE = 1024 * 1024
"""Bytes of values; the answer is larger, and limited to the same number."""

_NARROW = 64
_UTF8 = 4


def slice_of(entity: Entity, names: Iterable[str]) -> int:
    """Return how many records with the fields ``names`` one statement may read."""
    widest = sum(_widest(entity.fields[name]) if name in entity.fields else _NARROW for name in names)
    return max(1, LARGEST_SLICE // max(1, widest))


async def read_in_slices(
    tx: Tx, records: Records, names: frozenset[str], request: PageRequest, owner: str | None, length: int
) -> list[Record]:
    """Read the records of a page, and one more to know whether another page follows, ``length`` at a time.

    :raises DocumentInvalid: when they are too large for an answer; the limit is ``response``.
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
    """Return a lower bound of the record's size in an answer."""
    return sum(len(value) if isinstance(value, str) else _encoded(value) for value in record.values())


def _encoded(value: object) -> int:
    return len(msgspec.json.encode(value)) if isinstance(value, dict | list) else 0
