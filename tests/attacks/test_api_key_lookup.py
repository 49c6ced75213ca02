"""G5: nothing in the product compares a secret with ``==``; it is found by its digest, or compared in constant time."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house_rules.source import Module, modules

SECRET_WORDS = {
    *("secret", "secrets", "digest", "token", "tokens", "password", "passwords", "hash", "hashes"),
    *("reveal", "mac", "hmac", "signature", "raw", "bearer", "credential", "credentials"),
}
NO_ORACLES = {
    ("authentication/email_change_steps.py", "is_repeated"): "two hashes of ours; the password was verified before",
    ("crypto/password_rules.py", "_is_made_of"): "a password that is being chosen, against words that are no secret",
    ("crypto/secrets.py", "parse"): "the check sum, which any caller can compute",
    ("sessions/rotation.py", "_replay"): "two digests of ours; the caller has shown the token before",
    ("web/pages/csrf.py", "choose_target"): "an address to redirect to, against the brand's, which are no secret",
    ("web/pages/actions.py", "_reset"): "a password that is being chosen, typed twice by the same person",
}
"""Where such a comparison may stand, by module and function, and why it tells an attacker nothing."""


@pytest.mark.attack("A76")
def test_no_secret_is_compared_with_the_equals_sign() -> None:
    found = {place for module in modules("src") for place in _comparisons(module)}
    assert found == set(NO_ORACLES)


@pytest.mark.attack("A76")
@pytest.mark.parametrize(
    "line",
    [
        "given == stored.digest", "secret.reveal() != other", "row.password_hash == hashed", "token in known_tokens",
        "raw[6:] == expected.token", "None == secret.digest()",
    ],
)  # fmt: skip
def test_the_rule_sees_a_comparison(line: str) -> None:
    assert _is_leak(ast.parse(line).body[0].value)  # type: ignore[attr-defined]


@pytest.mark.attack("A76")
@pytest.mark.parametrize(
    "line",
    [
        "t.digest == bindparam('digest')", "len(secret) != 55", "secret is None", "hmac.compare_digest(a, b)",
        "kind.token == 'rt'", "raw.scheme == BEARER",
    ],
)  # fmt: skip
def test_the_rule_lets_a_lookup_pass(line: str) -> None:
    assert not _is_leak(ast.parse(line).body[0].value)  # type: ignore[attr-defined]


def _comparisons(module: Module) -> Iterator[tuple[str, str]]:
    for function in ast.walk(module.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if _is_leak(node):
                    yield str(module.path.relative_to("src/keystead")), function.name
    for node in module.tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for inner in ast.walk(node):
                if _is_leak(inner):
                    yield str(module.path.relative_to("src/keystead")), ""


def _is_leak(node: ast.AST) -> bool:
    """A comparison of values one of which has the name of a secret, and which SQL does not carry out."""
    if not isinstance(node, ast.Compare):
        return False
    if not all(isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for operator in node.ops):
        return False
    sides = [node.left, *node.comparators]
    names = [_name(side) for side in sides]
    if "bindparam" in names or any(isinstance(side, ast.Constant) and side.value is not None for side in sides):
        return False
    # A constant of the code is no secret.
    return not any(map(str.isupper, names)) and any(SECRET_WORDS & set(name.split("_")) for name in names)


def _name(side: ast.expr) -> str:
    """What a value is called: the last name in it."""
    match side:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=called):
            return _name(called)
        case ast.Subscript(value=value):
            return _name(value)
        case _:
            return ""
