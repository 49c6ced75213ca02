"""API keys by the user who created them: keys outlive their creator, and can be revoked with the user. Contract §4."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from keystead.api_keys import service, store
from keystead.api_keys.model import ApiKey
from keystead.audit.service import record
from keystead.context import Context
from keystead.db.interface import Tx
from keystead.errors import BadUserInput
from keystead.users import service as users
from keystead.users.model import User, UserChanges

MOST_SHOWN = 100


async def list_live_keys(ctx: Context, brand_id: str, user_id: str) -> list[ApiKey]:
    """Return unexpired keys created by the user or by a key of the user, newest first; at most ``MOST_SHOWN``."""
    return await store.list_live_of(ctx.db.scans, brand_id, user_id, ctx.now(), MOST_SHOWN)


async def count_live_keys(ctx: Context, brand_id: str, user_id: str) -> int:
    """Count the keys that :func:`list_live_keys` would return without its limit."""
    return await store.count_live_of(ctx.db.scans, brand_id, user_id, ctx.now())


async def update_user(
    ctx: Context, brand_id: str, user_id: str, changes: UserChanges, *, revoke_api_keys: bool = False
) -> User:
    """As ``users.update_user``; with ``revoke_api_keys`` also delete the user's keys, in the same transaction.

    :raises BadUserInput: for ``revoke_api_keys`` without disabling the user; names that field.
    """
    if revoke_api_keys and not changes.is_disabled:
        raise BadUserInput("'revoke_api_keys' requires 'is_disabled: true'.", field="revoke_api_keys")
    finish = _revocation(ctx, brand_id, [user_id]) if revoke_api_keys else None
    return await users.update_user(ctx, brand_id, user_id, changes, finish=finish)


async def delete_users(ctx: Context, brand_id: str, user_ids: Sequence[str], *, revoke_api_keys: bool = False) -> None:
    """As ``users.delete_users``; with ``revoke_api_keys`` also delete their keys, in the same transaction."""
    finish = _revocation(ctx, brand_id, user_ids) if revoke_api_keys else None
    await users.delete_users(ctx, brand_id, user_ids, finish=finish)


def _revocation(ctx: Context, brand_id: str, user_ids: Sequence[str]) -> Callable[[Tx], Awaitable[None]]:
    async def revoke(tx: Tx) -> None:
        for key in await store.delete_keys_of(tx, brand_id, user_ids):
            await record(tx, service.describe_key(ctx, "api_key.deleted", brand_id, key))

    return revoke
