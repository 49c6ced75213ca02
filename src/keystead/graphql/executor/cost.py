"""Cost limit: one per leaf of a record, times the page sizes above it (security §12, item 6).

Page sizes may be variables, so the cost of an operation is a function of them, evaluated before any resolver is called.
A page size outside 1..100 counts as the nearest bound: the resolver rejects it with the field's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from graphql import GraphQLObjectType, get_named_type, is_list_type, is_non_null_type

from keystead.errors import BadUserInput
from keystead.graphql.executor.arguments import Arguments
from keystead.graphql.executor.collect import FieldGroup
from keystead.graphql.executor.variables import NO_VALUES, Values
from keystead.graphql.limits import INTROSPECTION_FIELDS, over_limit

MAX_COST = 10_000
LARGEST_PAGE = 100
ROOT_PAGE = 20
NESTED_PAGE = 5
"""Page size assumed for a nested list without ``per_page``."""

Cost = Callable[[Values], int]


def operation_cost(roots: Iterable[FieldGroup]) -> Cost:
    """Return the cost function of all root fields; introspection has its own limits.

    :raises DocumentInvalid: when the operation is over the limit for all variables.
    """
    costs = [_field(group, ROOT_PAGE) for group in roots if group.name not in INTROSPECTION_FIELDS]
    fixed = sum(cost for cost in costs if isinstance(cost, int))
    open_costs = [cost for cost in costs if not isinstance(cost, int)]
    _check(fixed)
    return lambda values: fixed + sum(cost(values) for cost in open_costs)


def check_cost(cost: Cost, values: Values) -> None:
    """Check the cost of an operation.

    :raises DocumentInvalid: above it; ``extensions.limit`` is ``cost``.
    """
    _check(cost(values))


def _check(cost: int) -> None:
    if cost > MAX_COST:
        raise over_limit("cost", MAX_COST)


def _field(group: FieldGroup, default_page: int) -> int | Cost:
    if group.children is None:
        return 1
    if "pagination" not in group.definition.args:
        return _sum([_child(child, None) for child in group.children])
    page = _page(group.arguments, default_page)
    if group.has_constant_arguments:
        return _sum([_child(child, page(NO_VALUES)) for child in group.children])
    return _sum([_child(child, page) for child in group.children])


def _child(group: FieldGroup, page: int | Cost | None) -> int | Cost:
    """The cost of a nested field. ``page`` is the page size of its parent, which applies to the field ``data``."""
    cost = _field(group, NESTED_PAGE)
    if not _is_record_list(group):
        return cost
    return _times(cost, page if page is not None and group.name == "data" else NESTED_PAGE)


def _is_record_list(group: FieldGroup) -> bool:
    type_ = group.definition.type
    bare = type_.of_type if is_non_null_type(type_) else type_
    return is_list_type(bare) and isinstance(get_named_type(type_), GraphQLObjectType)


def _page(arguments: Arguments, default: int) -> Cost:
    def page(values: Values) -> int:
        try:
            given: Any = arguments(values).get("pagination")
        except BadUserInput:
            return default  # the resolver reports it
        size = given.get("per_page") if isinstance(given, dict) else None
        return min(max(size, 1), LARGEST_PAGE) if isinstance(size, int) else default

    return page


def _times(cost: int | Cost, page: int | Cost) -> int | Cost:
    if isinstance(cost, int) and isinstance(page, int):
        return cost * page
    return lambda values: _at(cost, values) * _at(page, values)


def _sum(costs: list[int | Cost]) -> int | Cost:
    fixed = sum(cost for cost in costs if isinstance(cost, int))
    open_costs = [cost for cost in costs if not isinstance(cost, int)]
    if not open_costs:
        return fixed
    return lambda values: fixed + sum(cost(values) for cost in open_costs)


def _at(cost: int | Cost, values: Values) -> int:
    return cost if isinstance(cost, int) else cost(values)
