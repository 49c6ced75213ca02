"""The entity client against the real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from keystead.context import Server
from keystead_client import AsyncEntity, Select
from keystead_client.errors import Conflict, NotFound, ServerError, ValidationError
from tests.make import make_api_key, make_entity
from tests.sdk.served import make_served


@pytest.fixture
async def customers(server: Server) -> AsyncIterator[AsyncEntity]:
    """The customers of a brand, for its administrator."""
    served = await make_served(server)
    brand = await make_entity(server, served.brand)
    _, key = await make_api_key(server, brand, "admin")
    async with served.client(api_key=key.reveal()) as client:
        yield client.entity("customer")


async def test_records(customers: AsyncEntity) -> None:
    ann = await customers.create({"name": "Ann", "email": "ann@example.com"}, ["id", "name", "status"])
    assert (ann["name"], ann["status"]) == ("Ann", "active")
    bea = await customers.create({"name": "Bea"})
    assert set(bea) == {"id", "integer_id", "created_at", "updated_at"}
    assert await customers.by_id(ann["id"], ["name"]) == {"name": "Ann"}

    page = await customers.list(["name"], pagination={"page": 2, "per_page": 1}, with_total=True)
    assert page.data == [{"name": "Bea"}]
    assert (page.total, page.last_page, page.has_more_pages, page.per_page) == (2, 2, False, 1)
    assert (await customers.list()).total is None

    assert await customers.update(bea["id"], {"name": "Bert"}, ["name"]) == {"name": "Bert"}
    await customers.delete([ann["id"], bea["id"]])
    assert await customers.by_id(ann["id"]) is None


async def test_refusals_name_the_field(customers: AsyncEntity) -> None:
    ann = await customers.create({"name": "Ann", "email": "ann@example.com"})
    with pytest.raises(Conflict) as taken:
        await customers.create({"name": "Another", "email": "ann@example.com"})
    assert taken.value.field == "email"
    with pytest.raises(ValidationError) as broken:
        await customers.update(ann["id"], {"name": "x" * 201})
    assert broken.value.field == "name"
    assert broken.value.reference_id
    with pytest.raises(NotFound):
        await customers.delete([ann["id"], "no such id"])
    assert await customers.by_id(ann["id"]) is not None


async def test_filter_and_relations_go_as_graphql_has_them() -> None:
    asked: list[tuple[str, Mapping[str, Any]]] = []

    async def execute(document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        asked.append((document, variables))
        pagination = {"current_page": 1, "per_page": 20, "has_more_pages": False}
        return {"lineItemList": {"data": [], "pagination": pagination}}

    only_paid = {"query": [{"condition": {"field": "status", "operator": "equal", "value": "paid"}}]}
    # Strict type checkers take it as a variable, too.
    fields: Select = ["id", {"order": ["id", {"customer": ["name"]}]}]
    page = await AsyncEntity("lineItem", execute).list(fields, only_paid)
    assert page.data == []
    [(document, variables)] = asked
    assert "data { id order { data { id customer { data { name } } } } }" in document
    assert "total" not in document
    assert variables == {"filter": only_paid, "pagination": None}


SOUND = {"current_page": 1, "per_page": 20, "has_more_pages": False, "total": 0, "last_page": 1}


@pytest.mark.parametrize(
    ("data", "pagination"),
    [
        ([], None),
        ([], {"current_page": 1}),
        ([], {**SOUND, "current_page": "1"}),
        ([], {**SOUND, "per_page": None}),
        ([], {**SOUND, "has_more_pages": 0}),
        ([], {**SOUND, "total": True}),
        ([], {**SOUND, "last_page": 1.5}),
        ([], {**SOUND, "more": 1}),
        (None, SOUND),
        ({}, SOUND),
        ([{}, None], SOUND),
    ],
)
async def test_an_answer_that_is_no_page(data: Any, pagination: Any) -> None:
    async def execute(document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        return {"customerList": {"data": data, "pagination": pagination}}

    with pytest.raises(ServerError, match="no page"):
        await AsyncEntity("customer", execute).list(with_total=True)


async def test_the_record_that_is_updated_is_the_one_that_is_named() -> None:
    asked: list[Mapping[str, Any]] = []

    async def execute(document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(variables)
        return {"updateCustomer": {"data": {"id": "1"}}}

    await AsyncEntity("customer", execute).update("1", {"id": "2", "name": "Ann"})
    assert asked == [{"input": {"id": "1", "name": "Ann"}}]


async def test_names_are_not_documents() -> None:
    async def execute(document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        raise AssertionError(document)

    with pytest.raises(ValueError, match="not a GraphQL name"):
        AsyncEntity("customer { id } x", execute)
    with pytest.raises(ValueError, match="not a GraphQL name"):
        await AsyncEntity("customer", execute).list(["id } } me { id"])
    with pytest.raises(ValueError, match="select"):
        await AsyncEntity("customer", execute).by_id("1", "name")
