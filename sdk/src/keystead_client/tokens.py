"""The tokens of a session, and the stores that keep them."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

from keystead_client.errors import Unauthenticated

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Kind: TypeAlias = Literal["pair", "standing"]
"""The kind of a session."""

AUDIENCE: Final = "urn:keystead:brand:"
"""The prefix of an access token's ``aud``; the id of the brand follows."""


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
        expires, issued = self.expires_at, self.issued_at
        if expires is None:
            return self.auth_token is not None
        if issued is not None:
            buffer = min(buffer, (expires - issued) / 2)
        return expires - now > buffer


class TokenStore(Protocol):
    """Keeps the tokens of one session. Its methods are called from any thread, and must not call the client.

    A store shared by processes may have a third method, ``exclusive()``: a context manager inside which no other
    process saves, so that tokens are compared and replaced atomically.
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

    Anything else in the file counts as no tokens.

    :raises OSError: the file cannot be read or written, or its directory is missing.
    :raises PermissionError: the file belongs to another user or is open to others, who could have planted a session.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser()
        if self._path.is_dir():
            raise IsADirectoryError(f"{self._path}: is a directory; tokens are kept in a file")
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"{self._path}: there is no directory {self._path.parent}")
        if not os.access(self._path.parent, os.W_OK | os.X_OK):
            raise PermissionError(f"{self._path}: the directory {self._path.parent} cannot be written to")

    def load(self) -> Tokens | None:
        """What was last saved, by this process or another."""
        try:
            with open(self._path, encoding="utf-8") as file:
                found = os.fstat(file.fileno())
                # Windows has no such modes: there a file is as open as its directory.
                if os.name == "posix" and (found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o077):
                    raise PermissionError(f"{self._path}: must be your own file, closed to others (chmod 600)")
                saved = json.load(file)
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        if not isinstance(saved, dict) or saved.get("kind") not in ("pair", "standing"):
            return None
        texts = [saved.get(name) for name in ("auth_token", "refresh_token", "previous_refresh_token")]
        auth, refresh, previous = (text if isinstance(text, str) else None for text in texts)
        return Tokens(auth, refresh, saved["kind"], previous)

    def save(self, tokens: Tokens | None) -> None:
        """Save these tokens; None removes the file."""
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        # A temporary file is 0600 from its creation, and the rename is atomic.
        descriptor, temporary = tempfile.mkstemp(".new", f"{self._path.name}.", self._path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(tokens), file)
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
        with ExitStack() as stack:
            with suppress(OSError, AttributeError):  # the disk is full, or has no locks; no fcntl
                lock = stack.enter_context(open(f"{self._path}.lock", "ab", opener=partial(os.open, mode=0o600)))
                for _ in range(100):
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        time.sleep(0.01)
            yield


LOST = Tokens(None, None)
"""Saved for a session that was lost, so that the client's own key does not act in its place, in the next run either."""


class TokenState:
    """The tokens of at most one session, in a store to which other processes may write, too. Thread-safe."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._exclusive: Callable[[], AbstractContextManager[object]] = getattr(store, "exclusive", nullcontext)
        self._had_tokens = False
        # What the store holds, and the tokens that could not be saved in its place.
        self._unsaved: tuple[Tokens | None, Tokens] | None = None

    def load(self) -> Tokens | None:
        """The current tokens; None without a session."""
        tokens = self._load()
        return None if tokens == LOST else tokens

    def current(self) -> Tokens | None:
        """The current tokens; None if there never was a session, or it was logged out here.

        :raises Unauthenticated: the session was lost, or ended by another process with the same store.
        """
        with self._lock:
            tokens = self._load()
            if tokens == LOST or (tokens is None and self._had_tokens):
                raise no_session()
            self._had_tokens = tokens is not None
            return tokens

    def start(self, tokens: Tokens | None) -> None:
        """Replace the session by another; None: by no session."""
        with self._exclusive(), self._lock:
            self._save(tokens)

    def clear(self, tokens: Tokens | None) -> None:
        """End the session of ``tokens``, unless another session has been started since."""
        with self._exclusive(), self._lock:
            current = self.load()
            if current is None or (tokens is not None and is_same_session(tokens, current)):
                self._save(None)

    def compare_and_swap(self, expected: Tokens, new: Tokens, *, must_save: bool = True) -> bool:
        """Replace ``expected`` by ``new``; False if it was not current.

        :param must_save: False: keep ``new`` in memory if the store fails, as the server has replaced the old tokens.
        """
        with self._exclusive(), self._lock:
            saved = self._read()
            if self._load() != expected:
                return False
            try:
                self._save(new)
            except Exception:
                if must_save:
                    raise
                self._unsaved = saved, new
            return True

    def lose(self, tokens: Tokens) -> None:
        """The server has ended the session of ``tokens``."""
        current = self._load()
        while current is not None and current.refresh_token == tokens.refresh_token:
            if self.compare_and_swap(current, LOST, must_save=False):
                return
            current = self._load()

    def _save(self, tokens: Tokens | None) -> None:
        self._store.save(tokens)
        self._unsaved, self._had_tokens = None, tokens is not None

    def _load(self) -> Tokens | None:
        tokens, unsaved = self._read(), self._unsaved
        return unsaved[1] if unsaved and unsaved[0] == tokens else tokens

    def _read(self) -> Tokens | None:
        tokens = self._store.load()
        # An empty text would be sent as no token at all, and the request go out with the client's own key.
        return tokens and replace(
            tokens, auth_token=tokens.auth_token or None, refresh_token=tokens.refresh_token or None
        )


def is_same_session(one: Tokens, other: Tokens) -> bool:
    """Whether two sets of tokens belong to one session: by refresh token, else by the access tokens' ``sid``."""
    if one.refresh_token is not None and one.refresh_token in (other.refresh_token, other.previous_refresh_token):
        return True
    sids = [claims_of(tokens.auth_token).get("sid") for tokens in (one, other)]
    return sids[0] is not None and sids[0] == sids[1]


def no_session() -> Unauthenticated:
    """What to raise where a session is needed."""
    return Unauthenticated("there is no session: log in")


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


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e15:
        return None
    return float(value)
