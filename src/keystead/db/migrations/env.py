"""Alembic's environment: runs the scripts in ``versions/`` on the given connection and transaction."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    render_as_batch=True,  # SQLite alters a table by copying it
    user_module_prefix="types.",
)
context.run_migrations()
