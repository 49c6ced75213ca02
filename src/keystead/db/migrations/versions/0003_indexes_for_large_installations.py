"""Indexes that stay good however many rows there are."""

from __future__ import annotations

from alembic import op

from keystead.db.migrations.indexes import create_index, drop_replaced

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Expand. An index that the operator has built beforehand, while writes went on, is taken as it is."""
    create_index("ix_sessions_ended", "sessions", ["ended_at"], "ended_at IS NOT NULL")
    create_index("ix_refresh_tokens_expiring", "refresh_tokens", ["expires_at"], "expires_at IS NOT NULL")
    create_index("ix_one_time_tokens_email_skeleton_brand_id", "one_time_tokens", ["email_skeleton", "brand_id"])
    create_index("ix_user_roles_brand_id_role_name", "user_roles", ["brand_id", "role_name"])
    create_index("ix_api_keys_brand_id_created_by", "api_keys", ["brand_id", "created_by"])
    # Last: a dropped index locks its table, also against readers, until COMMIT.
    op.drop_index("ix_sessions_ended_at", "sessions")
    op.drop_index("ix_sessions_kind_last_used_at", "sessions")
    op.drop_index("ix_refresh_tokens_rotated_at", "refresh_tokens")
    op.drop_index("ix_one_time_tokens_brand_id_email_skeleton", "one_time_tokens")
    drop_replaced()
