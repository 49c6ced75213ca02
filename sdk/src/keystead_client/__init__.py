"""The Python client of Keystead: log in, stay logged in, read and write records."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from keystead_client.async_client import AsyncClient
from keystead_client.client import Client
from keystead_client.entities import AsyncEntity, Entity, Page, Select
from keystead_client.errors import KeysteadError, NetworkError, NotAuthenticated
from keystead_client.tokens import FileTokens, Kind, MemoryTokens, Tokens, TokenStore

__all__ = [
    "AsyncClient",
    "AsyncEntity",
    "Client",
    "Entity",
    "FileTokens",
    "KeysteadError",
    "Kind",
    "MemoryTokens",
    "NetworkError",
    "NotAuthenticated",
    "Page",
    "Select",
    "TokenStore",
    "Tokens",
    "__version__",
]

try:
    __version__ = version("keystead-client")
except PackageNotFoundError:
    # The files alone, copied or frozen into a program.
    __version__ = "unknown"
