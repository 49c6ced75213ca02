"""What the SDK may lean on."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module

import pytest

import keystead_client
from keystead_client import AsyncClient, AsyncEntity, Client, Entity
from tests.house_rules.source import ROOT, Module, modules, nodes

SDK = "sdk/src/keystead_client"
ALLOWED = {*sys.stdlib_module_names, "httpx", "keystead_client"}
# Doors that only who has the framework opens; nothing else may import these modules.
OPTIONAL = {"fastapi.py": {"fastapi", "starlette"}, "wsgi/flask.py": {"flask"}, "wsgi/django.py": {"django"}}
JOSE = "joserfc"


def inside(module: Module) -> str:
    """Where in the package it stands: ``wsgi/flask.py``."""
    return module.path.relative_to(SDK).as_posix()


@pytest.mark.parametrize("module", [pytest.param(module, id=inside(module)) for module in modules(SDK)])
def test_the_sdk_leans_on_httpx_and_nothing_else(module: Module) -> None:
    allowed = ALLOWED | OPTIONAL.get(inside(module), set()) | {JOSE}
    assert {name.split(".")[0] for name in module.imported()} - allowed == set()


def test_joserfc_is_asked_for_by_the_offline_verifier_alone() -> None:
    using = {inside(module) for module in modules(SDK) if JOSE in {name.split(".")[0] for name in module.imported()}}
    reached = {"__init__.py", "client.py", "async_client.py", "_session.py", "_protocol.py", "middleware.py"}
    assert using & reached == set()


def test_what_an_extra_brings_is_imported_by_no_other_module() -> None:
    """Importing the package, or ``keystead_client.wsgi``, must not ask for a framework."""
    doors = {f"keystead_client.{path.removesuffix('.py').replace('/', '.')}" for path in OPTIONAL}
    opening = {
        inside(module)
        for module, node in nodes(SDK, ast.ImportFrom)
        if doors & {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    }
    assert opening == set()


def test_the_one_dependency() -> None:
    project = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text("utf-8"))["project"]
    assert [text.split(">")[0] for text in project["dependencies"]] == ["httpx"]


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
MOST_LINES = 4_489


def test_the_sdk_stays_small() -> None:
    assert len(list(modules(SDK))) <= MOST_MODULES
    assert sum(module.text.count("\n") for module in modules(SDK)) <= MOST_LINES


def _public(module: Module) -> set[str]:
    """The names in its ``__all__``."""
    found = re.search(r"^__all__ = (\[.*?\])", module.text, re.MULTILINE | re.DOTALL)
    return set(ast.literal_eval(found[1])) if found else set()


def _is_private(module: Module) -> bool:
    return module.path.name.startswith("_") and module.path.name != "__init__.py"


def _imported_from(module: Module) -> Iterator[tuple[str, str]]:
    """Module and name of each ``from ... import``."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_a_module_without_public_names_is_private() -> None:
    """A public module declares ``__all__``, or defines what its package exports."""
    every = list(modules(SDK))
    exported = {
        origin for module in every if inside(module).endswith("__init__.py") for origin, _ in _imported_from(module)
    }
    assert [
        inside(module)
        for module in every
        if not (
            _is_private(module)
            or _public(module)
            or f"keystead_client.{inside(module).removesuffix('.py').replace('/', '.')}" in exported
        )
    ] == []


def _annotations(body: list[ast.stmt], public: set[str]) -> Iterator[ast.expr]:
    """Of the public functions, and of the public methods of public classes."""
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name in public:
            methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
            yield from _annotations(node.body, {name for name in methods if name == "__init__" or name[0] != "_"})
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in public:
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.kwarg]
            yield from (one.annotation for one in given if one is not None and one.annotation)
            yield from [node.returns] if node.returns else []


def test_a_public_signature_names_no_private_class() -> None:
    bad = []
    exported = set(keystead_client.__all__)
    for module in modules(SDK):
        if _is_private(module):
            continue
        private = {
            name
            for origin, name in _imported_from(module)
            if "._" in origin and isinstance(getattr(import_module(origin), name), type)
        }
        annotations = _annotations(module.tree.body, _public(module) or exported)
        names = {name.id for one in annotations for name in ast.walk(one) if isinstance(name, ast.Name)}
        bad += [f"{inside(module)} {name}" for name in names if name in private or name.startswith("_")]
    assert bad == []
