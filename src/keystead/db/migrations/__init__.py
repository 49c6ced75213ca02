"""Alembic's scripts for the fixed tables."""
