"""docs/sdk.md names what is public in the SDK: all of it, and nothing else."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from typing import Any

import pytest

from tests.house_rules.source import CLIENT_PACKAGE, page

_HEADING = re.compile(r"^### `(keystead_client[\w.]*)`$", re.MULTILINE)
_FIRST_CELL = re.compile(r"^\| (`[^|]*`) \|", re.MULTILINE)
_NAME = re.compile(r"`(\w+)[^`]*`")


def sections() -> dict[str, str]:
    """Module -> what the page says below its heading, up to the next one."""
    _, *parts = _HEADING.split(page("sdk.md"))
    texts = [re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0] for text in parts[1::2]]
    return dict(zip(parts[::2], texts, strict=True))


def named(text: str) -> list[str]:
    """The names in the first column of the tables."""
    return sorted(name for cell in _FIRST_CELL.findall(text) for name in _NAME.findall(cell))


def module_of(name: str) -> Any:
    return import_module(name)


@pytest.mark.parametrize(("module", "text"), [pytest.param(*item, id=item[0]) for item in sections().items()])
def test_the_page_holds_each_public_name_and_no_other(module: str, text: str) -> None:
    assert named(text) == sorted(module_of(module).__all__)


@pytest.mark.parametrize("module", sections())
def test_each_public_name_exists(module: str) -> None:
    found = module_of(module)
    assert [name for name in found.__all__ if not hasattr(found, name)] == []


def test_each_member_of_a_public_class_is_on_the_page() -> None:
    """Of the classes that programs use; those of errors and of the middleware have tables of their own."""
    package = module_of("keystead_client")
    classes = [cls for cls in map(package.__dict__.get, package.__all__) if isinstance(cls, type)]
    members = {
        f"{cls.__name__}.{name}"
        for cls in classes
        for name in (attribute for base in cls.__mro__ if base.__module__ != "builtins" for attribute in vars(base))
        if not name.startswith("_") and not issubclass(cls, Exception)
    }
    assert "Client.url" in members
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", page("sdk.md")))))
    assert sorted(member for member in members if member.partition(".")[2] not in told) == []


def test_every_module_that_declares_public_names_is_on_the_page() -> None:
    """``__all__`` is the declaration; a module without one is internal."""
    declaring = {
        ".".join(("keystead_client", *path.relative_to(CLIENT_PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in CLIENT_PACKAGE.rglob("*.py")
        if re.search(r"^__all__", path.read_text("utf-8"), re.MULTILINE)
    }
    assert declaring == set(sections())


def test_the_examples_are_python() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", page("sdk.md") + page("sdk-web.md"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    imported = [
        (node.module, alias.name)
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("keystead_client")
        for alias in node.names
    ]
    assert imported
    # A submodule is imported like a name of the package: `from keystead_client import auth`.
    public = {(module, name) for module in sections() for name in module_of(module).__all__}
    public |= {("keystead_client", module.partition(".")[2]) for module in sections()}
    assert [pair for pair in imported if pair not in public] == []
