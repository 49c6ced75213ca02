"""Documents made to cost more than they weigh. Each fits in 64 KiB; each is small to write and dear to read."""

from __future__ import annotations

from typing import Any

LONG = 60_000
"""Characters, where a document is long in one place."""

_WORDS = "abcdefghijklmnopqrst"
_USER = "id email username verified is_anonymous is_disabled roles permissions created_at updated_at last_login_at"
_CUSTOMER = "id integer_id created_at updated_at created_by name email status notes"


def nest(opening: str, closing: str, times: int, inner: str = "") -> str:
    """``inner`` in so many pairs of brackets."""
    return opening * times + inner + closing * times


def chain(links: int, spread: str) -> str:
    """Fragments each of which spreads the next one; ``spread`` is how often: ``"...{0} ...{0}"``."""
    made = [f"fragment F{n} on Me {{ id {spread.format(f'F{n + 1}')} }}" for n in range(links - 1)]
    return " ".join([*made, f"fragment F{links - 1} on Me {{ id }}"])


def ring(links: int) -> str:
    """Fragments the last of which spreads the first."""
    return "{ me { ...F0 } } " + " ".join(f"fragment F{n} on Me {{ ...F{(n + 1) % links} }}" for n in range(links))


def ten(field: str) -> str:
    """The same root field ten times, each with its alias."""
    return "{" + " ".join(f"a{n}: {field}" for n in range(10)) + "}"


def wrap(value: Any, times: int, name: str | None = None) -> Any:
    """``value`` in so many lists, or in so many objects with one member that is a list."""
    for _ in range(times):
        value = [value] if name is None else {name: [value]}
    return value


DEEP: dict[str, str] = {
    "fields": nest("{ me ", "}", 450, "{ id }"),
    "fields, unclosed": "{ a " * 15_000,
    "inline fragments": nest("{ ... ", "}", 300, "{ me { id } }"),
    "inline fragments with types": "{ me " + nest("{ ... on Me ", "}", 200, "{ id }") + "}",
    "lists": f"{{ userById(id: {nest('[', ']', 480, '1')}) {{ data {{ id }} }} }}",
    "lists, unclosed": f"{{ userById(id: {'[' * LONG}",
    "objects": f"mutation {{ defineEntity(definition: {nest('{a: ', '}', 240, '1')}) {{ data {{ applied }} }} }}",
    "objects, unclosed": f"mutation {{ defineEntity(definition: {'{a:' * 20_000}",
    "list types": f"query($a: {nest('[', ']', 480, 'Int')}) {{ me {{ id }} }}",
    "list types, unclosed": f"query($a: {'[' * LONG}",
    "types that are not null": f"query($a: Int{'!' * 900}) {{ me {{ id }} }}",
    "introspection by ofType": "{ __schema { types { fields { type "
    + nest("{ ofType ", "}", 35, "{ name }")
    + "} } } }",
    "introspection by fields": "{ __schema { types " + nest("{ fields { type ", "} }", 15, "{ name }") + "} }",
    "introspection by fields, thrice": "{ __schema { types " + nest("{ fields { type ", "} }", 3, "{ name }") + "} }",
    "introspection by arguments": "{ __schema { types { fields { args { type "
    + nest("{ inputFields { type ", "} }", 2, "{ name }")
    + " } } } } }",
    "introspection by fragments": "{ __schema { types { ...T } } }"
    " fragment T on __Type { fields { type { ...U } } } fragment U on __Type { fields { type { ...V } } }"
    " fragment V on __Type { fields { type { ...W } } } fragment W on __Type { fields { type { name } } }",
}
MANY: dict[str, str] = {
    "aliases": "{" + " ".join(f"a{n}: me {{ id }}" for n in range(180)) + "}",
    "aliases below": "{ me {" + " ".join(f"a{n}: id" for n in range(300)) + "} }",
    "one field again": "{" + "me { id email } " * 190 + "}",
    "one leaf again": "{ me {" + " id" * 900 + "} }",
    "one field again, in fragments": "{" + "... { me { id email } } " * 120 + "}",
    "one field again, with arguments": "{" + "userById(id: 1) { data { id } } " * 80 + "}",
    "root fields": "{" + " ".join(f"a{n}: health {{ data {{ up }} }}" for n in range(90)) + "}",
    "directives": f"{{ me {{ id {'@skip(if: false) ' * 150} }} }}",
    "unknown directives": f"{{ me {{ id {'@x ' * 400} }} }}",
    "directives on the operation": f"query {'@x ' * 450} {{ me {{ id }} }}",
    "operations": " ".join(f"query Q{n} {{ me {{ id }} }}" for n in range(120)),
    "operations of one name": "query Q { me { id } } " * 120,
    "anonymous operations": "{ me { id } } " * 160,
    "variables": "query(" + " ".join(f"$v{n}: Int" for n in range(240)) + ") { me { id } }",
    "variables of one name": "query(" + "$v: Int " * 240 + ") { me { id } }",
    "uses of no variable": "{ userById(id: [" + "$v " * 480 + "]) { data { id } } }",
    "arguments": "{ userById(" + "id: 1 " * 320 + ") { data { id } } }",
    "unknown arguments": "{ userById(" + " ".join(f"a{n}: 1" for n in range(320)) + ") { data { id } } }",
    "members of an input": "mutation { createUser(input: {" + "email: 1 " * 320 + "}) { data { id } } }",
    "elements": "mutation { deleteUser(ids: [" + "1 " * 960 + "]) { data { success } } }",
    "unknown fields": "{" + " ".join(f"field{n}" for n in range(480)) + "}",
    "unknown fields below": "{ me {" + " ".join(f"nam{n}" for n in range(480)) + "} }",
    "unknown fields on many lines": "{\n" + "\n".join(f"field{n}" for n in range(480)) + "\n" * 25_000 + "}",
    "unknown types": " ".join(f"fragment F{n} on T{n} {{ x }}" for n in range(15)) + " { me { id } }",
    "definitions of types": "type T { a: Int } " * 120,
    "extensions of types": "extend type Query { a: Int } " * 100 + "{ me { id } }",
    "subscriptions": "subscription S { a } " * 100,
    "conflicts": "{" + "... { x: userList { data { id } } } ... { x: roleList { data { name } } } " * 30 + "}",
    "conflicts below": "{ me {" + "... { x: id } ... { x: email } ... { x: username } " * 40 + "} }",
    "conflicts of arguments": "{" + " ".join(f"x: userById(id: {n}) {{ data {{ id }} }}" for n in range(80)) + "}",
}  # fmt: skip
FRAGMENTS: dict[str, str] = {
    "that spread themselves": "{ me { ...F } } fragment F on Me { id ...F }",
    "that spread each other": "{ me { ...F } } fragment F on Me { ...G } fragment G on Me { ...F }",
    "in a ring of twenty": ring(20),
    "in a ring of a hundred": ring(100),
    "that double": "{ me { ...F0 } } " + chain(20, "...{0} ...{0}"),
    "that are multiplied": "{ me { ...F0 } } " + chain(12, " ".join(["...{0}"] * 30)),
    "that are spread again": "{ me { " + "...F " * 450 + "} } fragment F on Me { id email }",
    "that are not spread": "{ me { id } } " + " ".join(f"fragment F{n} on Me {{ id }}" for n in range(130)),
    "that do not exist": "{ me { " + " ".join(f"...F{n}" for n in range(450)) + "} }",
    "of one name": "{ me { ...F } } " + "fragment F on Me { id } " * 130,
    "that conflict": "{ me { ...A ...B } } fragment A on Me { x: id ...B } fragment B on Me { x: email ...C }"
    " fragment C on Me { x: username ...D } fragment D on Me { x: brand }",
    "that are compared": "{ me {" + " ".join(f"...{w.upper()}" for w in _WORDS) + "} } "
    + " ".join(f"fragment {w.upper()} on Me {{ {' '.join(f'{w}{n}: id' for n in range(8))} }}" for w in _WORDS),
    "with the whole of introspection": "{ __schema { types { ...T } } } fragment T on __Type { name kind fields {"
    " name args { name type { ...R } } type { ...R } } } fragment R on __Type { name ofType { name ofType { name } } }",
}  # fmt: skip
LONG_TOKENS: dict[str, str] = {
    "an integer": f"{{ userList(pagination: {{page: {'9' * LONG}}}) {{ data {{ id }} }} }}",
    "a negative integer": f"{{ userList(pagination: {{page: -{'9' * LONG}}}) {{ data {{ id }} }} }}",
    "a number without end": "mutation { defineEntity(definition: 1e999999999) { data { applied } } }",
    "a number with many digits": f"mutation {{ defineEntity(definition: 0.{'3' * LONG}) {{ data {{ applied }} }} }}",
    "a text": f'{{ userById(id: "{"x" * LONG}") {{ data {{ id }} }} }}',
    "a text of escapes": f'{{ userById(id: "{chr(92)}u0041{(chr(92) + "n") * 20_000}") {{ data {{ id }} }} }}',
    "a text of braces": f'{{ userById(id: "{"{" * LONG}") {{ data {{ id }} }} }}',
    "an unclosed text": f'{{ userById(id: "{"x" * LONG}',
    "a block text": f'{{ userById(id: """{"x" * LONG}""") {{ data {{ id }} }} }}',
    "a block text of lines": f'{{ userById(id: """{(chr(10) + " ") * 20_000}""") {{ data {{ id }} }} }}',
    "a block text of quotes": f'{{ userById(id: """{(chr(92) + chr(34) * 3) * 8_000}""") {{ data {{ id }} }} }}',
    "a block text of stairs": '{ userById(id: """' + "".join("\n" + " " * n for n in range(330)) + '""") }',
    "an unclosed block text": f'{{ userById(id: """{"x" * LONG}',
    "an alias": f"{{ {'a' * LONG}: me {{ id }} }}",
    "a field": f"{{ {'a' * LONG} }}",
    "a type": f"fragment F on {'a' * LONG} {{ id }} {{ me {{ id }} }}",
    "a variable": f"query(${'a' * 30_000}: ID!) {{ userById(id: ${'a' * 30_000}) {{ data {{ id }} }} }}",
    "a comment": f"#{'x' * LONG}\n{{ me {{ id }} }}",
    "comments": "#\n" * 20_000 + "{ me { id } }",
    "commas": "{ me {" + "," * LONG + "id } }",
    "spaces": "{" + " " * LONG + "me { id } }",
    "lines": "{" + "\n" * 30_000 + "me { oops } }",
    "lines of both kinds": "{" + "\r\n" * 15_000 + "me { oops } }",
    "marks of byte order": "\ufeff" * 20_000 + "{ me { id } }",
    "signs that turn the text": "{ \u202e\u2066 me { id } }",
    "signs outside the plane": f'{{ userById(id: "{"😀" * 14_000}") {{ data {{ id }} }} }}',
    "letters of no alphabet": "{ mé { id } }",
    "marks above marks": f'{{ userById(id: "a{chr(0x301) * 25_000}") {{ data {{ id }} }} }}',
    "a NUL": "{ me { id\0 } }",
    "nothing": " ",
    "a brace": "{",
    "dots": "{ " + ". " * 900 + "}",
    "amounts of punctuation": "!$&()...:=@[]{|}" * 60,
}  # fmt: skip
DEAR: dict[str, str] = {
    "ten pages of users": ten(f"userList(pagination: {{per_page: 100}}) {{ data {{ {_USER} }} }}"),
    "nine pages of users": ten(f"userList(pagination: {{per_page: 90}}) {{ data {{ {_USER} }} }}"),
    "ten pages of records": ten(f"customerList(pagination: {{per_page: 100}}) {{ data {{ {_CUSTOMER} }} }}"),
    "ten totals": ten("customerList(pagination: {page: 100}) { data { id } pagination { total } }"),
    "ten pages of events": ten("auditEventList(pagination: {per_page: 100}) { data { id at event details } }"),
    "ten counts": ten("entityList { data { record_count definition } }"),
    "conditions": "query(" + " ".join(f"$v{n}: Boolean = true" for n in range(30)) + ") { me {"
    + " ".join(f"a{n}: id @include(if: $v{n})" for n in range(30)) + "} }",
    "a pattern that looks back": 'mutation { defineEntity(dry_run: true, definition: {e: {fields: {n: '
    '{type: "string", pattern: "^(a+)+$", default: "' + "a" * 200 + '!"}}}}) { data { applied } } }',
    "a pattern that grows": 'mutation { defineEntity(dry_run: true, definition: {e: {fields: {n: '
    '{type: "string", pattern: "((((a{1,100}){1,100}){1,100}){1,100}){1,100}"}}}}) { data { applied } } }',
    "an entity of ninety fields": "mutation { defineEntity(dry_run: true, definition: {e: {fields: {"
    + " ".join(f'f{n}: {{type: "string"}}' for n in range(90)) + "}}}) { data { applied steps { field action } } } }",
}  # fmt: skip

IDS = [f"{n:x}" for n in range(8_000)]
"""As many as a body can carry."""

VARIABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "that are not declared": ("{ me { id } }", {f"v{n}": n for n in range(5_000)}),
    "deep": ("query($d: JSON!) { __typename }", {"d": wrap([], 400)}),
    "long": ("query($i: ID!) { userById(id: $i) { data { id } } }", {"i": "x" * LONG}),
    "of the wrong type": ("query($i: [Int!]!) { __typename }", {"i": IDS}),
    "a list for a page": ("query($p: PaginationInput) { userList(pagination: $p) { data { id } } }", {"p": IDS}),
    "a filter": (
        "query($f: FilterInput) { userList(filter: $f) { data { id } } }",
        {"f": {"query": [{"and": [{"condition": {"field": "id", "operator": "equal", "value": 1}}] * 500}]}},
    ),
    "a deep filter": (
        "query($f: FilterInput) { userList(filter: $f) { data { id } } }",
        {"f": {"query": [wrap({"and": []}, 300, "and")]}},
    ),
    "a filter of values": (
        "query($f: FilterInput) { userList(filter: $f) { data { id } } }",
        {"f": {"query": [{"condition": {"field": "id", "operator": "in", "values": IDS}}]}},
    ),
    "permissions": (
        "mutation($p: [String!]!) { createApiKey(input: {name: \"n\", permissions: $p}) { data { id } } }",
        {"p": [f"e{n}:read" for n in range(4_000)]},
    ),
    "origins": (
        "mutation($o: [String!]) { createApiKey(input: {name: \"n\", permissions: [], publishable: true,"
        " allowed_origins: $o}) { data { id } } }",
        {"o": [f"https://h{n}" for n in range(3_000)]},
    ),
    "a definition": (
        "mutation($d: JSON!) { defineEntity(dry_run: true, definition: $d) { data { applied } } }",
        {"d": {f"e{n}": {"fields": {"n": {"type": "string"}}} for n in range(1_200)}},
    ),
}  # fmt: skip


def documents() -> dict[str, str]:
    """Every document of this module, by what it is full of."""
    groups = {"deep": DEEP, "many": MANY, "fragments": FRAGMENTS, "long": LONG_TOKENS, "dear": DEAR}
    return {f"{group}: {name}": text for group, members in groups.items() for name, text in members.items()}
