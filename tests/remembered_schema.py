"""One fixed schema for all applications of a test process: building one takes 25 ms, and tests make thousands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import pytest

from keystead.graphql.resolvers import Registry, Resolver
from keystead.graphql.schema import FixedSchema, SchemaVersion, load_fixed

_Items = tuple[tuple[str, Resolver], ...]


@lru_cache(maxsize=2)
def _load(items: _Items) -> FixedSchema:
    return load_fixed(dict(items))


def load_remembered(registry: Registry) -> FixedSchema:
    """The schema of these resolvers, cached, as a new version: caches by version share nothing."""
    fixed = _load(tuple(sorted(registry.items())))
    version = SchemaVersion(fixed.version.key, fixed.version.schema, fixed.version.fields)
    return replace(fixed, version=version)


@pytest.fixture(scope="session", autouse=True)
def fixed_schema() -> Iterator[None]:
    """Applications share what they would build alike. Tests of the schema call ``load_fixed`` itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keystead.web.app.load_fixed", load_remembered)
        yield
