"""The files behind an open SQLite database: whether they are still the ones at their paths, and whole.

SQLite trusts the descriptors that it opened. After ``mv``, ``rm`` or a restored copy it writes on into files without a
name and acknowledges every COMMIT; all of it is lost with the process (https://www.sqlite.org/howtocorrupt.html).
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

LOOK_SECONDS = 1.0

_log = structlog.get_logger("keystead.database")


def make_private(path: str) -> None:
    """Makes the file where there is none. It holds password hashes: no other user may read it or its log.

    :raises StartupError: when the log of a database is there without it: SQLite would delete the log.
    """
    if not os.path.exists(path) and os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal"):
        raise errors.StartupError(
            f"The SQLite database {path} is missing, but its log {path}-wal is there: "
            "put the database back, or remove the log if its changes may be lost."
        )
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def uri_of(path: str) -> str:
    """The file as SQLite's URI that opens it without ever making it."""
    return f"{Path(path).absolute().as_uri()}?mode=rw"


class OpenFiles:
    """The database, its log and the index of the log, as they were when they were opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        # SQLite follows symbolic links, and keeps the log beside the file itself.
        self._beside = os.path.realpath(path)
        self._opened = self._look()
        self._timer: asyncio.TimerHandle | None = None
        self.is_lost = False
        self._damage: str | None = None

    def watch(self) -> None:
        """Looks now and then once a second, on the running loop."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self.watch)
        self.look()

    def look(self) -> None:
        """Compares the files with the open ones, and logs what has changed since the last look."""
        is_lost = self._look() != self._opened
        if is_lost and not self.is_lost:
            _log.error("database_file_lost", path=self._path, reason="it or its log was moved, deleted or replaced")
        if self.is_lost and not is_lost:
            _log.warning("database_file_back", path=self._path)
        self.is_lost = is_lost

    def close(self) -> None:
        """Stops looking."""
        if self._timer is not None:
            self._timer.cancel()

    def require(self) -> None:
        """Looks now.

        :raises Unusable: when the files at the paths are not the open ones.
        """
        if self._look() != self._opened:
            raise Unusable(cause=f"{self._path} or its log was moved, deleted or replaced")

    def require_whole(self) -> None:
        """:raises Unusable: when a damaged page was met since the files were opened."""
        if self._damage is not None:
            raise Unusable(cause=self._damage)

    def note(self, error: BaseException) -> None:
        """Remembers, and logs once, that a page is damaged."""
        if self._damage is None and isinstance(error, sqlite3.Error) and meaning_of(error) is Meaning.damaged:
            self._damage = str(error)
            _log.error("database_damaged", path=self._path, reason=str(error))

    def _look(self) -> list[tuple[int, int] | None]:
        return [_identity(self._path), _identity(f"{self._beside}-wal"), _identity(f"{self._beside}-shm")]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
