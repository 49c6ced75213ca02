"""Indexes that stay good however many rows there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Expand. An index that the operator has built beforehand, while writes went on, is taken as it is."""
    _create("ix_sessions_ended", "sessions", ["ended_at"], "ended_at IS NOT NULL")
    _create("ix_refresh_tokens_expiring", "refresh_tokens", ["expires_at"], "expires_at IS NOT NULL")
    _create("ix_one_time_tokens_email_skeleton_brand_id", "one_time_tokens", ["email_skeleton", "brand_id"])
    _create("ix_user_roles_brand_id_role_name", "user_roles", ["brand_id", "role_name"])
    _create("ix_api_keys_brand_id_created_by", "api_keys", ["brand_id", "created_by"])
    op.drop_index("ix_sessions_ended_at", "sessions")
    op.drop_index("ix_sessions_kind_last_used_at", "sessions")
    op.drop_index("ix_refresh_tokens_rotated_at", "refresh_tokens")
    op.drop_index("ix_one_time_tokens_brand_id_email_skeleton", "one_time_tokens")


def _create(name: str, table: str, columns: list[str], condition: str | None = None) -> None:
    only = None if condition is None else sa.text(condition)
    op.create_index(name, table, columns, unique=False, if_not_exists=True, sqlite_where=only, postgresql_where=only)
