"""The demo's secrets, in a file of its owner's alone, so that a second start prints the same."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from keystead.errors import StartupError


@dataclass
class Keepsake:
    """What is kept from one start to the next. Empty text: not made yet."""

    email: str = "luna@rainbowmakers.example"
    password: str = ""
    brand_id: str = ""
    brand_token: str = ""
    api_key: str = ""
    api_key_id: str = ""
    customer_id: str = ""
    auth_token: str = ""
    standing_refresh_token: str = ""
    standing_access_token: str = ""
    newcomer_refresh_token: str = ""
    newcomer_access_token: str = ""

    @classmethod
    def read(cls, path: Path) -> Keepsake:
        """What ``path`` holds; of a missing or damaged file nothing is left, and everything is made anew."""
        known = {field.name for field in fields(cls)}
        with suppress(OSError, ValueError, AttributeError):
            kept = json.loads(path.read_text("utf-8")).items()
            return cls(**{name: value for name, value in kept if name in known and isinstance(value, str)})
        return cls()

    def write(self, path: Path) -> None:
        """Replaces the file, which its owner alone can read.

        :raises StartupError: when it cannot be written.
        """
        _replace(path, json.dumps(asdict(self), indent=2) + "\n")

    def variables(self) -> dict[str, str]:
        """The access tokens, which are long, and the names that they have in a shell: value -> name."""
        return {self.auth_token: "AUTH", self.standing_access_token: "STANDING", self.newcomer_access_token: "NEWCOMER"}

    def write_variables(self, path: Path) -> None:
        """Replaces the file that sets these variables in a POSIX shell. Its owner alone can read it, too.

        :raises StartupError: when it cannot be written.
        """
        lines = [f"{name}={value}\n" for value, name in self.variables().items()]
        _replace(path, "".join(["# The access tokens in the requests that keystead demo prints.\n", *lines]))


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    try:
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise StartupError(f"cannot write {path}: {error.strerror}") from None
