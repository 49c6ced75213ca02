"""The GraphQL documents that the client sends, and what it must know of those it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

LOG_IN = "mutation LogIn($input: AuthRequest!) { login(input: $input) { data { auth_token refresh_token } } }"
LOG_IN_STANDING = (
    "query LogIn($email: String!, $brand: String, $password: String!)"
    " { login(email: $email, brand: $brand, password: $password) }"
)
REFRESH = (
    "mutation Refresh($input: AuthRefreshRequest!)"
    " { refreshToken(input: $input) { data { auth_token refresh_token } } }"
)
GET_ACCESS_TOKEN = (
    "query GetAccessToken($token: String!, $seconds: Int) { getAccessToken(refreshToken: $token, expiresIn: $seconds) }"
)
HEALTH = "query Health { health { data { up } } }"
CREATE_ME = "mutation CreateMe { createMe }"
LOG_OUT = "mutation LogOut { logout { data { success } } }"
LOG_OUT_EVERYWHERE = "mutation LogOutEverywhere($force: Boolean) { invalidateRefreshToken(force: $force) }"

T = TypeVar("T")

Select: TypeAlias = Sequence["str | Mapping[str, Select]"]
"""Fields by name; ``{"customer": ["id", "name"]}`` selects fields of a relation."""

_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*", re.ASCII)
_TOKEN = re.compile(
    r'"""(?:\\"""|[^"]|"(?!""))*"""|"(?:\\.|[^"\\\n])*"|#[^\n\r]*|[_A-Za-z][_0-9A-Za-z]*|[{}]|"', re.ASCII | re.DOTALL
)


def me(select: Sequence[str]) -> str:
    """``me`` with these fields. Raises ``ValueError`` where none is selected."""
    return f"query Me {{ me {{ {' '.join(require_name(field) for field in require_fields(select))} }} }}"


def require_name(text: str) -> str:
    """The text, if it is a GraphQL name. Raises ``ValueError`` for anything else: names are put into documents."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"not a GraphQL name: {text!r}")
    return text


def require_fields(select: Sequence[T]) -> Sequence[T]:
    """The fields. Raises ``ValueError`` where there is none, and for a text: its letters are no fields."""
    if isinstance(select, str) or not select:
        raise ValueError("select a list of fields, at least one")
    return select


def selection(select: Select) -> str:
    """``{ id customer { data { name } } }``. Raises ``ValueError`` where nothing is selected."""
    parts: list[str] = []
    for field in require_fields(select):
        if isinstance(field, str):
            parts.append(require_name(field))
        else:
            parts += [f"{require_name(relation)} {{ data {selection(below)} }}" for relation, below in field.items()]
    return "{ " + " ".join(parts) + " }"


def is_query(document: str) -> bool:
    """Whether a document surely holds queries that change nothing.

    In doubt it does not: it decides what may be repeated. The standing contract's ``login`` is a query that opens a
    session.
    """
    depth = 0
    for match in _TOKEN.finditer(document):
        token = match.group()
        if token == '"':
            return False
        depth += (token == "{") - (token == "}")
        if depth < 0 or token == "login" or (depth == 0 and token in ("mutation", "subscription")):
            return False
    return depth == 0
