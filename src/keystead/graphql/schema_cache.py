"""LRU cache of schema versions: at most the latest two of each brand."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from keystead.compiler import COMPILER, Coalescer
from keystead.context import ActiveBrand
from keystead.errors import ServerBusy
from keystead.graphql.schema import EntityField, FixedSchema, SchemaVersion, build_schema_version

EntityLoader = Callable[[FixedSchema, ActiveBrand], Awaitable[Iterable[EntityField]]]
Callback = Callable[[SchemaVersion], None]
_Key = tuple[str, int]

BUILD_TIMEOUT = 10.0
"""Seconds that a request waits for the build of its brand's schema."""


def _ignore(_version: SchemaVersion) -> None:
    """Do nothing: no other cache depends on the version."""


class SchemaCache:
    """LRU cache of ``size`` schema versions by (brand id, schema version).

    Concurrent requests share one build on a worker thread; a cancelled request leaves it to the others, and after a
    failed build the next request starts another.

    Of one brand only the newest version and its predecessor are kept, for requests in flight: a large brand's schema
    takes tens of MiB, and each change of its entities makes a new one. ``on_evict`` gets each version dropped.
    """

    def __init__(
        self,
        fixed: FixedSchema,
        loader: EntityLoader,
        size: int = 64,
        on_evict: Callback = _ignore,
        *,
        build_timeout: float = BUILD_TIMEOUT,
    ) -> None:
        self.fixed = fixed
        self._loader = loader
        self._size = size
        self._on_evict = on_evict
        self._build_timeout = build_timeout
        self._versions: OrderedDict[_Key, SchemaVersion] = OrderedDict()
        self._building: Coalescer[SchemaVersion] = Coalescer()

    def __len__(self) -> int:
        return len(self._versions)

    async def get(self, brand: ActiveBrand | None) -> SchemaVersion:
        """Return the brand's schema at the version of ``brand``; the fixed schema without a brand.

        :raises ServerBusy: when the build takes longer than ``build_timeout``.
        """
        if brand is None:
            return self.fixed.version
        key = (brand.id, brand.schema_version)
        known = self._versions.get(key)
        if known is not None:
            self._versions.move_to_end(key)
            return known
        try:
            async with asyncio.timeout(self._build_timeout):
                return await self._building.run(key, partial(self._build, key, brand))
        except TimeoutError:
            raise ServerBusy(cause="waited too long for a brand's schema to be built") from None

    async def _build(self, key: _Key, brand: ActiveBrand) -> SchemaVersion:
        added = await self._loader(self.fixed, brand)
        name = f"{brand.id}:{brand.schema_version}"
        version = await COMPILER.run(brand.id, partial(build_schema_version, self.fixed, added, name))
        self._versions[key] = version
        outdated = [known for known in self._versions if known[0] == key[0] and known[1] < key[1] - 1]
        if len(self._versions) - len(outdated) > self._size:
            outdated.append(next(iter(self._versions)))
        for known in dict.fromkeys(outdated):
            self._on_evict(self._versions.pop(known))
        return version
