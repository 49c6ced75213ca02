"""Requests for mailed links, alike for every address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keystead.db import types

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "mail_requests",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column("source", types.Text(), nullable=False),
        sa.Column("asked_at", types.UtcTime(), nullable=False),
        sa.Column("due_at", types.UtcTime(), nullable=False),
        sa.Column("sealed", types.Digest(), nullable=False),
        sa.ForeignKeyConstraint(["brand_id"], ["brands.id"], name=op.f("fk_mail_requests_brand_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_mail_requests_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_requests")),
    )
    only = sa.text("user_id IS NOT NULL")
    op.create_index(
        "ix_mail_requests_user_id_brand_id",
        "mail_requests",
        ["user_id", "brand_id"],
        unique=False,
        sqlite_where=only,
        postgresql_where=only,
    )
    op.create_index(
        "ix_mail_requests_brand_id_source_due_at", "mail_requests", ["brand_id", "source", "due_at"], unique=False
    )
