"""Tokens in a file, which processes may share."""

from __future__ import annotations

import glob
import json
import os
import stat
import tempfile
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from keystead_client.file_lock import FileLock, is_private, open_at_once
from keystead_client.tokens import Tokens

_LEFT_OVER = 60.0
"""Seconds after which nobody is still writing a file."""


class FileTokens:
    """Keeps tokens in a file that only its owner can read (0600), replaced as a whole. ``~`` is one's home directory.

    A file that is no such file counts as empty. Raises ``OSError`` where the file cannot be read or written, and
    ``PermissionError`` where it is somebody else's or open to others: whoever planted it would have this program act in
    a session of theirs. So does the constructor where the directory is missing or cannot be written to: a login whose
    tokens cannot be kept would leave a session open that nobody holds.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser()
        self._lock = FileLock(self._path)
        _require_place(self._path)

    def load(self) -> Tokens | None:
        """What was saved last, by this process or another."""
        try:
            with open(self._path, encoding="utf-8", opener=open_at_once) as file:
                found = os.fstat(file.fileno())
                if not is_private(found):
                    raise PermissionError(
                        f"{self._path}: tokens must be in a file of one's own that nobody else can read (chmod 600)"
                    )
                kept = json.load(file) if stat.S_ISREG(found.st_mode) else None
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        if not isinstance(kept, dict) or kept.get("kind") not in ("pair", "standing"):
            return None
        texts = [kept.get(name) for name in ("auth_token", "refresh_token", "previous_refresh_token")]
        auth, refresh, previous = (text if isinstance(text, str) else None for text in texts)
        return Tokens(auth, refresh, kept["kind"], previous)

    def save(self, tokens: Tokens | None) -> None:
        """Keep these; None removes the file."""
        self._sweep()
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        kept = {
            "kind": tokens.kind,
            "auth_token": tokens.auth_token,
            "refresh_token": tokens.refresh_token,
            "previous_refresh_token": tokens.previous_refresh_token,
        }
        # A temporary file is 0600 from the moment it exists; the rename leaves no moment with half a file.
        descriptor, temporary = tempfile.mkstemp(".new", f"{self._path.name}.", self._path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(kept, file)
                file.flush()
                # The tokens before these are worth nothing soon: a crash must not leave an empty file, or the old one.
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(self._path.parent)

    def exclusive(self) -> AbstractContextManager[None]:
        """Nobody else who says so, too, saves inside, in this process or another, as long as there are tokens.

        The thread that is inside may enter again. Where the system has no such lock, or the file is open to others, it
        is not waited for; nor longer than a second where it is another's, who may have been stopped while he had it.
        """
        return self._lock.held()

    def _sweep(self) -> None:
        """What a process left that was killed while it saved: there are tokens in it."""
        with suppress(OSError):
            for left in self._path.parent.glob(f"{glob.escape(self._path.name)}.*.new"):
                if left.lstat().st_mtime < time.time() - _LEFT_OVER:
                    left.unlink()


def _sync_folder(folder: Path) -> None:
    # Not every system opens a folder, or can say that it is on the disk.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _require_place(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path}: tokens are kept in a file, and that is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: tokens cannot be kept there, for there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: tokens cannot be kept there, for {path.parent} cannot be written to")
