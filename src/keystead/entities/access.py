"""Who may do what with an entity's records: the act, the rows, the fields. Contract §4 and §5."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from keystead.context import ApiKeyPrincipal, Context, System, UserPrincipal
from keystead.entities.model import Entity
from keystead.errors import Forbidden, Unauthenticated

Act = Literal["read", "create", "update", "delete"]

NO_OWNER = ""
"""An owner whom no record has: the rows of a caller who may act on their own rows and is no user."""

VISIBLE_TO_WRITERS = frozenset(("id", "integer_id", "created_at", "updated_at"))
"""What a written record shows to a caller who may not read."""


@dataclass(frozen=True, slots=True)
class RecordAccess:
    """One act on one entity."""

    entity: str
    act: Act

    @property
    def permission(self) -> str:
        """The permission for all records."""
        return f"{self.entity}:{self.act}"

    @property
    def own_permission(self) -> str:
        """The permission for the records that the acting user made."""
        return f"{self.entity}:read:own" if self.act == "read" else f"{self.entity}:write:own"

    def check(self, ctx: Context) -> None:
        """Returns for a caller who may act on some records at least.

        :raises Unauthenticated: when neither user nor API key calls.
        :raises Forbidden: when the permission is missing; names it.
        """
        self.owner(ctx)

    def owner(self, ctx: Context) -> str | None:
        """None for a caller who may act on all records, else the user whose records they may act on.

        :raises Unauthenticated: when neither user nor API key calls.
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
    """A field with a list of its own: any one of its permissions admits."""

    permissions: tuple[str, ...]

    def check(self, ctx: Context) -> None:
        """:raises Forbidden: when the caller has none of them; names the first."""
        if not any(map(ctx.permissions.covers, self.permissions)):
            raise Forbidden(permission=self.permissions[0])


class EntityAccess:
    """The rules of one entity, made once from its definition."""

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
        """:raises Forbidden: when one of the fields may not be seen."""
        _check(ctx, self._readable, names)

    def check_write(self, ctx: Context, names: Iterable[str]) -> None:
        """:raises Forbidden: when one of the fields may not be set."""
        _check(ctx, self._writable, names)

    def result_owner(self, ctx: Context, names: frozenset[str]) -> str | None:
        """Whose records may be shown after a change; asked before anything is written.

        :raises Forbidden: when the result would show what the caller may not read.
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
    """The user who acts, alone or together with an API key."""
    return ctx.principal.user_id if isinstance(ctx.principal, UserPrincipal) else None
