"""Users with permissions of their own are found without reading the others."""

from __future__ import annotations

from keystead.db.migrations.indexes import create_index, drop_replaced

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Expand. An index that the operator has built beforehand, while writes went on, is taken as it is."""
    create_index("ix_users_granted", "users", ["brand_id", "id"], "permissions <> ''")
    drop_replaced()
