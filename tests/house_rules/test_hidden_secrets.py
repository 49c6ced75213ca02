"""Nothing that holds a secret shows it in ``repr``: that is how secrets get into logs and crash reports."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import keystead
import keystead_client

TELLING = ("password", "secret", "digest", "hash", "token", "private", "master_key", "query", "variables", "as_read")
HARMLESS = {"token_id", "master_key_file"}
"""An id, and a path."""
PLAIN = ("str", "bytes", "dict")


def classes() -> Iterator[type[Any]]:
    server = pkgutil.walk_packages(keystead.__path__, "keystead.")
    client = pkgutil.walk_packages(keystead_client.__path__, "keystead_client.")
    for module in (*server, *client):
        # What the demo makes it prints, since that is what it is for.
        if ".migrations" in module.name or ".demo" in module.name or module.name.endswith("__main__"):
            continue
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and value.__module__ == module.name:
                yield value


def shown(cls: type[Any]) -> Iterator[tuple[str, str]]:
    """Name and type of each field that ``repr`` shows."""
    if dataclasses.is_dataclass(cls):
        yield from ((field.name, str(field.type)) for field in dataclasses.fields(cls) if field.repr)
    elif hasattr(cls, "__struct_fields__"):
        yield from ((name, str(cls.__annotations__.get(name, ""))) for name in cls.__struct_fields__)


def test_no_plain_field_of_a_telling_name_is_shown() -> None:
    found = {
        f"{cls.__module__}.{cls.__name__}.{name}"
        for cls in classes()
        for name, type_ in shown(cls)
        if any(word in name for word in TELLING) and name not in HARMLESS and type_.startswith(PLAIN)
    }
    assert found == set()
