"""Tenant isolation: a statement on tables of brands does not compile unless it is bound to one brand (security §14).

Every table with a column ``brand_id`` must be bound to a parameter by ANDed equalities: ``t.brand_id = :brand_id``, or
``t.brand_id = u.brand_id`` where ``u`` is bound. Constructs that are not known here are rejected; a statement that need
not be bound gives a reason (``unbranded=``). SQLAlchemy's own rules decide which tables belong to a subquery and which
to the query around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy.sql import Delete, Insert, Select, Update, functions
from sqlalchemy.sql import elements as sql
from sqlalchemy.sql import selectable as froms
from sqlalchemy.sql.dml import UpdateBase

from keystead.db.brand_scope_rules import BRAND, Conditions, Scope, UnboundBrand, outer_join_sides, unwrap

_HARMLESS_LITERAL = re.compile(r"[\w*.]*|''")


def require_brand(expression: Any) -> None:
    """Require that every table of brands in ``expression`` is bound to a brand parameter.

    :raises UnboundBrand: when one is not, or the expression cannot be analysed.
    """
    if isinstance(expression, UpdateBase):
        _change(expression)
    elif isinstance(expression, froms.SelectBase):
        _query(expression, Scope())
    else:
        raise UnboundBrand(f"a {type(expression).__name__} cannot be checked")


def _query(query: Any, around: Scope) -> list[Scope]:
    """Check a query; returns the scope of each of its arms (UNION), in which its columns are evaluated."""
    query = unwrap(query)
    if isinstance(query, froms.CompoundSelect):
        _independent(query, around)
        for child in query.get_children():
            if not isinstance(unwrap(child), froms.SelectBase):
                _nested(child, around)
        return [scope for arm in query.selects for scope in _query(arm, around)]
    if isinstance(query, Select):
        return [_select(query, around)]
    raise UnboundBrand(f"a {type(query).__name__} cannot be checked")


def _select(select: Any, around: Scope) -> Scope:
    state = select._compile_state_factory(select, None)
    shown = state._get_display_froms(around.explicit, around.implicit)
    scope = around.inside(select, shown)
    conditions: Conditions = [(condition, None) for condition in select._where_criteria]
    for source in shown:
        conditions += _source(source, scope)
    scope.bind(conditions)
    for child in select.get_children():
        _nested(child, scope)
    for condition, _ in conditions:
        _nested(condition, scope)
    _independent(select, around)
    return scope


def _source(source: Any, scope: Scope) -> Conditions:
    """Collect the leaves of a FROM, check the queries in it, and return its ON conditions."""
    if isinstance(source, froms.Join):
        left = _source(source.left, scope)
        before = set(scope.leaves)
        right = _source(source.right, scope)
        bound = outer_join_sides(source, set(scope.leaves) - before)
        return [*left, *right, (source.onclause, bound)]
    if isinstance(source, froms.FromGrouping):
        return _source(source.element, scope)
    scope.leaves.append(source)
    inner = source
    while isinstance(inner, froms.AliasedReturnsRows) and not isinstance(inner, froms.CTE):
        inner = inner.element
    if isinstance(inner, froms.CTE):
        if _common(inner, scope):
            scope.bound.add(source)
    elif isinstance(inner, functions.FunctionElement):
        _nested(inner, scope)
    elif isinstance(unwrap(inner), froms.SelectBase):
        arms = _query(inner, scope.beside(lateral=isinstance(source, froms.Lateral)))
        if all(arm.exports_brand() for arm in arms):
            scope.bound.add(source)
    return []


def _common(cte: Any, scope: Scope) -> bool:
    """Check a common table expression once; returns whether its ``brand_id`` is bound."""
    if cte not in scope.common:
        # A recursive arm refers to the result of the first arm: the check holds by induction.
        element = cte.element
        scope.common[cte] = False
        if isinstance(element, UpdateBase):
            _change(element)
            scope.common[cte] = BRAND in cte.c
        else:
            arms = _query(element, Scope(common=scope.common))
            scope.common[cte] = all(arm.exports_brand() for arm in arms)
    return scope.common[cte]


def _independent(statement: Any, scope: Scope) -> None:
    for cte in statement._independent_ctes:
        _common(cte, scope)


def _nested(element: Any, scope: Scope) -> None:
    """Check the queries inside an expression."""
    element = unwrap(element)
    if isinstance(element, froms.SelectBase):
        _query(element, scope)
    elif isinstance(element, sql.TextClause | froms.TextualSelect):
        raise UnboundBrand("literal SQL text cannot be checked")
    elif isinstance(element, sql.ColumnClause) and element.is_literal:
        if not _HARMLESS_LITERAL.fullmatch(element.name):
            raise UnboundBrand("a literal column cannot be checked")
    elif isinstance(element, functions.FunctionElement) or (
        isinstance(element, sql.ClauseElement) and not isinstance(element, froms.FromClause)
    ):
        for child in element.get_children():
            _nested(child, scope)


def _change(statement: Any) -> None:
    if isinstance(statement, Insert):
        _insert(statement)
    elif isinstance(statement, Update | Delete):
        _update_or_delete(statement)
    else:
        raise UnboundBrand(f"a {type(statement).__name__} cannot be checked")


def _update_or_delete(statement: Any) -> None:
    values = dict(getattr(statement, "_values", None) or {})
    parts = [*statement._where_criteria, *values.values()]
    scope = Scope()
    if isinstance(statement, Update):
        _reject_brand_among(values)
    _independent(statement, scope)
    sources = [statement.table]
    sources += [source for part in parts for source in part._from_objects]
    conditions: Conditions = [(condition, None) for condition in statement._where_criteria]
    for source in dict.fromkeys(sources):
        conditions += _source(source, scope)
    scope.explicit = scope.implicit = frozenset(scope.leaves)
    scope.bind(conditions)
    for part in (*parts, *statement._returning):
        _nested(part, scope)


def _insert(statement: Any) -> None:
    scope = Scope(leaves=[])
    _independent(statement, scope)
    branded = BRAND in statement.table.c
    for row in _rows(statement):
        if branded and not scope.is_bound_value(row.get(BRAND)):
            raise UnboundBrand(f"a row of {statement.table.name} is inserted without brand_id = a parameter")
        for value in row.values():
            _nested(value, scope)
    if statement.select is not None:
        names = [getattr(name, "key", name) for name in statement._select_names]
        for arm in _query(statement.select, scope):
            if branded and not (BRAND in names and arm.is_bound_value(arm.column(names.index(BRAND)))):
                raise UnboundBrand(f"rows of {statement.table.name} are inserted without a bound brand_id")
    _conflict(statement, branded)
    for column in statement._returning:
        _nested(column, scope)


def _rows(statement: Any) -> Iterator[dict[str, Any]]:
    if statement._values:
        yield _by_name(statement._values)
    for rows in statement._multi_values:
        for row in rows:
            yield _by_name(row)


def _conflict(statement: Any, branded: bool) -> None:
    """ON CONFLICT DO UPDATE may only change a row of the same brand."""
    clause = getattr(statement, "_post_values_clause", None)
    changed = getattr(clause, "update_values_to_set", None)
    if clause is None or changed is None:
        return
    _reject_brand_among(dict(changed))
    scope = Scope(leaves=[statement.table])
    where = clause.update_whereclause
    target = [getattr(name, "key", name) for name in clause.inferred_target_elements or ()]
    if branded and BRAND in target:
        scope.bound.add(statement.table)
    scope.bind([] if where is None else [(where, None)])
    for part in (*dict(changed).values(), *([] if where is None else [where])):
        _nested(part, scope)


def _by_name(values: Any) -> dict[str, Any]:
    return {str(getattr(column, "key", column)): value for column, value in dict(values).items()}


def _reject_brand_among(values: Iterable[Any]) -> None:
    if any(getattr(column, "key", column) == BRAND for column in values):
        raise UnboundBrand("a row never moves to another brand")
