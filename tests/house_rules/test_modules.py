"""What every module of the product keeps to."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house_rules.source import CLIENT_PACKAGE, PACKAGE, ROOT, Module, modules, nodes, parameters, place, published

MOST_LINES = 300
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "manager", "data", "info", "process", "misc"}
CLOCK = "src/keystead/clock.py"
# Rows that are brands, or belong to the installation as a whole.
UNBRANDED_SLICES = {"brands", "installation"}


@pytest.mark.parametrize("module", [pytest.param(module, id=str(module.path)) for module in published()])
def test_a_module_is_short_and_says_what_it_is(module: Module) -> None:
    assert module.text.count("\n") <= MOST_LINES
    assert module.text == "" or ast.get_docstring(module.tree)


def test_no_name_is_vague() -> None:
    files = [str(module.path) for module in published() if VAGUE & set(module.path.with_suffix("").parts)]
    classes = [
        f"{place(module, node)} {node.name}"
        for module in published()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and VAGUE & {word.lower() for word in _words(node.name)}
    ]
    assert files + classes == []


def test_nothing_is_left_unfinished() -> None:
    unfinished = re.compile(r"NotImplementedError|TODO|FIXME|XXX")
    assert [str(module.path) for module in published() if unfinished.search(module.text)] == []


def test_a_function_takes_ctx_or_tx_and_never_both() -> None:
    assert [
        f"{place(module, function)} {function.name}"
        for module in modules("src")
        for function in module.functions()
        if {"ctx", "tx"} <= set(parameters(function))
    ] == []


def test_a_step_opens_no_transaction() -> None:
    assert [
        f"{place(module, function)} {function.name}"
        for module in modules("src")
        for function in module.functions()
        if "tx" in parameters(function)
        and any(isinstance(node, ast.Attribute) and node.attr == "transaction" for node in ast.walk(function))
    ] == []


def test_transactions_in_a_loop_are_slices() -> None:
    """Work that goes through many rows holds SQLite's only writer for milliseconds at a time (``db/slices.py``)."""
    others = {
        "src/keystead/db/interface.py": "the same work again, after the database undid it",
        "src/keystead/db/slices.py": "the slices themselves",
    }
    assert [
        place(module, loop)
        for module in modules("src")
        if str(module.path) not in others and "import SliceSize" not in module.text
        for loop in ast.walk(module.tree)
        if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
        and any(isinstance(node, ast.Attribute) and node.attr == "transaction" for node in ast.walk(loop))
    ] == []


def test_a_store_function_takes_the_brand_right_after_tx() -> None:
    """A lookup by digest cannot know the brand, its row does. A sweep says that it takes "every brand"."""
    assert [
        f"{place(module, function)} {function.name}"
        for module in modules("src")
        if module.path.name.endswith("store.py") and module.slice not in UNBRANDED_SLICES
        for function in module.functions()
        if (names := parameters(function))[:1] == ["tx"]
        and names[1:2] not in (["brand_id"], ["digest"], ["secret"])
        and "every brand" not in (ast.get_docstring(function) or "")
    ] == []


def test_the_clock_is_the_only_source_of_time() -> None:
    """Of the time of day, in whatever way it can be asked for; how long something takes is another matter."""
    readings = {
        "datetime": {"now", "utcnow", "today"},
        "date": {"today"},
        "time": {"time", "time_ns", "clock_gettime", "clock_gettime_ns", "localtime", "gmtime", "strftime", "ctime"},
        "utils": {"formatdate", "localtime", "make_msgid"},
        "func": {"now", "current_timestamp", "localtimestamp"},
    }
    assert [
        place(module, node)
        for module in modules("src")
        if str(module.path) != CLOCK
        for node in ast.walk(module.tree)
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.attr in readings.get(node.value.id, ())
        )
        or (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").rpartition(".")[2] in readings
            and {name.name for name in node.names} & readings[(node.module or "").rpartition(".")[2]]
        )
    ] == []


def test_the_machines_clock_is_read_where_no_server_is_open() -> None:
    """Everything else goes by the database's (``db/clock.py``), which all nodes share."""
    allowed = {CLOCK, "src/keystead/db/clock.py", "src/keystead/cli/doctor.py", "src/keystead/cli/demo/runner.py"}
    users = {
        str(module.path)
        for module, node in nodes("src", ast.ImportFrom)
        if "SystemClock" in {name.name for name in node.names}
    }
    assert users | {CLOCK} == allowed


def test_no_test_sleeps() -> None:
    """``asyncio.sleep(0)`` is no sleep: it lets the others have a turn."""
    assert [
        place(module, node)
        for module, node in nodes("tests", ast.Call)
        if isinstance(node.func, ast.Attribute)
        and node.func.attr == "sleep"
        and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ] == []


def test_every_folder_of_code_is_a_package_and_both_are_typed() -> None:
    folders = {(ROOT / module.path).parent for module in published()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
    assert (PACKAGE / "py.typed").exists()
    assert (CLIENT_PACKAGE / "py.typed").exists()


@pytest.mark.parametrize(
    ("folder", "other"), [("sdk/src", "keystead"), ("src", "keystead_client"), ("examples", "keystead")]
)
def test_server_and_client_know_each_other_by_the_contract_alone(folder: str, other: str) -> None:
    """Each is installed where the other is not; examples are copied to where the client is."""
    found = [f"{module.path} {name}" for module in modules(folder) for name in module.imported()]
    assert len(found) > 10
    assert [line for line in found if line.split()[1].partition(".")[0] == other] == []


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+", name)
