"""Allowlist of the Jinja syntax that templates can use.

The sandbox prevents access to Python, but bounds neither time nor memory (nested ``range``, ``a ~ a`` in a chain of
``set``, ``center(10**9)``, a macro that calls itself twice). A mail needs only values and conditions, so everything
else is rejected before compilation. What remains has no loops and no calls: rendering is linear in the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from jinja2 import nodes

from keystead.errors import BadUserInput
from keystead.mail.templates.model import Values

LAYOUT: Final = "layout"
"""The only template that can be extended."""
PARTS: Final = ("subject", "text", "html")
"""Required blocks."""
LAYOUT_BLOCKS: Final = ("title", "preheader", "button", "by_hand", "closing", "footer")
"""Further blocks of the layout."""
VARIABLES: Final = frozenset(field.name for field in fields(Values))
FILTERS: Final = frozenset({"capitalize", "d", "default", "e", "escape", "lower", "title", "trim", "upper"})
TESTS: Final = frozenset({"defined", "undefined"})

MOST_PARTS: Final = 2000
"""Syntax nodes; compiling so many takes about 0.1 s."""
_DEEPEST: Final = 24
_ALLOWED: Final = (
    nodes.Block,
    nodes.Compare,
    nodes.Concat,
    nodes.CondExpr,
    nodes.Const,
    nodes.Extends,
    nodes.Filter,
    nodes.If,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Name,
    nodes.Operand,
    nodes.Output,
    nodes.TemplateData,
    nodes.Test,
)
_PLAIN: Final = {
    nodes.Assign: "set",
    nodes.AssignBlock: "set",
    nodes.Call: "a call",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter",
    nodes.For: "for",
    nodes.FromImport: "from",
    nodes.Getattr: "an attribute",
    nodes.Getitem: "an item",
    nodes.Import: "import",
    nodes.Include: "include",
    nodes.Macro: "macro",
    nodes.Scope: "autoescape",
    nodes.With: "with",
}
"""Names of rejected syntax, for messages."""


def require_simple(template: nodes.Template) -> None:
    """Check that a parsed template uses only allowed syntax and has the three required blocks.

    :raises BadUserInput: for field ``source``, with the line, or for the missing block.
    """
    for count, (depth, node) in enumerate(_walk(template)):
        if count >= MOST_PARTS:
            raise BadUserInput(f"The template has more than {MOST_PARTS} parts.", field="source")
        if depth > _DEEPEST:
            raise _refusal(node, "is nested too deeply")
        _require_allowed(node, depth)
    _require_blocks(list(template.find_all(nodes.Block)), is_extending=template.find(nodes.Extends) is not None)


def _require_blocks(blocks: list[nodes.Block], *, is_extending: bool) -> None:
    known = (*PARTS, *LAYOUT_BLOCKS) if is_extending else PARTS
    for block in blocks:
        if block.name not in known:
            where = "" if is_extending else f' unless the template begins with {{% extends "{LAYOUT}" %}}'
            raise _refusal(block, f"there is no block '{block.name[:80]}'{where}; there are {', '.join(known)}")
    for part in PARTS:
        if part not in {block.name for block in blocks}:
            raise BadUserInput(f"The block '{part}' is missing: {{% block {part} %}}...{{% endblock %}}.", field=part)


def _require_allowed(node: nodes.Node, depth: int) -> None:
    if not isinstance(node, _ALLOWED):
        name = _PLAIN.get(type(node), type(node).__name__)
        raise _refusal(node, f"{name} cannot be used in a mail")
    match node:
        case nodes.Name() if node.name not in VARIABLES:
            raise _refusal(node, f"there is no '{node.name[:80]}'; there are {', '.join(sorted(VARIABLES))}")
        case nodes.Filter() if node.name not in FILTERS:
            raise _refusal(node, f"there is no filter '{node.name[:80]}'; there are {', '.join(sorted(FILTERS))}")
        case nodes.Test() if node.name not in TESTS:
            raise _refusal(node, f"there is no test '{node.name[:80]}'; there are {', '.join(sorted(TESTS))}")
        case nodes.Extends() if not (isinstance(node.template, nodes.Const) and node.template.value == LAYOUT):
            raise _refusal(node, f"only '{LAYOUT}' can be extended")
        case nodes.Extends() if depth > 1:
            raise _refusal(node, "'extends' must be at the top level")
        case nodes.Const() if not isinstance(node.value, str | bool | None):
            raise _refusal(node, "only strings can be used as constants")
        case _:
            return


def _walk(template: nodes.Template) -> Iterator[tuple[int, nodes.Node]]:
    """Every node of the template with its depth, without recursion, because the source is untrusted."""
    waiting = [(1, child) for child in template.iter_child_nodes()]
    while waiting:
        depth, found = waiting.pop()
        yield depth, found
        for child in found.iter_child_nodes():
            child.lineno = child.lineno or found.lineno
            waiting.append((depth + 1, child))


def _refusal(node: nodes.Node, reason: str) -> BadUserInput:
    return BadUserInput(f"Line {node.lineno}: {reason}.", field="source")
