"""SQL of the templates that a brand puts in the place of those that come with Keystead."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table

from keystead.db.types import Id, Text, UtcTime, metadata

mail_templates = Table(
    "mail_templates",
    metadata,
    Column("brand_id", Id, ForeignKey("brands.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("language", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)
