"""A call of any field of the fixed schema, made from the schema itself: what is added there is attacked by default."""

from __future__ import annotations

from typing import NamedTuple

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    build_ast_schema,
    get_named_type,
    is_required_argument,
    is_required_input_field,
    parse,
)

from keystead.graphql.schema import ROOT_TYPES, RootType, fixed_text

_VALUES = {
    "String": '"a text"',
    "ID": '"019b796d-d600-7000-8000-000000000000"',
    "Int": "1",
    "Float": "1.5",
    "Boolean": "true",
    "JSON": "{}",
    "DateTime": '"2030-01-01T00:00:00Z"',
    "Date": '"2030-01-01"',
}


def fixed_schema() -> GraphQLSchema:
    """The fixed contract."""
    return build_ast_schema(parse(fixed_text()))


class Call(NamedTuple):
    """One field with its arguments."""

    root: RootType
    start: str
    selection: str

    def text(self, directives: str = "") -> str:
        """As it stands in a document."""
        return f"{self.start} {directives} {self.selection}"


def credential_calls() -> list[Call]:
    """A call of each operation that carries secrets."""
    schema = fixed_schema()
    calls = []
    for root_type in ROOT_TYPES:
        root = schema.type_map[root_type]
        assert isinstance(root, GraphQLObjectType)
        secret = ((name, field) for name, field in root.fields.items() if _is_alone(field))
        calls += [call(root_type, name, field) for name, field in secret]
    return calls


def _is_alone(field: GraphQLField) -> bool:
    directives = (field.ast_node.directives if field.ast_node else None) or ()
    return any(one.name.value == "secret" and not one.arguments for one in directives)


def call(root: RootType, name: str, field: GraphQLField) -> Call:
    """The field with its required arguments, and one leaf of what it returns."""
    required = ((key, argument.type) for key, argument in field.args.items() if is_required_argument(argument))
    given = [f"{key}: {_value(wanted)}" for key, wanted in required]
    return Call(root, name + (f"({', '.join(given)})" if given else ""), _selection(field.type))


def _value(wanted: GraphQLInputType) -> str:
    if isinstance(wanted, GraphQLNonNull):
        return _value(wanted.of_type)
    if isinstance(wanted, GraphQLList):
        return f"[{_value(wanted.of_type)}]"
    if isinstance(wanted, GraphQLEnumType):
        return str(next(iter(wanted.values)))
    if isinstance(wanted, GraphQLInputObjectType):
        given = [f"{key}: {_value(part.type)}" for key, part in wanted.fields.items() if is_required_input_field(part)]
        return f"{{ {', '.join(given)} }}"
    return _VALUES[wanted.name]


def _selection(returned: GraphQLOutputType) -> str:
    named = get_named_type(returned)
    if not isinstance(named, GraphQLObjectType):
        return ""
    name, field = next(iter(named.fields.items()))
    return f" {{ {name}{_selection(field.type)} }}"
