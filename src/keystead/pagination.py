"""Offset pagination of lists: page requests and pages. Contract §5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from keystead.errors import BadUserInput

Item = TypeVar("Item")

DEFAULT_PER_PAGE = 20
LARGEST_PER_PAGE = 100
LAST_PAGE = 10_000_000


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A requested page; ``page`` counts from 1."""

    page: int = 1
    per_page: int = DEFAULT_PER_PAGE

    @classmethod
    def parse(cls, pagination: Mapping[str, Any] | None) -> PageRequest:
        """Parse a ``PaginationInput``; null means the default.

        :raises BadUserInput: for a number out of range; names the field.
        """
        given = pagination or {}
        page = given.get("page")
        per_page = given.get("per_page")
        page = 1 if page is None else page
        per_page = DEFAULT_PER_PAGE if per_page is None else per_page
        if not 1 <= page <= LAST_PAGE:
            raise BadUserInput(f"'page' must be between 1 and {LAST_PAGE}.", field="page")
        if not 1 <= per_page <= LARGEST_PER_PAGE:
            raise BadUserInput(f"'per_page' must be between 1 and {LARGEST_PER_PAGE}.", field="per_page")
        return cls(page, per_page)

    @property
    def offset(self) -> int:
        """Rows before this page."""
        return (self.page - 1) * self.per_page

    @property
    def probe(self) -> int:
        """Rows to read: one more than the page has, to know whether another page follows."""
        return self.per_page + 1


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list. ``total`` is None if it was not requested."""

    items: Sequence[Item]
    request: PageRequest
    has_more_pages: bool
    total: int | None = None

    @classmethod
    def cut(cls, rows: Sequence[Item], request: PageRequest, total: int | None = None) -> Page[Item]:
        """Build the page from up to ``request.probe`` rows."""
        return cls(rows[: request.per_page], request, len(rows) > request.per_page, total)

    def pagination(self) -> dict[str, Any]:
        """Return the GraphQL ``Pagination``; ``total`` and ``last_page`` are None if not counted."""
        last = None if self.total is None else max(1, -(-self.total // self.request.per_page))
        return {
            "current_page": self.request.page,
            "per_page": self.request.per_page,
            "total": self.total,
            "last_page": last,
            "has_more_pages": self.has_more_pages,
        }


def needs_total(selection: Any) -> bool:
    """Return whether a list's selection includes the total, which is counted only then."""
    return bool(selection.wants("pagination.total") or selection.wants("pagination.last_page"))
