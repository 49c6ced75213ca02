"""The schema versions in use: the latest two of each brand, the least recently used dropped."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable

from keystead.context import ActiveBrand
from keystead.graphql.schema import EntityField, FixedSchema, SchemaVersion, build_schema_version

EntityLoader = Callable[[FixedSchema, ActiveBrand], Awaitable[Iterable[EntityField]]]
Forget = Callable[[SchemaVersion], None]


def _forget_nothing(_version: SchemaVersion) -> None:
    """Nothing else was made of the version."""


class SchemaCache:
    """Schema versions by (brand id, schema version). Holds ``size`` of them; one is built at a time.

    Of one brand only the newest and the one before it are held, for requests under way: a large brand's schema takes
    tens of MiB, and every change of its entities makes a new one. ``forget`` is told of each that is dropped.
    """

    def __init__(
        self, fixed: FixedSchema, loader: EntityLoader, size: int = 64, forget: Forget = _forget_nothing
    ) -> None:
        self.fixed = fixed
        self._loader = loader
        self._size = size
        self._forget = forget
        self._versions: OrderedDict[tuple[str, int], SchemaVersion] = OrderedDict()
        self._building = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._versions)

    async def get(self, brand: ActiveBrand | None) -> SchemaVersion:
        """The schema for a request: the brand's, at the version that the request's row named; else the fixed one."""
        if brand is None:
            return self.fixed.version
        key = (brand.id, brand.schema_version)
        known = self._versions.get(key)
        if known is not None:
            self._versions.move_to_end(key)
            return known
        async with self._building:
            return self._versions.get(key) or await self._build(key, brand)

    async def _build(self, key: tuple[str, int], brand: ActiveBrand) -> SchemaVersion:
        added = await self._loader(self.fixed, brand)
        version = build_schema_version(self.fixed, added, f"{brand.id}:{brand.schema_version}")
        self._versions[key] = version
        outdated = [known for known in self._versions if known[0] == key[0] and known[1] < key[1] - 1]
        if len(self._versions) - len(outdated) > self._size:
            outdated.append(next(iter(self._versions)))
        for known in dict.fromkeys(outdated):
            self._forget(self._versions.pop(known))
        return version
