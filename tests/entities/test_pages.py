"""A page of long texts is read in slices: the same page, and never more of it than an answer may hold."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.entities import record_service
from keystead.entities.records import Records
from keystead.entities.registry import RecordType, get_record_type
from keystead.errors import DocumentInvalid
from keystead.pagination import PageRequest
from tests.api import make_api
from tests.entities.callers import ANN, user
from tests.make import make_api_key, make_context, make_entity

FIELDS: dict[str, Any] = {"title": {"type": "string"}, "body": {"type": "text"}, "extra": {"type": "json"}}
NAMES = frozenset(("id", "title", "body", "extra"))


@pytest.fixture
async def brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    return await make_entity(server, brand, "note", FIELDS)


@pytest.fixture
async def kind(server: Server, brand: ActiveBrand) -> RecordType:
    return await get_record_type(server.db, brand, "note")


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    asked: list[int] = []
    page = Records.page

    async def noted(self: Records, tx: Any, names: frozenset[str], limit: int, *rest: Any) -> Any:
        asked.append(limit)
        return await page(self, tx, names, limit, *rest)

    monkeypatch.setattr(Records, "page", noted)
    return asked


def test_a_slice_is_as_long_as_its_widest_records_allow(kind: RecordType) -> None:
    assert record_service.slice_of(kind.entity, {"id", "title"}) > 1000
    assert record_service.slice_of(kind.entity, {"body"}) == 64
    assert 40 < record_service.slice_of(kind.entity, NAMES) < 64


@pytest.mark.parametrize("count", [5, 6, 7])
async def test_a_page_in_slices_is_the_page(
    server: Server,
    brand: ActiveBrand,
    kind: RecordType,
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[int],
    count: int,
) -> None:
    ctx, ann = make_context(server, brand), user(server, brand, ANN, "note:write", "note:read:own")
    for number in range(count):
        await record_service.create_record(ctx, kind, {"title": f"{number}", "body": "x", "extra": [number]})
        await record_service.create_record(ann, kind, {"title": f"ann {number}"})
    for caller in (ctx, ann):
        for request in (PageRequest(1, 6), PageRequest(2, 3), PageRequest(9, 9)):
            whole = await record_service.list_records(caller, kind, request, NAMES)
            lengths.clear()
            with monkeypatch.context() as narrow:
                narrow.setattr(record_service, "LARGEST_SLICE", 700_000)  # two records
                assert await record_service.list_records(caller, kind, request, NAMES) == whole
            assert set(lengths) <= {1, 2}
            assert sum(lengths) <= request.probe + 1


@pytest.mark.parametrize("values", [{"body": "x" * 60_000}, {"extra": ["x" * 60_000]}])
async def test_a_page_that_no_answer_can_hold_is_given_up(
    server: Server,
    brand: ActiveBrand,
    kind: RecordType,
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[int],
    values: dict[str, Any],
) -> None:
    ctx = make_context(server, brand)
    for _ in range(40):
        await record_service.create_record(ctx, kind, values)
    monkeypatch.setattr(record_service, "LARGEST_SLICE", 10 * 330_000)
    with pytest.raises(DocumentInvalid) as caught:
        await record_service.list_records(ctx, kind, PageRequest(1, 40), NAMES)
    assert caught.value.extensions == {"limit": "response"}
    assert len(lengths) == 2
    assert len((await record_service.list_records(ctx, kind, PageRequest(1, 15), NAMES)).items) == 15


async def test_a_page_too_large_for_an_answer_is_rejected(server: Server, brand: ActiveBrand, kind: RecordType) -> None:
    for _ in range(20):
        await record_service.create_record(make_context(server, brand), kind, {"body": "x" * 60_000})
    _, secret = await make_api_key(server, brand, "read")
    api = await make_api(server)
    for per_page in (20, 100):
        text = f"{{ noteList(pagination: {{per_page: {per_page}}}) {{ data {{ body }} }} }}"
        answer = await api.send(text, key=secret.reveal())
        assert (answer.status, answer.code) == (400, "GRAPHQL_VALIDATION_FAILED")
        assert answer.extensions["limit"] == "response"
        assert "data" not in answer.body
