"""SQL of permissions on an entity, in the tables of roles, users and API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import (
    Column,
    ColumnElement,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    type_coerce,
    update,
)

from keystead.api_keys.store import api_keys
from keystead.db.interface import Tx
from keystead.db.statements import Statement
from keystead.db.types import Text
from keystead.permissions import of_entity
from keystead.users.role_store import roles
from keystead.users.store import users

Kind = Literal["roles", "users", "api_keys"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SPACE = literal(" ", Text)


def _names_entity(permissions: Column[Any]) -> tuple[ColumnElement[bool], ...]:
    words = type_coerce(permissions, Text)
    # A literal: the partial index of users with permissions is only used for exactly its condition.
    return words != literal_column("''"), (_SPACE + words).like(bindparam("naming", type_=Text))


def _without_entity(permissions: Column[Any]) -> ColumnElement[Any]:
    words: ColumnElement[Any] = _SPACE + type_coerce(permissions, Text) + _SPACE
    for number in range(len(of_entity(""))):
        words = func.replace(words, bindparam(f"ended_{number}", type_=Text), _SPACE)
    return type_coerce(func.trim(words), permissions.type)


_HOLDERS: dict[Kind, Column[Any]] = {"roles": roles.c.name, "users": users.c.id, "api_keys": api_keys.c.id}


def _holding(holder: Column[Any]) -> tuple[ColumnElement[bool], ...]:
    return holder.table.c.brand_id == bindparam("brand_id"), *_names_entity(holder.table.c.permissions)


def _changes(table: Any) -> dict[str, Any]:
    changed: dict[str, Any] = {"updated_at": bindparam("now")} if "updated_at" in table.c else {}
    return {"permissions": _without_entity(table.c.permissions), **changed}


_LIST = {
    kind: Statement(select(holder, holder.table.c.permissions).where(*_holding(holder)).order_by(holder))
    for kind, holder in _HOLDERS.items()
}
_END = {
    kind: Statement(update(holder.table).where(*_holding(holder)).values(**_changes(holder.table)))
    for kind, holder in _HOLDERS.items()
}


async def list_holders(tx: Tx, brand_id: str, kind: Kind, entity: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return name or id, and all permissions, of the holders of a permission on the entity."""
    rows = await tx.list(_LIST[kind], brand_id=brand_id, **_naming(entity))
    return [(holder, permissions) for holder, permissions in rows]


async def revoke_grants(tx: Tx, brand_id: str, kind: Kind, entity: str, now: datetime) -> None:
    """Revoke every permission on the entity."""
    ended = {f"ended_{number}": f" {permission} " for number, permission in enumerate(of_entity(entity))}
    changed = {} if kind == "api_keys" else {"now": now}
    await tx.execute(_END[kind], brand_id=brand_id, **_naming(entity), **ended, **changed)


def _naming(entity: str) -> dict[str, str]:
    """Return the LIKE pattern; names of entities contain no wildcards."""
    return {"naming": f"% {entity}:%"}
