"""Tokens in a file, which processes may share."""

from __future__ import annotations

import glob
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keystead_client.tokens import Tokens

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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
        _require_place(self._path)

    def load(self) -> Tokens | None:
        """What was saved last, by this process or another."""
        try:
            with open(self._path, encoding="utf-8", opener=_open_at_once) as file:
                found = os.fstat(file.fileno())
                if not _is_private(found):
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

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else who says so, too, saves inside, in this process or another, as long as there are tokens.

        Where the system has no such lock, or the file is open to others, it is not waited for.
        """
        descriptor = self._lock()
        try:
            yield
        finally:
            if descriptor is not None:
                # Said, not left to the closing: a process that was forked meanwhile holds it, too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)

    def _lock(self) -> int | None:
        descriptor = None
        with suppress(OSError):
            while fcntl is not None:
                descriptor = _open_at_once(self._path, os.O_RDWR)
                found = os.fstat(descriptor)
                # Others could hold the lock of a file that they can open, and for ever.
                if not (_is_private(found) and stat.S_ISREG(found.st_mode)):
                    break
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.samestat(found, os.stat(self._path)):
                    return descriptor
                # Whoever held it before has put another file in its place.
                os.close(descriptor)
                descriptor = None
        if descriptor is not None:
            os.close(descriptor)
        return None

    def _sweep(self) -> None:
        """What a process left that was killed while it saved: there are tokens in it."""
        with suppress(OSError):
            for left in self._path.parent.glob(f"{glob.escape(self._path.name)}.*.new"):
                if left.lstat().st_mtime < time.time() - _LEFT_OVER:
                    left.unlink()


def _open_at_once(path: str | os.PathLike[str], flags: int) -> int:
    """Without waiting for somebody at the other end of what is no file."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


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


def _is_private(found: os.stat_result) -> bool:
    # Windows has no such modes; there a file is as open as its folder.
    return os.name != "posix" or (found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o077)
