"""Scope analysis of one query: which of its tables are bound to a brand parameter by ANDed equalities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import Table
from sqlalchemy.sql import elements as sql
from sqlalchemy.sql import functions, operators
from sqlalchemy.sql import selectable as froms

BRAND = "brand_id"
Leaf: TypeAlias = Any
"""An element of a FROM: a table, an alias, a subquery, a common table expression."""
Conditions: TypeAlias = list[tuple[Any, "set[Leaf] | None"]]
"""WHERE and ON conditions, each with the leaves it may bind (None: any)."""


class UnboundBrand(TypeError):
    """A table of brands is read or changed without ``brand_id = :parameter`` ANDed to it."""


@dataclass
class Scope:
    """The scope of one query: the leaves of its FROM, and those bound here or in the enclosing query."""

    leaves: list[Leaf] = field(default_factory=list)
    bound: set[Leaf] = field(default_factory=set)
    common: dict[Any, bool] = field(default_factory=dict)
    explicit: Any = frozenset()
    implicit: Any = frozenset()
    select: Any = None

    def inside(self, select: Any, shown: Iterable[Any]) -> Scope:
        """The scope of ``select``, whose FROM is ``shown``, nested in this one."""
        named = frozenset(source for part in shown for source in part._from_objects)
        # A table that is named again is not the one of the enclosing query.
        return Scope([], self.bound - named, self.common, self.explicit | named, named, select)

    def beside(self, *, lateral: bool) -> Scope:
        """The scope that a subquery in FROM sees: its siblings only when it is LATERAL."""
        if lateral:
            return self
        return Scope([], set(), self.common, self.explicit - self.implicit, frozenset())

    def bind(self, conditions: Conditions) -> None:
        """Propagate the equalities until a fixed point.

        :raises UnboundBrand: for a leaf that is not bound.
        """
        facts = [
            (column.table, other)
            for condition, may_bind in conditions
            for column, other in _equalities(condition)
            if may_bind is None or column.table in may_bind
        ]
        grows = True
        while grows:
            found = {leaf for leaf, other in facts if leaf not in self.bound and self.is_bound_value(other)}
            self.bound |= found
            grows = bool(found)
        for leaf in self.leaves:
            if leaf not in self.bound and _is_branded(leaf):
                raise UnboundBrand(f"{leaf.name} is used without brand_id = a parameter")

    def is_bound_value(self, value: Any) -> bool:
        """Whether ``value`` can only be the caller's brand."""
        value = unwrap(value)
        if isinstance(value, sql.Label):
            return self.is_bound_value(value.element)
        if isinstance(value, sql.BindParameter):
            return bool(value.required)
        return isinstance(value, sql.ColumnClause) and _is_brand(value) and value.table in self.bound

    def column(self, index: int) -> Any:
        """The select's column at ``index``."""
        return list(self.select.selected_columns)[index]

    def exports_brand(self) -> bool:
        """Whether the select has a bound column ``brand_id``."""
        column = self.select.selected_columns.get(BRAND)
        return column is not None and self.is_bound_value(column)


def unwrap(element: Any) -> Any:
    """The element inside parentheses and scalar subqueries."""
    while isinstance(element, sql.Grouping | froms.SelectStatementGrouping | froms.ScalarSelect):
        element = element.element
    return element


def outer_join_sides(join: Any, right: set[Leaf]) -> set[Leaf] | None:
    """The leaves that the ON condition of a join binds: an outer join keeps rows that do not meet it."""
    if join.full:
        return set()
    return right if join.isouter else None


def _equalities(condition: Any) -> Iterator[tuple[Any, Any]]:
    """``(brand column, what it equals)`` of each ANDed equality, both ways round."""
    condition = unwrap(condition)
    if isinstance(condition, sql.BooleanClauseList) and condition.operator is operators.and_:
        for clause in condition.clauses:
            yield from _equalities(clause)
    elif isinstance(condition, sql.BinaryExpression) and condition.operator is operators.eq:
        for one, other in ((condition.left, condition.right), (condition.right, condition.left)):
            if _is_brand(one):
                yield one, other


def _is_brand(element: Any) -> bool:
    return isinstance(element, sql.ColumnClause) and element.key == BRAND and element.table is not None


def _is_branded(leaf: Leaf) -> bool:
    """Whether the leaf is a table of brands or its alias; subqueries are checked by themselves."""
    while isinstance(leaf, froms.AliasedReturnsRows) and not isinstance(leaf, froms.Subquery | froms.CTE):
        leaf = leaf.element
    if isinstance(leaf, Table):
        return BRAND in leaf.c
    if isinstance(leaf, froms.Subquery | froms.CTE | froms.Values | functions.FunctionElement):
        return False
    if isinstance(unwrap(leaf), froms.SelectBase):
        return False
    raise UnboundBrand(f"a {type(leaf).__name__} cannot be checked")
