"""What the SDK may lean on."""

from __future__ import annotations

import ast
import inspect
import sys
import tomllib
from collections.abc import Iterator

import pytest

import keystead_client
from keystead_client import AsyncClient, AsyncEntity, Client, Entity
from tests.house_rules.source import ROOT, Module, modules

SDK = "sdk/src/keystead_client"
ALLOWED = {*sys.stdlib_module_names, "httpx", "keystead_client"}
# Doors that only who has the framework opens; nothing else may import these modules.
OPTIONAL = {
    "fastapi.py": {"fastapi", "starlette"},
    "starlette.py": {"starlette"},
    "wsgi/flask.py": {"flask"},
    "wsgi/django.py": {"django"},
}
JOSE = "joserfc"


def inside(module: Module) -> str:
    """Where in the package it stands: ``wsgi/flask.py``."""
    return module.path.relative_to(SDK).as_posix()


def imported(module: Module) -> Iterator[str]:
    """The top-level packages that a module imports, wherever in it."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0] if node.level == 0 else "a relative import"


@pytest.mark.parametrize("module", [pytest.param(module, id=inside(module)) for module in modules(SDK)])
def test_the_sdk_leans_on_httpx_and_nothing_else(module: Module) -> None:
    allowed = ALLOWED | OPTIONAL.get(inside(module), set()) | {JOSE}
    assert set(imported(module)) - allowed == set()


def test_joserfc_is_asked_for_by_the_offline_verifier_alone() -> None:
    using = {inside(module) for module in modules(SDK) if JOSE in imported(module)}
    reached = {"__init__.py", "client.py", "async_client.py", "_session.py", "_protocol.py", "middleware.py"}
    assert using & reached == set()


def test_what_an_extra_brings_is_imported_by_no_other_module() -> None:
    """Importing the package, or ``keystead_client.wsgi``, must not ask for a framework."""
    doors = {f"keystead_client.{path.removesuffix('.py').replace('/', '.')}" for path in OPTIONAL}
    opening = {
        inside(module)
        for module in modules(SDK)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        and doors & {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    }
    assert opening == set()


def test_the_one_dependency() -> None:
    project = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text("utf-8"))["project"]
    assert [text.split(">")[0] for text in project["dependencies"]] == ["httpx"]


def test_it_says_that_it_is_typed() -> None:
    assert (ROOT / SDK / "py.typed").exists()


@pytest.mark.parametrize(("waiting", "threaded"), [(AsyncClient, Client), (AsyncEntity, Entity)])
def test_both_clients_offer_the_same(waiting: type, threaded: type) -> None:
    assert offered(waiting) == offered(threaded)


def offered(cls: type) -> dict[str, str]:
    """Each public method with its parameters."""
    methods = inspect.getmembers(cls, inspect.isfunction)
    return {
        name: str(inspect.signature(method)).replace("Async", "")
        for name, method in methods
        if not name.startswith("_")
    }


MOST_MODULES = 27
MOST_LINES = 4_400


def test_the_sdk_stays_small() -> None:
    assert len(list(modules(SDK))) <= MOST_MODULES
    assert sum(module.text.count("\n") for module in modules(SDK)) <= MOST_LINES


def test_a_module_without_public_names_is_private() -> None:
    """Public names are those in ``__all__``; those of the package itself are defined in modules of their own."""
    package = {getattr(keystead_client, name).__module__ for name in keystead_client.__all__ if name[0].isupper()}
    public = {
        inside(module)
        for module in modules(SDK)
        if not any(part.startswith("_") for part in module.path.with_suffix("").parts[-2:] if part != "__init__")
    }
    declared = {inside(module) for module in modules(SDK) if "\n__all__ = " in module.text}
    homes = {f"{name.partition('.')[2].replace('.', '/')}.py" for name in package if hasattr(name, "partition")}
    assert public - declared - homes == set()


def _annotations(module: Module) -> Iterator[tuple[str, ast.expr]]:
    """Of the public functions, and of the public methods of public classes."""
    for outer in module.tree.body:
        inner = outer.body if isinstance(outer, ast.ClassDef) else [outer]
        if getattr(outer, "name", "_").startswith("_"):
            continue
        for node in inner:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("_") and node.name != "__init__":
                    continue
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.kwarg]
                yield from ((node.name, one.annotation) for one in given if one is not None and one.annotation)
                if node.returns:
                    yield node.name, node.returns


def test_a_public_signature_names_no_private_class() -> None:
    bad = []
    for module in modules(SDK):
        if module.path.name.startswith("_") and module.path.name != "__init__.py":
            continue
        private = {
            alias.asname or alias.name
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom) and "._" in (node.module or "")
            for alias in node.names
        }
        bad += [
            f"{inside(module)} {function} {name.id}"
            for function, annotation in _annotations(module)
            for name in ast.walk(annotation)
            if isinstance(name, ast.Name) and (name.id in private or name.id.startswith("_"))
        ]
    assert bad == []
