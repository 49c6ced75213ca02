"""Introspection is open as the setting says, and shows what the caller may use."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from threading import get_ident
from typing import Any, ClassVar

import msgspec
import pytest

from keystead.context import Context
from keystead.graphql import introspection
from keystead.graphql.documents import DocumentCache
from keystead.graphql.executor.execute import Target, execute
from keystead.graphql.introspection import Introspector
from keystead.graphql.schema import SchemaVersion, build_schema_version
from tests.graphql.fakes import api_key, ask, codes, context, fixed, user
from tests.graphql.test_schema import entity

SMALL = fixed()
VERSION = build_schema_version(SMALL, entity(), "b1:1")


async def test_validation_knows_the_whole_schema_all_the_same() -> None:
    status, body = await ask(VERSION, '{ customerById(id: "1") { name } }', ctx=context(user()))
    assert (status, codes(body)) == (200, ["FORBIDDEN"])


async def test_no_access_directive_is_shown() -> None:
    _, body = await ask(VERSION, "{ __schema { directives { name } } }")
    found = {directive["name"] for directive in body["data"]["__schema"]["directives"]}
    assert found == {"include", "skip", "deprecated", "specifiedBy", "oneOf"}


def test_a_version_that_is_out_of_use_is_forgotten() -> None:
    introspector, caller = Introspector(), context(api_key("admin"))
    old, new = (build_schema_version(fixed(), (), f"b1:{number}") for number in (1, 2))
    kept = introspector.catalogue(new, caller)
    before = introspector.catalogue(old, caller)
    introspector.forget(old)
    assert introspector.catalogue(new, caller) is kept
    assert introspector.catalogue(old, caller) is not before


ALL = "{ __schema { types { name fields { name } } } }"


class Watched(introspection.Catalogue):
    """Notes on which threads catalogues are made."""

    threads: ClassVar[list[int]] = []

    def __init__(self, version: SchemaVersion, ctx: Context) -> None:
        self.threads.append(get_ident())
        super().__init__(version, ctx)


async def test_an_answer_is_kept_as_json_by_schema_version_and_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made once, and not on the event loop's thread: a large schema takes longer than the loop may be held."""
    monkeypatch.setattr(introspection, "Catalogue", Watched)
    introspector = Introspector()
    monkeypatch.setattr("keystead.graphql.executor.execute.INTROSPECTOR", introspector)
    Watched.threads.clear()
    documents = DocumentCache()

    async def shown(ctx: Context, version: SchemaVersion = VERSION, text: str = ALL, **variables: Any) -> bytes:
        return (await execute(Target(ctx, version), text, variables, documents=documents)).content

    reader, admin = context(api_key("customer:read")), context(api_key("admin"))
    first, other = await shown(reader), await shown(admin)
    assert first != other
    assert len(Watched.threads) == 2
    assert get_ident() not in Watched.threads
    with monkeypatch.context() as patch:
        patch.setattr(Introspector, "_make", None)
        assert (await shown(reader), await shown(admin)) == (first, other)
        assert await shown(context(api_key("customer:read"))) == first
    for name in ("Customer", "Person", "Nothing"):
        one = "query($n: String!) { __typename a: __type(name: $n) { name } __typename }"
        answer = msgspec.json.decode(await shown(reader, VERSION, one, n=name))["data"]
        assert answer["a"] == (None if name == "Nothing" else {"name": name})
    newer = build_schema_version(SMALL, (), "b1:2")
    assert await shown(reader, newer) != first
    introspector.forget(VERSION)
    assert len(introspector._answers) == 1
    assert await shown(reader) == first


async def test_kept_answers_are_bounded_in_bytes() -> None:
    introspector = Introspector(max_bytes=100_000)
    ctx = context(api_key("admin"))
    for number in range(40):
        await introspector.answer(VERSION, ctx, b"%d" % number, None, lambda _node: "x" * 10_000)
    assert len(introspector._answers) == 7
    await introspector.answer(VERSION, ctx, b"40", None, lambda _node: "x" * 200_000)
    assert len(introspector._answers) == 0
    assert introspector._bytes == 0


async def test_what_is_kept_weighs_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a plan stays with its answer, and names of types that do not exist have one answer together."""
    introspector = Introspector()
    monkeypatch.setattr("keystead.graphql.executor.execute.INTROSPECTOR", introspector)
    caller = context(api_key("admin"))

    async def ask(number: int, name: str) -> None:
        wide = "name"
        for _ in range(6):
            wide = f"kind name description specifiedByURL isOneOf ofType {{ {wide} }}"
        wide = " ".join(f"{part} {{ name type {{ {wide} }} }}" for part in ("fields", "inputFields"))
        text = f"query($n: String!) {{ __type(name: $n) {{ f{number}: name {wide} ofType {{ {wide} }} }} }}"
        answer = await execute(Target(caller, VERSION), text, {"n": name}, documents=DocumentCache(size=1))
        assert b"errors" not in answer.content

    def memory() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        for number in range(8):
            await ask(number, f"Nothing{number}")
        number_kept, before = len(introspector._answers), memory()
        introspector._answers.clear()
        weight = before - memory()
    finally:
        tracemalloc.stop()
    assert number_kept == 8
    assert 0 < weight < introspector._bytes
    for number in range(8):
        await ask(1, "x" * 100_000 + str(number))
    assert len(introspector._answers) == 1


async def test_callers_who_ask_the_same_wait_for_one_answer() -> None:
    introspector, made = Introspector(), list[object]()
    caller = context(api_key("admin"))
    answers = [introspector.answer(VERSION, caller, b"1", None, lambda node: made.append(node)) for _ in range(200)]
    assert len(await asyncio.gather(*answers)) == 200
    assert len(made) == 1


async def test_an_answer_that_cannot_be_made_is_not_kept() -> None:
    introspector = Introspector()

    def fail(_node: object) -> None:
        raise ValueError("no such thing")

    for _ in range(2):
        with pytest.raises(ValueError, match="no such thing"):
            await introspector.answer(VERSION, context(api_key("admin")), b"1", None, fail)
    assert len(introspector._answers) == 0
