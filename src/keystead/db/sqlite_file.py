"""Detect that the files of an open SQLite database were replaced or damaged.

SQLite keeps using the descriptors that it opened. After ``mv``, ``rm`` or a restored copy it writes to unlinked files
and acknowledges every COMMIT; all of it is lost when the process ends (https://www.sqlite.org/howtocorrupt.html).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import structlog

from keystead import errors
from keystead.db.interface import Unusable
from keystead.db.sqlite_errors import Meaning, meaning_of

CHECK_SECONDS = 1.0

_log = structlog.get_logger("keystead.database")


def make_private(path: str) -> None:
    """Create the file with mode 0600 if it does not exist: it holds password hashes.

    :raises StartupError: when there is a log but no database: SQLite would delete the log.
    """
    if not os.path.exists(path) and os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal"):
        raise errors.StartupError(
            f"The SQLite database {path} is missing, but its log {path}-wal is there: "
            "put the database back, or remove the log if its changes may be lost."
        )
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def uri_of(path: str) -> str:
    """The file as an SQLite URI that never creates it."""
    return f"{Path(path).absolute().as_uri()}?mode=rw"


class OpenFiles:
    """The inodes of the database, its log and the log's index, as opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        # SQLite follows symbolic links, and keeps the log beside the file itself.
        self._beside = os.path.realpath(path)
        self._opened = self._inodes()
        self._timer: asyncio.TimerHandle | None = None
        self.is_lost = False
        self._damage: str | None = None

    def watch(self) -> None:
        """Check now and then every second, on the running loop."""
        self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self.watch)
        self.check()

    def check(self) -> None:
        """Compare the files at the paths with the open ones, and log a change."""
        is_lost = self._inodes() != self._opened
        if is_lost and not self.is_lost:
            _log.error("database_file_lost", path=self._path, reason="it or its log was moved, deleted or replaced")
        if self.is_lost and not is_lost:
            _log.warning("database_file_back", path=self._path)
        self.is_lost = is_lost

    def close(self) -> None:
        """Stop checking."""
        if self._timer is not None:
            self._timer.cancel()

    def require(self) -> None:
        """Check now.

        :raises Unusable: when the files at the paths are not the open ones.
        """
        if self._inodes() != self._opened:
            raise Unusable(cause=f"{self._path} or its log was moved, deleted or replaced")

    def require_whole(self) -> None:
        """Check that no damage was found since the files were opened.

        :raises Unusable: when a damaged page was read.
        """
        if self._damage is not None:
            raise Unusable(cause=self._damage)

    def note(self, error: BaseException) -> None:
        """Record, and log once, that a page is damaged."""
        if self._damage is None and isinstance(error, sqlite3.Error) and meaning_of(error) is Meaning.damaged:
            self._damage = str(error)
            _log.error("database_damaged", path=self._path, reason=str(error))

    def _inodes(self) -> list[tuple[int, int] | None]:
        return [_identity(self._path), _identity(f"{self._beside}-wal"), _identity(f"{self._beside}-shm")]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
