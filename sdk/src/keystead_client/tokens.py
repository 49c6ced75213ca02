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
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Kind: TypeAlias = Literal["pair", "standing"]
"""The kind of a session."""

AUDIENCE: Final = "urn:keystead:brand:"
"""The prefix of an access token's ``aud``; the id of the brand follows."""
_FAR = 1e15
_LEFT_OVER = 60.0
"""Seconds after which a temporary file is certainly no longer being written."""
_LOCK_ATTEMPTS = 100
_LOCK_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one session; hidden in ``repr``.

    A *pair* session gets a new refresh token with every refresh; a *standing* session keeps its own.
    """

    auth_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    kind: Kind = "pair"
    previous_refresh_token: str | None = field(default=None, repr=False)
    """The replaced refresh token, until the new tokens have worked once."""

    @property
    def expires_at(self) -> float | None:
        """When the access token expires, in seconds since 1970 (unverified); None where it does not say."""
        return _number(claims_of(self.auth_token).get("exp"))

    @property
    def issued_at(self) -> float | None:
        """When the access token was issued, in seconds since 1970 (unverified); None where it does not say."""
        return _number(claims_of(self.auth_token).get("iat"))

    def is_fresh(self, now: float, buffer: float) -> bool:
        """Whether the access token is valid for longer than ``buffer`` seconds.

        A token with a lifetime under twice the buffer is fresh in the first half of it. One without an expiry is fresh
        until the server rejects it.
        """
        if self.auth_token is None:
            return False
        expires, issued = self.expires_at, self.issued_at
        if expires is None:
            return True
        if issued is not None:
            buffer = min(buffer, (expires - issued) / 2)
        return expires - now > buffer


class TokenStore(Protocol):
    """Keeps the tokens of one session. Both methods may be called from any thread, and must be quick.

    A store shared by processes may have a third method, ``exclusive()``: a context manager inside which no other
    process saves, so that tokens are compared and replaced atomically. No method may call the client.
    """

    def load(self) -> Tokens | None:
        """What was last saved."""

    def save(self, tokens: Tokens | None) -> None:
        """Save these tokens; None removes them."""


class MemoryTokens:
    """Keeps tokens in memory, for the life of the process."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._lock = threading.RLock()

    def load(self) -> Tokens | None:
        """What was last saved."""
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        """Save these tokens; None removes them."""
        self._tokens = tokens

    def exclusive(self) -> AbstractContextManager[object]:
        """Keep other threads that use this store from saving."""
        return self._lock


class FileTokens:
    """Keeps tokens in a file that only its owner can read (0600), replaced atomically. ``~`` is the home directory.

    Anything else in the file counts as no tokens. The constructor checks the directory: a login whose tokens cannot be
    saved would leave an orphaned session on the server.

    :raises OSError: the file cannot be read or written, or its directory is missing.
    :raises PermissionError: the file belongs to another user or is open to others, who could have planted a session.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser()
        folder = self._path.parent
        if self._path.is_dir():
            raise IsADirectoryError(f"{self._path}: is a directory; tokens are kept in a file")
        if not folder.is_dir():
            raise FileNotFoundError(f"{self._path}: there is no directory {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{self._path}: the directory {folder} cannot be written to")

    def load(self) -> Tokens | None:
        """What was last saved, by this process or another."""
        try:
            with open(self._path, encoding="utf-8", opener=_open_without_waiting) as file:
                found = os.fstat(file.fileno())
                if not _is_private(found):
                    raise PermissionError(f"{self._path}: must be your own file, closed to others (chmod 600)")
                saved = json.load(file) if stat.S_ISREG(found.st_mode) else None
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        if not isinstance(saved, dict) or saved.get("kind") not in ("pair", "standing"):
            return None
        texts = [saved.get(name) for name in ("auth_token", "refresh_token", "previous_refresh_token")]
        auth, refresh, previous = (text if isinstance(text, str) else None for text in texts)
        return Tokens(auth, refresh, saved["kind"], previous)

    def save(self, tokens: Tokens | None) -> None:
        """Save these tokens; None removes the file."""
        self._remove_left_over()
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        names = ("kind", "auth_token", "refresh_token", "previous_refresh_token")
        # A temporary file is 0600 from its creation, and the rename is atomic.
        descriptor, temporary = tempfile.mkstemp(".new", f"{self._path.name}.", self._path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({name: getattr(tokens, name) for name in names}, file)
                file.flush()
                # The replaced tokens are soon worth nothing: a crash must not leave an empty file.
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from saving, by ``flock`` on ``<path>.lock``.

        Waits one second at most, since the owner may have been stopped; then, or without file locks, goes unlocked.
        """
        descriptor = None
        try:
            with suppress(OSError):
                if fcntl is not None:
                    descriptor = _open_without_waiting(f"{self._path}.lock", os.O_RDWR | os.O_CREAT)
                    _lock(descriptor)
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _remove_left_over(self) -> None:
        """Delete the temporary files, which hold tokens, of processes that were killed while saving."""
        with suppress(OSError):
            for left in self._path.parent.glob(f"{glob.escape(self._path.name)}.*.new"):
                if left.lstat().st_mtime < time.time() - _LEFT_OVER:
                    left.unlink()


def store_of(tokens: TokenStore | Tokens | None) -> TokenStore:
    """The store itself, or a new one in memory with these tokens.

    :raises TypeError: neither a store nor tokens.
    """
    if tokens is None or isinstance(tokens, Tokens):
        return MemoryTokens(tokens)
    is_store = callable(getattr(tokens, "load", None)) and callable(getattr(tokens, "save", None))
    if not is_store or isinstance(tokens, type):
        raise TypeError(f"tokens: a store such as FileTokens(path), or Tokens, not {type(tokens).__name__}")
    return tokens


def claims_of(jwt: str | None) -> Mapping[str, Any]:
    """The claims of a JWT, unverified: for planning a refresh and nothing else. Empty for anything else."""
    parts = (jwt or "").split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def brand_of(jwt: str) -> str | None:
    """The id of the brand in a JWT's audience, unverified; None where it names none."""
    audience = claims_of(jwt).get("aud")
    return audience.removeprefix(AUDIENCE) if isinstance(audience, str) and audience.startswith(AUDIENCE) else None


def _number(value: object) -> float | None:
    """A time as a number; a cookie may hold anything."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_FAR < value < _FAR:
        return None
    return float(value)


def _lock(descriptor: int) -> None:
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE)
        else:
            return


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a FIFO in its place does not block."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0), 0o600)


def _is_private(found: os.stat_result) -> bool:
    # Windows has no such modes: there a file is as open as its directory.
    return os.name != "posix" or (found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o077)
