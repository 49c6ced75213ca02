"""Random documents that are mostly valid: fragments, aliases, merged fields, directives, variables, ``__typename``."""

from __future__ import annotations

from random import Random
from typing import Any

from graphql import GraphQLNamedType, GraphQLObjectType, GraphQLSchema, get_named_type

ARGUMENTS: dict[str, list[str]] = {
    "person": ['id: "x"', "id: 7", "id: $id", 'id: "person-3"'],
    "people": ["", "pagination: {per_page: 2}", "pagination: {per_page: $n}", 'where: {field: "a", value: $any}'],
    "orders": ["", "minimum: 2", "minimum: $n", "pagination: {page: $n}"],
    "echo": [
        *("", "int: $n", "int: $missing", "float: 2", 'any: "t"', "any: 1.5", "any: $any", "colour: green"),
        *('json: {a: [1, 2.5, null, true, "x"], b: {c: $n}}', 'at: "2024-02-03T04:05:06+02:00", day: "2024-02-29"'),
        *('names: "one"', "names: [$id, $id]"),
        'where: {field: $id, colour: $missingColour, and: [{field: "x", values: [1, "2", $any]}]}',
        'where: {field: "f", value: null}',
    ],
}
VARIABLES: dict[str, tuple[str, Any]] = {
    "id": ("ID!", "v-1"), "n": ("Int", 4), "missing": ("Int", None), "missingColour": ("Colour", None),
    "any": ("FilterValue!", 2.5), "yes": ("Boolean!", True), "no": ("Boolean = false", None),
}  # fmt: skip
SENT = {name: value for name, (_, value) in VARIABLES.items() if value is not None}
SKIPPED_ROOTS = {"slow", "big", "crash", "busy", "limited", "refused", "login", "secret", "mine", "ours", "must"}


class Writer:
    """Writes one document."""

    def __init__(self, schema: GraphQLSchema, seed: int) -> None:
        self.random = Random(seed)
        self.schema = schema
        self.fragments: list[str] = []

    def document(self) -> str:
        """A query, its variables and its fragments."""
        assert self.schema.query_type is not None
        body = self.selection(self.schema.query_type, 4, 4)
        text = body + " ".join(self.fragments)
        used = [f"${name}: {kind}" for name, (kind, _) in VARIABLES.items() if self.mentions(text, name)]
        return f"query{'(' + ', '.join(used) + ')' if used else ''} {body} {' '.join(self.fragments)}"

    @staticmethod
    def mentions(text: str, name: str) -> bool:
        after = [part[:1] for part in text.split(f"${name}")[1:]]
        return any(not letter.isalpha() for letter in after)

    def selection(self, type_: GraphQLObjectType, depth: int, size: int) -> str:
        """A selection set on ``type_``, in braces."""
        parts = [self.part(type_, depth) for _ in range(self.random.randint(1, size))]
        return "{ " + " ".join(parts) + " }"

    def part(self, type_: GraphQLObjectType, depth: int) -> str:
        """A field, an inline fragment or a spread."""
        draw = self.random.random()
        if draw < 0.08:
            return f"__typename {self.directive()}"
        if draw < 0.18:
            condition = f"on {type_.name}" if self.random.random() < 0.6 else ""
            return f"... {condition} {self.directive()} {self.selection(type_, depth, 2)}"
        if draw < 0.28:
            name = f"F{len(self.fragments)}"
            self.fragments.append("")
            self.fragments[int(name[1:])] = f"fragment {name} on {type_.name} {self.selection(type_, depth, 2)}"
            return f"...{name} {self.directive()}" + (f" ...{name}" if self.random.random() < 0.3 else "")
        return self.field(type_, depth)

    def field(self, type_: GraphQLObjectType, depth: int) -> str:
        names = [
            name
            for name, field in type_.fields.items()
            if (type_.name != "Query" or name not in SKIPPED_ROOTS)
            and (depth > 1 or not isinstance(get_named_type(field.type), GraphQLObjectType))
        ]
        name: str = self.random.choice(names or ["__typename"])
        if name == "__typename":
            return name
        below: GraphQLNamedType = get_named_type(type_.fields[name].type)
        arguments = self.random.choice(ARGUMENTS.get(name, [""]))
        alias = f"{self.random.choice('abc')}{self.random.randint(1, 4)}: " if self.random.random() < 0.25 else ""
        inner = self.selection(below, depth - 1, 4) if isinstance(below, GraphQLObjectType) else ""
        return f"{alias}{name}{'(' + arguments + ')' if arguments else ''} {self.directive()} {inner}"

    def directive(self) -> str:
        return self.random.choice(
            [""] * 12
            + ["@skip(if: true)", "@skip(if: false)", "@include(if: false)", "@include(if: $yes)", "@skip(if: $no)"]
            + ["@skip(if: $yes)", "@include(if: true) @skip(if: $no)"]
        )
