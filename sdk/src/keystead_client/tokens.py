"""The tokens of a session, and where they are kept."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

Kind = Literal["pair", "standing"]

_FAR = 1e15
_AUDIENCE = "urn:keystead:brand:"


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
    """Keeps the tokens of one session. Both methods may be called from any thread, and must be quick."""

    def load(self) -> Tokens | None:
        """What was saved last."""

    def save(self, tokens: Tokens | None) -> None:
        """Keep these; None forgets them."""


class MemoryTokens:
    """Keeps tokens as long as the process lives."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens

    def load(self) -> Tokens | None:
        """What was saved last."""
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        """Keep these; None forgets them."""
        self._tokens = tokens


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
            with self._path.open(encoding="utf-8") as file:
                _require_private(file, self._path)
                kept = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(kept, dict) or kept.get("kind") not in ("pair", "standing"):
            return None
        texts = [kept.get(name) for name in ("auth_token", "refresh_token", "previous_refresh_token")]
        auth, refresh, previous = (text if isinstance(text, str) else None for text in texts)
        return Tokens(auth, refresh, kept["kind"], previous)

    def save(self, tokens: Tokens | None) -> None:
        """Keep these; None removes the file."""
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
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(kept, file)
                file.flush()
                # The tokens before these are worth nothing soon: a crash must not leave an empty file.
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _require_place(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path}: tokens are kept in a file, and that is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: tokens cannot be kept there, for there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: tokens cannot be kept there, for {path.parent} cannot be written to")


def _require_private(file: TextIO, path: Path) -> None:
    # Windows has no such modes; there a file is as open as its folder.
    if os.name != "posix":
        return
    found = os.fstat(file.fileno())
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o077:
        raise PermissionError(f"{path}: tokens must be in a file of one's own that nobody else can read (chmod 600)")


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
    return audience.removeprefix(_AUDIENCE) if isinstance(audience, str) and audience.startswith(_AUDIENCE) else None


def _number(value: object) -> float | None:
    """A time as a number; what comes of a browser's cookie may be anything."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_FAR < value < _FAR:
        return None
    return float(value)
