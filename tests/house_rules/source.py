"""Where things stand in the repository, and its Python modules read as syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "keystead"
CLIENT_PACKAGE = ROOT / "sdk" / "src" / "keystead_client"
DOCS = ROOT / "docs"

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One Python file; ``path`` is relative to the repository."""

    path: Path
    text: str

    @property
    def tree(self) -> ast.Module:
        """The file as a syntax tree."""
        return ast.parse(self.text, filename=str(self.path))

    @property
    def slice(self) -> str:
        """The room of the house it stands in: ``users`` for src/keystead/users/store.py."""
        return self.path.relative_to("src/keystead").parts[0].removesuffix(".py")

    def imported(self) -> Iterator[str]:
        """What is imported, wherever in the file: dotted names; relative imports begin with a dot."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield "." * node.level + (node.module or "")

    def functions(self) -> Iterator[AnyFunction]:
        """Every function and method, however deep."""
        for node in ast.walk(self.tree):
            if isinstance(node, AnyFunction):
                yield node


@cache
def modules(folder: str) -> tuple[Module, ...]:
    """Every Python file below ``folder``."""
    return tuple(
        Module(path.relative_to(ROOT), path.read_text("utf-8")) for path in sorted((ROOT / folder).rglob("*.py"))
    )


_Node = TypeVar("_Node", bound=ast.AST)


def nodes(folder: str, *kinds: type[_Node]) -> Iterator[tuple[Module, _Node]]:
    """Every node of these kinds below ``folder``, with its module."""
    for module in modules(folder):
        yield from ((module, node) for node in ast.walk(module.tree) if isinstance(node, kinds))


def published() -> tuple[Module, ...]:
    """Every module of both distributions, the server and the client."""
    return modules("src") + modules("sdk/src")


def parameters(function: AnyFunction) -> list[str]:
    """The names of the parameters that may be given by position, without ``self``."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def page(name: str) -> str:
    """The text of one page of ``docs/``."""
    return (DOCS / name).read_text("utf-8")


def place(module: Module, node: ast.AST) -> str:
    """``path:line``, to be clicked in a failure."""
    return f"{module.path}:{getattr(node, 'lineno', 0)}"
