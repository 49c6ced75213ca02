"""Entities that change between a request's authentication and its statement, on both databases (A99)."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import Server
from keystead.entities import definition_service, record_service
from tests.api import make_api
from tests.make import make_api_key, make_brand, make_context, make_entity

CREATE = 'mutation { createNote(input: {title: "a"}) { data { title %s} } }'
TITLE = {"title": {"type": "string"}}


@pytest.mark.attack("A99")
@pytest.mark.parametrize(("selected", "status"), [("", 200), ("body ", 400)])
async def test_a_record_is_created_by_the_new_definition(
    server: Server, monkeypatch: pytest.MonkeyPatch, selected: str, status: int
) -> None:
    brand = await make_entity(server, await make_brand(server), "note", {**TITLE, "body": {"type": "string"}})
    _, secret = await make_api_key(server, brand, "read", "write")
    api, create, calls = await make_api(server), record_service.create_record, 0

    async def create_late(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            await definition_service.define_entities(
                make_context(server, brand), brand.id, {"note": {"fields": TITLE}}, allow_data_loss=True
            )
        return await create(*arguments)

    monkeypatch.setattr(record_service, "create_record", create_late)
    answer = await api.send(CREATE % selected, key=secret.reveal())
    assert answer.status == status, answer.body
    if status == 200:
        assert answer.data["createNote"]["data"] == {"title": "a"}
    listed = await api.send("{ noteList { pagination { total } } }", key=secret.reveal())
    assert listed.data["noteList"]["pagination"]["total"] == (1 if status == 200 else 0)
