"""Writes the next migration from the difference between the tables of the code and the scripts so far.

``python -m tests.new_migration "what it does"``. The result is a draft: read it, and mend it by hand.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command

from keystead.db import migrate
from keystead.db.types import metadata
from tests.databases import import_stores


def main(message: str) -> None:
    """Compares on a fresh SQLite file that was brought up to date."""
    import_stores()
    number = int(migrate.head_revision() or 0) + 1
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "draft.db")
        asyncio.run(migrate.upgrade(f"sqlite:///{path}"))
        with migrate.sqlite_engine(path).begin() as connection:
            config = migrate.configuration(connection, metadata=metadata)
            command.revision(config, message, autogenerate=True, rev_id=f"{number:04}")


if __name__ == "__main__":
    main(sys.argv[1])
