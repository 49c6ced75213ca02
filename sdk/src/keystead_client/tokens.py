"""The tokens of a session, and the stores that keep them."""

from __future__ import annotations

import base64
import glob
import json
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

from keystead_client.fork_lock import ForkLock

Kind: TypeAlias = Literal["pair", "standing"]
"""Of a session."""

AUDIENCE: Final = "urn:keystead:brand:"
"""The prefix of an access token's ``aud``; the id of the brand follows."""
_FAR = 1e15


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one session. Their text is hidden in ``repr``.

    A *pair* session changes its refresh token with every refresh; a *standing* one keeps it.
    """

    auth_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    kind: Kind = "pair"
    previous_refresh_token: str | None = field(default=None, repr=False)
    """What the refresh token replaced, until the new tokens have worked once."""

    @property
    def expires_at(self) -> float | None:
        """When the access token expires, in seconds since 1970, as it says itself; None where it does not say."""
        return expiry_of(self.auth_token) if self.auth_token else None

    @property
    def issued_at(self) -> float | None:
        """When the access token was issued, in seconds since 1970, as it says itself; None where it does not say."""
        return _number(claims_of(self.auth_token).get("iat")) if self.auth_token else None

    def is_fresh(self, now: float, buffer: float) -> bool:
        """Whether the access token is good for longer than ``buffer`` seconds.

        A token that lives less than twice as long counts as fresh in the first half of its life. One that does not
        say when it expires is fresh until the server refuses it.
        """
        if self.auth_token is None:
            return False
        claims = claims_of(self.auth_token)
        expires, issued = _number(claims.get("exp")), _number(claims.get("iat"))
        if expires is None:
            return True
        if issued is not None:
            buffer = min(buffer, (expires - issued) / 2)
        return expires - now > buffer


class TokenStore(Protocol):
    """Keeps the tokens of one session. Both methods may be called from any thread, and must be quick.

    A store that several processes share may have a third, ``exclusive()``: a context manager inside which no other of
    them saves. Tokens are then compared and replaced in one step.

    The client that saves holds a lock, which its thread may enter again: ``save``, and a signal's handler that
    interrupts it, may call that client, which goes by what ``load`` gives then, or by what a refresh has brought. What
    was being saved stands in the end. They must not wait for another thread that calls it. ``exclusive()`` is entered
    again then, too, as where a program says ``with store.exclusive(): client.login(...)``: it must let the thread in
    that is inside.
    """

    def load(self) -> Tokens | None:
        """What was saved last."""

    def save(self, tokens: Tokens | None) -> None:
        """Keep these; None forgets them."""


class MemoryTokens:
    """Keeps tokens as long as the process lives."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._lock = ForkLock()

    def load(self) -> Tokens | None:
        """What was saved last."""
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        """Keep these; None forgets them."""
        self._tokens = tokens

    def exclusive(self) -> AbstractContextManager[None]:
        """No other thread with this store saves inside; the one that is inside may enter again."""
        return self._lock


def expiry_of(jwt: str) -> float | None:
    """When a JWT says that it expires, in seconds since 1970. Nothing is verified; None where it does not say."""
    return _number(claims_of(jwt).get("exp"))


def claims_of(jwt: str) -> Mapping[str, Any]:
    """The claims of a JWT, unverified: good for planning a refresh, for nothing else. Empty for anything else."""
    parts = jwt.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def brand_of(jwt: str) -> str | None:
    """The id of the brand that a JWT says it is for. Nothing is verified; None where it does not say."""
    audience = claims_of(jwt).get("aud")
    return audience.removeprefix(AUDIENCE) if isinstance(audience, str) and audience.startswith(AUDIENCE) else None


def _number(value: object) -> float | None:
    """A time as a number; what comes of a browser's cookie may be anything."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_FAR < value < _FAR:
        return None
    return float(value)


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
