"""The lock of a file that processes share, for which nobody waits long."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PAUSE = 0.01
_PAUSES = 100


class FileLock:
    """Keeps other processes and threads out. The thread that is inside may enter again.

    :param path: the file; it is replaced as a whole by those who write it.
    :param pause: waits for some seconds.
    """

    def __init__(self, path: Path, pause: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._pause = pause
        self._of_thread = threading.local()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Goes on without the lock where it cannot be had within a second: who has it may be stopped, and for ever."""
        mine: list[int] = self._of_thread.__dict__.setdefault("descriptors", [])
        descriptor = None if self._is_held_by(mine) else self._take()
        if descriptor is None:
            yield
            return
        process = os.getpid()
        mine.append(descriptor)
        try:
            yield
        finally:
            mine.remove(descriptor)
            # Said, not left to the closing: a process that was forked meanwhile has it, too. That one must not say it.
            if os.getpid() == process:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _is_held_by(self, descriptors: list[int]) -> bool:
        with suppress(OSError):
            # After a save inside there is another file in its place, which has a lock of its own.
            return any(os.path.samestat(os.fstat(one), os.stat(self._path)) for one in descriptors)
        return False

    def _take(self) -> int | None:
        descriptor, pauses = None, 0
        with suppress(OSError):
            while fcntl is not None:
                descriptor = open_at_once(self._path, os.O_RDWR)
                found = os.fstat(descriptor)
                # Others could hold the lock of a file that they can open, and for ever.
                if not (is_private(found) and stat.S_ISREG(found.st_mode)):
                    break
                if _is_locked_now(descriptor):
                    if os.path.samestat(found, os.stat(self._path)):
                        return descriptor
                    # Whoever held it before has put another file in its place.
                elif pauses == _PAUSES:
                    break
                else:
                    pauses += 1
                    self._pause(_PAUSE)
                os.close(descriptor)
                descriptor = None
        if descriptor is not None:
            os.close(descriptor)
        return None


def _is_locked_now(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_at_once(path: str | os.PathLike[str], flags: int) -> int:
    """Without waiting for somebody at the other end of what is no file."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def is_private(found: os.stat_result) -> bool:
    """Whether a file is one's own, and closed to others."""
    # Windows has no such modes; there a file is as open as its folder.
    return os.name != "posix" or (found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o077)
