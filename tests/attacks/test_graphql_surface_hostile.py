"""G6: an answer above 1 MiB is refused. Hostile documents are in test_hostile_inputs.py."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from tests.api import Api
from tests.attacks.callers import make_key
from tests.make import make_entity


@pytest.mark.attack("A81")
async def test_an_answer_above_a_mebibyte_is_refused(server: Server, api: Api, brand: ActiveBrand) -> None:
    page = await make_entity(server, brand, "page", {"content": {"type": "json"}})
    key = await make_key(server, page, "admin")
    create = "mutation($c: JSON) { createPage(input: {content: $c}) { data { id } } }"
    for _ in range(21):
        assert (await api.send(create, {"c": ["x" * 50_000]}, key=key)).data
    listed = "query($n: Int) { pageList(pagination: {per_page: $n}) { data { content } } }"
    refused = await api.send(listed, {"n": 100}, key=key)
    assert (refused.status, refused.extensions["limit"]) == (400, "response")
    assert len(str(refused.body)) < 1000
    answer = await api.send(listed, {"n": 20}, key=key)
    assert len(answer.data["pageList"]["data"]) == 20
