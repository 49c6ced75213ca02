"""The master key, and every other key derived from it: HKDF-SHA256 (RFC 5869), one purpose each.

The installation has one master key. The database stores only a check value derived from it, so that a process with
another master key stops before it writes anything that the others cannot decrypt.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keystead.errors import SettingsError, StartupError
from keystead.settings import Settings
from keystead.settings.database_url import sqlite_path

SHORTEST = 32
FEWEST_BYTE_VALUES = 8
"""Distinct bytes in a master key: 32 random hexadecimal digits have fewer less than once in 20 million."""
PLACEHOLDERS = frozenset(
    b"a admin app asdf asdfghjkl be bytes change changed changeme characters compose config default demo dev"
    b" development do docker dummy env environment example fake file fixme for generate generated here in insecure it"
    b" keep key keystead letmein local localhost long master me must my never not only passphrase passwd password"
    b" please placeholder prod production qwerty qwertyuiop random replace replaced root safe sample secret server"
    b" staging string super supersecret temp test testing the this to todo token unsafe use value very with your"
    b" zxcvbnm".split()
)
"""Words of placeholders, which do not count towards a key."""
_LONGEST_WORD = max(map(len, PLACEHOLDERS))
MOST_LOOKED_AT = 4096
KNOWN = frozenset(
    (
        b"d41d8cd98f00b204e9800998ecf8427e",
        b"da39a3ee5e6b4b0d3255bfef95601890afd80709",
        b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    )
)
"""Digests of empty input, which scripts print whose source of randomness failed."""
GUESSABLE_ADVICE = (
    "an attacker who guesses it can sign access tokens. Do not replace the key of an existing database, which no other"
    " key decrypts: move its users to a new installation, with a key from: openssl rand -base64 32"
)
KEY_FILE_SUFFIX = ".master-key"
_CHECK_PURPOSE = "check-value"


class MasterKey:
    """The key that all others are derived from. Hidden in ``repr``, rejected by ``pickle``."""

    __slots__ = ("_material", "origin")

    def __init__(self, material: bytes, origin: str = "KEYSTEAD_MASTER_KEY") -> None:
        """Use :meth:`from_text` for external input."""
        self._material = material
        self.origin = origin
        """The setting or file that it was read from."""

    @classmethod
    def from_text(cls, text: bytes, *, origin: str = "KEYSTEAD_MASTER_KEY") -> MasterKey:
        """The key that an operator set, without trailing white space.

        :raises SettingsError: when it has fewer than 32 bytes; names ``origin``.
        """
        material = text.rstrip()
        if len(material) < SHORTEST:
            raise SettingsError(
                f"{origin}: the master key must be at least {SHORTEST} bytes long, white space at its end not counted"
            )
        return cls(material, origin)

    @property
    def is_guessable(self) -> bool:
        """Whether it is too easy to guess for a new installation."""
        return is_guessable(self._material)

    def derive(self, purpose: str, length: int = 32) -> bytes:
        """Derive ``length`` bytes for one ``purpose``; those of different purposes are independent."""
        return HKDF(SHA256(), length, salt=None, info=b"keystead/" + purpose.encode()).derive(self._material)

    def check_value(self) -> str:
        """64 hexadecimal digits that identify the master key without revealing it."""
        return self.derive(_CHECK_PURPOSE).hex()

    def __repr__(self) -> str:
        return "MasterKey(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master key cannot be serialized")


def load_master_key(settings: Settings) -> MasterKey:
    """Load the master key of this installation.

    From ``KEYSTEAD_MASTER_KEY`` or its ``_FILE``; otherwise, with SQLite, from a file beside the database that is
    created on first use.

    :raises SettingsError: when it is set twice, missing (PostgreSQL), unreadable or too short.
    :raises StartupError: when the file beside the database is readable by others or cannot be created.
    """
    if settings.master_key is not None and settings.master_key_file is not None:
        raise SettingsError("KEYSTEAD_MASTER_KEY: set it or KEYSTEAD_MASTER_KEY_FILE, not both")
    if settings.master_key is not None:
        return MasterKey.from_text(os.fsencode(settings.master_key))
    if settings.master_key_file is not None:
        return _from_named_file(Path(settings.master_key_file))
    path = key_file_beside(settings.database_url)
    if path is None:
        raise SettingsError("KEYSTEAD_MASTER_KEY: required with PostgreSQL (try: openssl rand -base64 32)")
    return _from_own_file(path)


def is_guessable(material: bytes) -> bool:
    """Whether a master key has too little variety (few distinct bytes, a repetition, a sequence) or is a placeholder.

    The same rules apply to the rest without words of placeholders. Random bytes pass, and random keys in hexadecimal,
    base64, or letters and digits; of 32 random decimal digits, one key in 700 does not.
    """
    material = material[:MOST_LOOKED_AT]
    return material in KNOWN or _is_uniform(material) or _is_uniform(b"".join(_unusual_parts(material)))


def _is_uniform(material: bytes) -> bool:
    if len(set(material)) < FEWEST_BYTE_VALUES:
        return True
    half = len(material) // 2
    if any(material[period:] == material[:-period] for period in range(1, half + 1)):
        return True
    steps = sum(abs(later - earlier) <= 1 for earlier, later in pairwise(material))
    return steps > 0.75 * len(material)


def _unusual_parts(material: bytes) -> Iterator[bytes]:
    """The runs of letters that are not words of placeholders, and all other bytes but separators."""
    for is_word, run in groupby(material, key=lambda byte: chr(byte).isalpha() and byte < 128):
        part = bytes(run)
        if not is_word:
            yield part.translate(None, b" \t-_.,:;/+=!?'\"")
        elif not _is_placeholder(part.lower()):
            yield part


def _is_placeholder(letters: bytes) -> bool:
    """Whether ``letters`` is a concatenation of words of placeholders."""
    ends = {0}
    for end in range(1, len(letters) + 1):
        starts = ends.intersection(range(end - _LONGEST_WORD, end))
        if any(letters[start:end] in PLACEHOLDERS for start in starts):
            ends.add(end)
    return len(letters) in ends


def missing_key_file(settings: Settings) -> Path | None:
    """The file that :func:`load_master_key` would create; None when it would not."""
    path = key_file_beside(settings.database_url)
    is_set = settings.master_key is not None or settings.master_key_file is not None
    return None if path is None or is_set or path.exists() else path


def key_file_beside(database_url: str) -> Path | None:
    """The file of a SQLite database's master key when none is set; None for other databases."""
    path = sqlite_path(database_url)
    return None if path is None else Path(path + KEY_FILE_SUFFIX)


def _from_named_file(path: Path) -> MasterKey:
    # Permissions are not checked: secrets are often mounted readable. `doctor` warns.
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"KEYSTEAD_MASTER_KEY_FILE: cannot read {path}: {error.strerror}") from None
    return MasterKey.from_text(text, origin="KEYSTEAD_MASTER_KEY_FILE")


def _from_own_file(path: Path) -> MasterKey:
    try:
        if not path.exists():
            _write_new(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_bytes()
    except OSError as error:
        raise StartupError(f"cannot read or make the master key file {path}: {error.strerror}") from None
    if mode & 0o077:
        raise StartupError(f"the master key file {path} can be read by others: run chmod 600 {path}")
    return MasterKey.from_text(text, origin=str(path))


def _write_new(path: Path) -> None:
    """Create the file atomically: workers that start concurrently all get the first one's key."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
