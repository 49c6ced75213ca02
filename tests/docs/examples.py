"""Takes the examples out of the SDK's pages, and runs them."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from keystead.context import Server
from tests.api import listening
from tests.house_rules.source import page

EMAIL = "ann@example.com"
PASSWORD = "rainbow123"
ADDRESS = "https://id.example.com"


def examples(language: str = "python") -> list[str]:
    """All of them, as they stand."""
    text = page("sdk.md") + page("sdk-web.md")
    return [str(block) for block in re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def example(says: str, language: str = "python") -> str:
    """The one example that contains ``says``."""
    (found,) = [block for block in examples(language) if says in block]
    return found


def run(code: str, **given: object) -> dict[str, Any]:
    """The names that the code leaves; it begins with those that are given. A module, since Strawberry looks for one."""
    module = sys.modules["sdk_example"] = ModuleType("sdk_example")
    vars(module).update(given)
    exec(code, vars(module))
    return vars(module)


async def against(server: Server, act: Callable[[str], object]) -> None:
    """``act`` in a thread, with the address of the listening server."""
    async with listening(server.settings, server) as url:
        await asyncio.to_thread(act, url)
