"""The fixed tables, as the first release has them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keystead.db import types

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "audit_events",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("at", types.UtcTime(), nullable=False),
        sa.Column("event", types.Text(), nullable=False),
        sa.Column("outcome", types.Text(), nullable=False),
        sa.Column("reason", types.Text(), nullable=True),
        sa.Column("actor_kind", types.Text(), nullable=False),
        sa.Column("actor_id", types.Id(), nullable=True),
        sa.Column("subject_id", types.Id(), nullable=True),
        sa.Column("session_id", types.Id(), nullable=True),
        sa.Column("key_id", types.Id(), nullable=True),
        sa.Column("ip_prefix", types.Text(), nullable=True),
        sa.Column("user_agent", types.Text(), nullable=True),
        sa.Column("request_id", types.Text(), nullable=True),
        sa.Column("details", types.Json(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.create_index("ix_audit_events_brand_id_id", ["brand_id", "id"], unique=False)

    op.create_table(
        "brands",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("preset", types.Text(), nullable=False),
        sa.Column("features", types.Text(), nullable=False),
        sa.Column("policy", types.Text(), nullable=False),
        sa.Column("base_url", types.Text(), nullable=True),
        sa.Column("redirect_urls", types.Json(), nullable=False),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brands")),
        sa.UniqueConstraint("name", name=op.f("uq_brands_name")),
    )
    op.create_table(
        "installation",
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("value", types.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation")),
    )
    op.create_table(
        "signing_keys",
        sa.Column("kid", types.Text(), nullable=False),
        sa.Column("private_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("activates_at", types.UtcTime(), nullable=False),
        sa.Column("retires_at", types.UtcTime(), nullable=True),
        sa.Column("dropped_at", types.UtcTime(), nullable=True),
        sa.Column("revoked_at", types.UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("description", types.Text(), nullable=True),
        sa.Column("permissions", types.Words(), nullable=False),
        sa.Column("is_publishable", sa.Boolean(), nullable=False),
        sa.Column("allowed_origins", types.Words(), nullable=False),
        sa.Column("hint", types.Text(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("created_by", types.Id(), nullable=True),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.Column("last_used_at", types.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["brand_id"], ["brands.id"], name=op.f("fk_api_keys_brand_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index("ix_api_keys_brand_id_id", ["brand_id", "id"], unique=False)

    op.create_table(
        "brand_tokens",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("digest", types.Digest(), nullable=False),
        sa.Column("hint", types.Text(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("revoked_at", types.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["brand_id"], ["brands.id"], name=op.f("fk_brand_tokens_brand_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brand_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_brand_tokens_digest")),
    )
    with op.batch_alter_table("brand_tokens", schema=None) as batch_op:
        batch_op.create_index("ix_brand_tokens_brand_id", ["brand_id"], unique=False)

    op.create_table(
        "entities",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("definition", types.Json(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["brand_id"], ["brands.id"], name=op.f("fk_entities_brand_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entities")),
    )
    with op.batch_alter_table("entities", schema=None) as batch_op:
        batch_op.create_index("uq_entities_brand_id_name", ["brand_id", "name"], unique=True)

    op.create_table(
        "roles",
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("permissions", types.Words(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["brand_id"], ["brands.id"], name=op.f("fk_roles_brand_id")),
        sa.PrimaryKeyConstraint("brand_id", "name", name=op.f("pk_roles")),
    )
    op.create_table(
        "users",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("username", types.Text(), nullable=True),
        sa.Column("email", types.Text(), nullable=True),
        sa.Column("email_canonical", types.Text(), nullable=True),
        sa.Column("email_skeleton", types.Text(), nullable=True),
        sa.Column("verified_at", types.UtcTime(), nullable=True),
        sa.Column("pending_email", types.Text(), nullable=True),
        sa.Column("pending_password_hash", types.Text(), nullable=True),
        sa.Column("password_hash", types.Text(), nullable=True),
        sa.Column("permissions", types.Words(), nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.Column("last_login_at", types.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["brand_id"], ["brands.id"], name=op.f("fk_users_brand_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.create_index("ix_users_brand_id_id", ["brand_id", "id"], unique=False)
        batch_op.create_index("uq_users_brand_id_email_canonical", ["brand_id", "email_canonical"], unique=True)
        batch_op.create_index("uq_users_brand_id_email_skeleton", ["brand_id", "email_skeleton"], unique=True)

    op.create_table(
        "api_key_secrets",
        sa.Column("digest", types.Digest(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("key_id", types.Id(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("valid_until", types.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_api_key_secrets_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_api_key_secrets")),
    )
    with op.batch_alter_table("api_key_secrets", schema=None) as batch_op:
        batch_op.create_index("ix_api_key_secrets_key_id", ["key_id"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("kind", types.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("last_used_at", types.UtcTime(), nullable=True),
        sa.Column("ended_at", types.UtcTime(), nullable=True),
        sa.Column("end_reason", types.Text(), nullable=True),
        sa.Column("ip_prefix", types.Text(), nullable=True),
        sa.Column("user_agent", types.Text(), nullable=True),
        sa.ForeignKeyConstraint(["brand_id"], ["brands.id"], name=op.f("fk_sessions_brand_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index("ix_sessions_ended_at", ["ended_at"], unique=False)
        batch_op.create_index("ix_sessions_kind_last_used_at", ["kind", "last_used_at"], unique=False)
        batch_op.create_index("ix_sessions_user_id", ["user_id", "ended_at"], unique=False)

    op.create_table(
        "user_roles",
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("role_name", types.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "role_name"],
            ["roles.brand_id", "roles.name"],
            name=op.f("fk_user_roles_brand_id_role_name"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_roles_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("brand_id", "user_id", "role_name", name=op.f("pk_user_roles")),
    )
    with op.batch_alter_table("user_roles", schema=None) as batch_op:
        batch_op.create_index("ix_user_roles_user_id", ["user_id"], unique=False)

    op.create_table(
        "refresh_tokens",
        sa.Column("digest", types.Digest(), nullable=False),
        sa.Column("brand_id", types.Id(), nullable=False),
        sa.Column("session_id", types.Id(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rotation_key_id", types.Text(), nullable=False),
        sa.Column("issued_at", types.UtcTime(), nullable=False),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.Column("rotated_at", types.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_refresh_tokens_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_refresh_tokens")),
    )
    with op.batch_alter_table("refresh_tokens", schema=None) as batch_op:
        batch_op.create_index("ix_refresh_tokens_rotated_at", ["rotated_at"], unique=False)
        batch_op.create_index("uq_refresh_tokens_session_id_generation", ["session_id", "generation"], unique=True)
