"""SQL of roles and of their assignment to users."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Index, Table, bindparam, delete, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from keystead.db.interface import Tx
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Id, Text, UtcTime, Words, metadata
from keystead.permissions import PermissionSet
from keystead.users.model import Role

roles = Table(
    "roles",
    metadata,
    Column("brand_id", Id, ForeignKey("brands.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("permissions", Words, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

user_roles = Table(
    "user_roles",
    metadata,
    Column("brand_id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("role_name", Text, primary_key=True),
    ForeignKeyConstraint(["brand_id", "role_name"], ["roles.brand_id", "roles.name"], ondelete="CASCADE"),
    Index("ix_user_roles_user_id", "user_id"),
    Index("ix_user_roles_brand_id_role_name", "brand_id", "role_name"),
)


class JoinedWords(FunctionElement[str]):
    """The texts of a group, joined by spaces. SQLAlchemy's own function does not compile ahead of its parameters."""

    name = "joined"
    type = Text()
    inherit_cache = True


@compiles(JoinedWords)
def _joined_words(element: JoinedWords, compiler: SQLCompiler, **kwargs: Any) -> str:
    function = "group_concat" if compiler.dialect.name == "sqlite" else "string_agg"
    return f"{function}({compiler.process(element.clauses, **kwargs)}, ' ')"


_IN_BRAND = roles.c.brand_id == bindparam("brand_id")
_NAMED = (_IN_BRAND, any_of(roles.c.name, "names"))
_ROLES = select(roles.c.name, roles.c.permissions).where(_IN_BRAND)

_LIST_ROLES = Statement(_ROLES.order_by(roles.c.name).limit(bindparam("limit")).offset(bindparam("offset")))
_COUNT_ROLES = Statement(select(func.count()).select_from(roles).where(roles.c.brand_id == bindparam("brand_id")))
# Locked, so that no role is deleted before the rows that refer to it are written.
_FIND_ROLES = Statement(_ROLES.where(any_of(roles.c.name, "names")).with_for_update(key_share=True, read=True))
_NEW_ROLE = insert(roles).values({column.name: bindparam(column.name) for column in roles.columns})
_SAVE_ROLE = Statement(
    _NEW_ROLE.on_conflict_do_update(
        index_elements=[roles.c.brand_id, roles.c.name],
        set_={"permissions": _NEW_ROLE.excluded.permissions, "updated_at": _NEW_ROLE.excluded.updated_at},
    )
)
_DELETE_ROLES = Statement(delete(roles).where(*_NAMED).returning(roles.c.name))
_REVOKE_ROLES = Statement(
    delete(user_roles).where(
        user_roles.c.brand_id == bindparam("brand_id"), user_roles.c.user_id == bindparam("user_id")
    )
)
_ASSIGN_ROLES = Statement(
    insert(user_roles).from_select(
        ["brand_id", "user_id", "role_name"],
        select(roles.c.brand_id, bindparam("user_id", type_=Id), roles.c.name).where(*_NAMED),
    )
)


async def find_roles(tx: Tx, brand_id: str, names: Sequence[str]) -> list[Role]:
    """Those of ``names`` that are roles of the brand, locked until the transaction ends."""
    rows = await tx.list(_FIND_ROLES, brand_id=brand_id, names=list(names))
    return [Role(name, PermissionSet(permissions)) for name, permissions in rows]


async def list_roles(tx: Tx, brand_id: str, limit: int, offset: int) -> list[Role]:
    """Up to ``limit`` roles of the brand, by name."""
    rows = await tx.list(_LIST_ROLES, brand_id=brand_id, limit=limit, offset=offset)
    return [Role(name, PermissionSet(permissions)) for name, permissions in rows]


async def count_roles(tx: Tx, brand_id: str) -> int:
    """The number of roles of the brand."""
    row = await tx.find(_COUNT_ROLES, brand_id=brand_id)
    return int(row[0]) if row else 0


async def save_role(tx: Tx, brand_id: str, role: Role, now: datetime) -> None:
    """Create the role, or replace its permissions."""
    await tx.execute(
        _SAVE_ROLE,
        brand_id=brand_id,
        name=role.name,
        permissions=tuple(role.permissions),
        created_at=now,
        updated_at=now,
    )


async def delete_roles(tx: Tx, brand_id: str, names: Sequence[str]) -> int:
    """Delete roles and revoke them from their users; return how many."""
    return len(await tx.list(_DELETE_ROLES, brand_id=brand_id, names=list(names)))


async def set_roles(tx: Tx, brand_id: str, user_id: str, names: Sequence[str]) -> None:
    """Replace the user's roles by those of ``names`` that exist."""
    await tx.execute(_REVOKE_ROLES, brand_id=brand_id, user_id=user_id)
    await tx.execute(_ASSIGN_ROLES, brand_id=brand_id, user_id=user_id, names=list(names))
