"""Ids, pages and errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from keystead.errors import BadUserInput, KeysteadError
from keystead.ids import new_id
from keystead.pagination import LAST_PAGE, Page, PageRequest

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_an_id_is_a_uuid_of_version_7_that_holds_its_time() -> None:
    made = UUID(new_id(NOON))
    assert (made.version, made.int >> 80) == (7, int(NOON.timestamp() * 1000))


def test_a_later_id_sorts_later() -> None:
    assert new_id(NOON) < new_id(NOON + timedelta(microseconds=1)) < new_id(NOON + timedelta(milliseconds=1))


@pytest.mark.parametrize("given", [None, {}, {"page": None, "per_page": None}])
def test_a_page_has_its_defaults(given: dict[str, int] | None) -> None:
    assert PageRequest.parse(given) == PageRequest(1, 20)


@pytest.mark.parametrize(
    ("given", "field"),
    [({"page": 0}, "page"), ({"page": -1}, "page"), ({"per_page": 0}, "per_page"), ({"per_page": 101}, "per_page")],
)
def test_a_page_out_of_range_names_its_field(given: dict[str, int], field: str) -> None:
    with pytest.raises(BadUserInput) as caught:
        PageRequest.parse(given)
    with pytest.raises(BadUserInput, match=f"between 1 and {LAST_PAGE}"):
        PageRequest.parse({"page": LAST_PAGE + 1})
    assert caught.value.extensions["field"] == field


def test_a_page_knows_whether_another_follows() -> None:
    request = PageRequest(2, 3)
    assert (request.offset, request.probe) == (3, 4)
    page = Page.cut([1, 2, 3, 4], request, total=8)
    assert list(page.items) == [1, 2, 3]
    assert page.pagination() == {"current_page": 2, "per_page": 3, "total": 8, "last_page": 3, "has_more_pages": True}


def test_the_cause_of_an_error_is_private() -> None:
    error = KeysteadError("Public.", cause="private")
    assert str(error) == "Public."
    assert "private" not in repr(error)
