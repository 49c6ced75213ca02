"""Access to an entity's records: by action, rows and fields. Contract §4 and §5."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from keystead.context import ApiKeyPrincipal, Context, System, UserPrincipal
from keystead.entities.model import Entity
from keystead.errors import Forbidden, Unauthenticated

Act = Literal["read", "create", "update", "delete"]

NO_OWNER = ""
"""Matches no record: the owner for a caller who is limited to own records but is not a user."""

VISIBLE_TO_WRITERS = frozenset(("id", "integer_id", "created_at", "updated_at"))
"""Fields of a written record that a caller without read permission may see."""


@dataclass(frozen=True, slots=True)
class RecordAccess:
    """One action on one entity."""

    entity: str
    act: Act

    @property
    def permission(self) -> str:
        """The permission for all records."""
        return f"{self.entity}:{self.act}"

    @property
    def own_permission(self) -> str:
        """The permission for records that the acting user created."""
        return f"{self.entity}:read:own" if self.act == "read" else f"{self.entity}:write:own"

    def check(self, ctx: Context) -> None:
        """Return if the caller may act on all or on their own records.

        :raises Unauthenticated: without a user and an API key.
        :raises Forbidden: when the permission is missing; names it.
        """
        self.owner(ctx)

    def owner(self, ctx: Context) -> str | None:
        """Return None for a caller who may act on all records, else the user whose records they may act on.

        :raises Unauthenticated: without a user and an API key.
        :raises Forbidden: when the permission is missing; names it.
        """
        principal = ctx.principal
        if not isinstance(principal, UserPrincipal | ApiKeyPrincipal | System):
            raise Unauthenticated
        if principal.permissions.covers(self.permission):
            return None
        if not principal.permissions.covers(self.own_permission):
            raise Forbidden(permission=self.permission)
        user_id = acting_user(ctx)
        if user_id is None and self.act == "create":
            raise Forbidden(permission=self.permission)
        return user_id or NO_OWNER


@dataclass(frozen=True, slots=True)
class FieldAccess:
    """A field with its own permissions, of which one suffices."""

    permissions: tuple[str, ...]

    def check(self, ctx: Context) -> None:
        """Return if the caller has one of the permissions.

        :raises Forbidden: for other callers; names the first permission.
        """
        if not any(map(ctx.permissions.covers, self.permissions)):
            raise Forbidden(permission=self.permissions[0])


class EntityAccess:
    """The access rules of one entity."""

    __slots__ = ("_readable", "_writable", "create", "delete", "read", "update")

    def __init__(self, entity: Entity) -> None:
        self.read = RecordAccess(entity.name, "read")
        self.create = RecordAccess(entity.name, "create")
        self.update = RecordAccess(entity.name, "update")
        self.delete = RecordAccess(entity.name, "delete")
        fields = entity.fields.items()
        self._readable = {name: FieldAccess(field.read) for name, field in fields if field.read}
        self._writable = {name: FieldAccess(field.write) for name, field in fields if field.write}

    def check_read(self, ctx: Context, names: Iterable[str]) -> None:
        """Check read access to fields.

        :raises Forbidden: when the caller may not read one of them.
        """
        _check(ctx, self._readable, names)

    def check_write(self, ctx: Context, names: Iterable[str]) -> None:
        """Check write access to fields.

        :raises Forbidden: when the caller may not set one of them.
        """
        _check(ctx, self._writable, names)

    def result_owner(self, ctx: Context, names: frozenset[str]) -> str | None:
        """Return the owner whose records may be returned after a write (None: all). Call it before writing.

        :raises Forbidden: when the caller may not read ``names``.
        """
        if names <= VISIBLE_TO_WRITERS:
            return None
        owner = self.read.owner(ctx)
        self.check_read(ctx, names)
        return owner


def _check(ctx: Context, rules: Mapping[str, FieldAccess], names: Iterable[str]) -> None:
    if rules:
        for name in names:
            if name in rules:
                rules[name].check(ctx)


def acting_user(ctx: Context) -> str | None:
    """Return the acting user, with or without an API key."""
    return ctx.principal.user_id if isinstance(ctx.principal, UserPrincipal) else None
