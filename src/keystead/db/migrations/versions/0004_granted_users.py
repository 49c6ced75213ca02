"""Users with permissions of their own are found without reading the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_IS_GRANTED = sa.text("permissions <> ''")


def upgrade() -> None:
    """Expand. An index that the operator has built beforehand, while writes went on, is taken as it is."""
    op.create_index(
        "ix_users_granted",
        "users",
        ["brand_id", "id"],
        unique=False,
        if_not_exists=True,
        sqlite_where=_IS_GRANTED,
        postgresql_where=_IS_GRANTED,
    )
