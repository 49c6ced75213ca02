"""A request under way while its brand's entities change is answered as if it had come before or after (A99)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from keystead.context import Context
from keystead.db.interface import SchemaChanged
from keystead.errors import AccessTokenRefused
from keystead.graphql.documents import DocumentCache
from keystead.graphql.executor.execute import ATTEMPTS, Target, execute
from keystead.graphql.executor.selection import Selection
from keystead.graphql.schema import SchemaVersion, load_fixed
from tests.graphql.fakes import SDL, codes, context, fixed, registry

QUERY = "{ words must }"
ONE_CHANGE = "mutation { add(n: 1) }"
TWO_CHANGES = "mutation { a: add(n: 1) b: add(n: 2) }"


class Moving:
    """A schema whose tables are gone under it: the field fails from its ``first`` call on."""

    def __init__(self, name: str, first: int = 1) -> None:
        self.calls = 0
        self._first = first
        self.version = load_fixed({**registry(), name: self._answer}, SDL).version

    async def _answer(self, _ctx: Context, _arguments: dict[str, Any], _selection: Selection) -> Any:
        self.calls += 1
        if self.calls >= self._first:
            raise SchemaChanged(cause="no such column")
        return 1


class Moved(Target):
    """A target that finds one of ``versions`` at each reload."""

    can_reload = True

    def __init__(self, old: SchemaVersion, versions: tuple[SchemaVersion | Exception, ...]) -> None:
        super().__init__(context(), old)
        self.left = list(versions)

    async def reload(self) -> None:
        found = self.left.pop(0)
        if isinstance(found, Exception):
            raise found
        self.version = found


async def ask(old: SchemaVersion, text: str, *new: SchemaVersion | Exception) -> tuple[int, dict[str, Any], int]:
    """The status, the envelope, and how often the target was reloaded."""
    target = Moved(old, new)
    answer = await execute(target, text, documents=DocumentCache())
    return answer.status, msgspec.json.decode(answer.content), len(new) - len(target.left)


@pytest.mark.parametrize(
    ("name", "text", "data"),
    [
        ("Query.words", QUERY, {"words": ["x", "y"], "must": "there"}),
        ("Query.must", QUERY, {"words": ["x", "y"], "must": "there"}),
        ("Mutation.add", ONE_CHANGE, {"add": 2}),
    ],
)
@pytest.mark.attack("A99")
async def test_a_request_that_changed_nothing_yet_is_retried(name: str, text: str, data: dict[str, Any]) -> None:
    assert await ask(Moving(name).version, text, fixed().version) == (200, {"data": data}, 1)


async def test_the_retry_validates_against_the_new_schema() -> None:
    without = load_fixed({k: v for k, v in registry().items() if k != "Mutation.add"}, SDL.replace("add(n: Int!)", "#"))
    status, body, _ = await ask(Moving("Mutation.add").version, ONE_CHANGE, without.version)
    assert (status, codes(body)) == (400, ["GRAPHQL_VALIDATION_FAILED"])


async def test_an_executed_mutation_is_not_retried() -> None:
    moving = Moving("Mutation.add", first=2)
    status, body, begun = await ask(moving.version, TWO_CHANGES, fixed().version)
    assert (status, codes(body), body["data"], begun) == (200, ["SERVICE_UNAVAILABLE"], {"a": 1, "b": None}, 0)
    assert moving.calls == 2


async def test_a_second_change_is_retried_too() -> None:
    moving = [Moving("Query.words").version for _ in range(2)]
    data = {"words": ["x", "y"], "must": "there"}
    assert await ask(moving[0], QUERY, moving[1], fixed().version) == (200, {"data": data}, 2)


async def test_attempts_are_bounded() -> None:
    moving = [Moving("Query.words").version for _ in range(ATTEMPTS)]
    status, body, begun = await ask(moving[0], "{ words }", *moving[1:])
    assert (status, codes(body), begun) == (503, ["SERVICE_UNAVAILABLE"], ATTEMPTS - 1)


async def test_a_credential_revoked_meanwhile_is_rejected() -> None:
    status, body, _ = await ask(Moving("Query.words").version, QUERY, AccessTokenRefused())
    assert (status, codes(body)) == (401, ["UNAUTHENTICATED"])
    assert "data" not in body
