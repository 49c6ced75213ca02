"""Several administrators at one key at the same moment: whatever narrows it stays."""

from __future__ import annotations

import asyncio

import pytest

from keystead.api_keys import service
from keystead.context import ActiveBrand, Server
from keystead.errors import NotFound
from tests.make import make_api_key, make_brand, make_context

ROUNDS = 5


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_brand(server)


async def test_of_concurrent_rotations_one_secret_is_left(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server, brand)
    for _ in range(ROUNDS):
        key, first = await make_api_key(server, brand, "read")
        rotated = await asyncio.gather(*[service.rotate_key(ctx, brand.id, key.id, 0) for _ in range(4)])
        secrets = [first, *(secret for _, secret in rotated)]
        found = [await service.find_by_secret(server.db.reads, secret, server.clock.now()) for secret in secrets]
        assert len([key for key in found if key is not None]) == 1
        shown = await service.find_key(ctx, brand.id, key.id)
        assert shown is not None
        assert [secret.hint for secret, live in zip(secrets, found, strict=True) if live] == [shown.hint]


async def test_a_concurrent_rename_does_not_restore_a_revoked_permission(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server, brand)
    for _ in range(ROUNDS):
        key, _ = await make_api_key(server, brand, "read", "write")
        changes: list[dict[str, object]] = [{"name": "before"}, {"permissions": ["read"]}, {"name": "after"}]
        await asyncio.gather(*[service.update_key(ctx, brand.id, key.id, change) for change in changes])
        now = await service.find_key(ctx, brand.id, key.id)
        assert now is not None
        assert (list(now.permissions), now.name in ("before", "after")) == (["read"], True)


async def test_a_key_deleted_during_rotation_is_gone(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server, brand)
    for _ in range(ROUNDS):
        key, _ = await make_api_key(server, brand, "read")
        outcomes = await asyncio.gather(
            service.rotate_key(ctx, brand.id, key.id, 0),
            service.delete_keys(ctx, brand.id, [key.id]),
            service.rotate_key(ctx, brand.id, key.id, 5),
            service.delete_keys(ctx, brand.id, [key.id]),
            return_exceptions=True,
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert all(type(failure) is NotFound for failure in failures), failures
        assert sum(outcome is None for outcome in outcomes) == 1
        for outcome in outcomes:
            if isinstance(outcome, tuple):
                assert await service.find_by_secret(server.db.reads, outcome[1], server.clock.now()) is None
