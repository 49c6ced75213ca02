"""Documentation that cannot fall behind: settings, permissions, commands and links are held to the code."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.house_rules.source import DOCS, ROOT, nodes, page

PAGES = (
    "tutorial architecture contract attacks glossary security settings errors permissions cli operations sdk sdk-web"
).split()
# Set by code alone: the demo's GraphiQL and mailbox, and what was found while reading.
NOT_FOR_OPERATORS = {"graphiql", "mailbox", "warnings", "is_base_url_chosen"}


MARKDOWN = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "sdk").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_there(name: str) -> None:
    assert page(f"{name}.md").startswith("# ")


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in MARKDOWN])
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    broken = []
    for target in targets:
        file, _, anchor = target.partition("#")
        destination = (path.parent / file) if file else path
        if not destination.exists() or (anchor and anchor not in anchors(destination.read_text("utf-8"))):
            broken.append(target)
    assert broken == []


def anchors(text: str) -> set[str]:
    """The anchors that a Markdown page offers, made from its headings as hosting pages do."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_setting_is_documented_and_no_other() -> None:
    from keystead.policy import BrandPolicy, Features
    from keystead.settings import OUTSIDE_SETTINGS, SECRET_SETTINGS, Settings

    names = {field.name for field in fields(Settings)} - NOT_FOR_OPERATORS
    names |= {f"{name}_file" for name in SECRET_SETTINGS}
    variables = {f"KEYSTEAD_{name.upper()}" for name in names} | set(OUTSIDE_SETTINGS)
    assert sorted(variables ^ set(re.findall(r"`(KEYSTEAD_[A-Z_]+)`", page("settings.md")))) == []
    of_brands = (*Features.__struct_fields__, *BrandPolicy.__struct_fields__)
    assert [name for name in of_brands if f"`{name}`" not in page("settings.md")] == []


def test_every_permission_is_documented() -> None:
    from keystead.permissions import ADMIN, ENTITY_ACTIONS, OPERATOR, READ, WRITE

    names = [ADMIN, OPERATOR, READ, WRITE, *(f"customer:{action}" for action in ENTITY_ACTIONS)]
    names += ["customer:read:own", "customer:write:own"]
    assert [name for name in names if f"`{name}`" not in page("permissions.md")] == []


def test_every_command_and_option_is_documented() -> None:
    text = page("cli.md")
    missing = [words for path, options in commands() for words in (path, *options) if f"`{words}" not in text]
    assert missing == []


def commands() -> list[tuple[str, list[str]]]:
    """Each command of the command line with its long options."""
    import typer

    from keystead.cli.app import app

    def walk(command: Any, path: str) -> list[tuple[str, list[str]]]:
        children = getattr(command, "commands", {})
        if children:
            return [leaf for name, child in children.items() for leaf in walk(child, f"{path} {name}")]
        options = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
        return [(path, [name for name in options if name != "--help"])]

    found = walk(typer.main.get_command(app), "keystead")
    assert len(found) > 15
    return found


def test_the_pattern_of_every_secret_is_published() -> None:
    from keystead.crypto.secrets import PATTERNS

    assert [kind for kind, pattern in PATTERNS.items() if f"`{pattern.pattern}`" not in page("security.md")] == []


def test_every_audit_event_is_documented() -> None:
    from keystead.audit.model import EVENTS

    documented = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.+) \|$", page("security.md"), re.MULTILINE)
    assert dict(documented) == EVENTS


def test_every_log_line_that_warns_is_documented() -> None:
    found = {event for _, call in nodes("src", ast.Call) if (event := warning_of(call))}
    assert {"worker_died", "upkeep_failed", "graphql.refused", "connections_refused"} <= found
    assert sorted(event for event in found if f"`{event}`" not in page("operations.md")) == []


LOGGERS = ("_log", "log", "logger")


def warning_of(call: ast.Call) -> str | None:
    """The event of a call that logs a warning or an error; the level may be chosen where the line is written."""
    if not call.args or not isinstance(call.args[0], ast.Constant) or not isinstance(call.args[0].value, str):
        return None
    callees = [call.func.body, call.func.orelse] if isinstance(call.func, ast.IfExp) else [call.func]
    if any(isinstance(callee, ast.Name) and callee.id == "tell" for callee in callees):
        return call.args[0].value
    levels = {
        callee.attr
        for callee in callees
        if isinstance(callee, ast.Attribute) and isinstance(callee.value, ast.Name) and callee.value.id in LOGGERS
    }
    return call.args[0].value if levels & {"warning", "error", "exception", "critical"} else None
