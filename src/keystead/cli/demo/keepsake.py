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
        draft = path.with_suffix(".new")
        try:
            draft.unlink(missing_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file, indent=2)
                file.write("\n")
            draft.replace(path)
        except OSError as error:
            raise StartupError(f"cannot write {path}: {error.strerror}") from None
