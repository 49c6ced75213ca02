"""Each regular expression is listed with the text that it may see: Python's engine backtracks, on some for seconds.

A new one fails here until it has a line below. An expression that sees text from outside is linear by its form (what
follows a repeated class is not of that class, and no match can begin inside another attempt), or sees a bounded length.
Where that is not evident, string methods or RE2 do the work. Attack A81 sends the same kinds of text to the server.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import pytest

from tests.house_rules.source import Module, place, published


class Listed(NamedTuple):
    """What the expression may see, and why that is linear; ``longest`` where it is bounded instead."""

    sees: str
    why: str
    longest: int = 16_384


_CLASS = "one class, or fixed letters and bounded repeats"
_DISJOINT = "each repeat ends before a character that it does not hold, and the whole text has to match"
_RUNS = "matches or passes over each run of characters once"
_NOT_OUTSIDE = "never text from outside"

LISTED = {
    "keystead/api_keys/service.py _HOST": Listed("an origin of a key, at most 300 characters", _DISJOINT),
    "keystead/brands/model.py _NAME": Listed("a brand's name", _CLASS),
    "keystead/brands/model.py _NAME_OR_ID": Listed("the argument brand", _CLASS),
    "keystead/brands/model.py _URL_TEXT": Listed("web addresses of a brand", _CLASS),
    "keystead/cli/demo/runner.py extract": Listed("the demo's own answers", _NOT_OUTSIDE),
    "keystead/crypto/jwt.py _ID": Listed("claims of a signed token", _CLASS),
    "keystead/crypto/jwt.py _TOKEN": Listed("an access token", "at most 2,048 characters", 2_048),
    "keystead/crypto/secrets.py PATTERNS": Listed("a secret, at most 128 characters", _CLASS),
    "keystead/settings/database_url.py _BAD_ESCAPE": Listed("a setting", _CLASS),
    "keystead/db/brand_scope.py _HARMLESS_LITERAL": Listed("our own statements", _NOT_OUTSIDE),
    "keystead/db/postgres_errors.py _KEY": Listed("the detail of a unique violation, with its values", _RUNS),
    "keystead/db/sqlite_errors.py _UNIQUE": Listed("a message of SQLite", _CLASS),
    "keystead/entities/values.py _DECIMAL": Listed("a decimal, at most 64 characters", _CLASS, 64),
    "keystead/entities/names.py _ENTITY": Listed("a name in a definition", _CLASS),
    "keystead/entities/names.py _FIELD": Listed("a name in a definition", _DISJOINT),
    "keystead/entities/fields.py compile_pattern": Listed("records, by a brand's own pattern", "RE2"),
    "keystead/entities/record_service.py _ID": Listed("an id", _CLASS),
    "keystead/entities/values.py _UUID": Listed("a value of a record", _CLASS),
    "keystead/graphql/parsing.py _PLAIN_FIELD": Listed("a document, from where a field begins", "possessive repeats"),
    "keystead/graphql/parsing.py _TEXT_TOKEN": Listed("a message about a document", "takes all that follows"),
    "keystead/graphql/scalars.py _DATE": Listed("a value", _CLASS),
    "keystead/graphql/scalars.py _DATE_TIME": Listed("a value", _CLASS),
    "keystead/settings/hosts.py _NAME": Listed("a host in a setting", "labels are bounded, and disjoint from the dot"),
    "keystead/settings/hosts.py _PLACE": Listed("a host in a setting", _DISJOINT),
    "keystead/mail/retry_policy.py _TOKENS": Listed("a mail server's reply", _CLASS),
    "keystead/mail/retry_policy.py _WORD": Listed("a mail server's reply", _RUNS),
    "keystead/mail/request_headers.py _TAG": Listed("Accept-Language, at most 200 characters", _CLASS),
    "keystead/mail/request_headers.py _WEIGHT": Listed("Accept-Language, at most 200 characters", _CLASS),
    "keystead/mail/message.py _DOMAIN": Listed("an address", _DISJOINT),
    "keystead/mail/message.py _LOCAL_PART": Listed("an address", _CLASS),
    "keystead/mail/smtp.py _FIRST_DOT": Listed("a mail", _CLASS),
    "keystead/mail/smtp.py _LINE_END": Listed("a mail", _CLASS),
    "keystead/mail/smtp_failures.py __init__": Listed("2,000 characters of a reply", "alternatives of fixed letters"),
    "keystead/mail/smtp_failures.py _EXPLANATION": Listed("a mail server's reply", _CLASS),
    "keystead/mail/smtp_failures.py _TOKEN": Listed("2,000 characters of a reply", _RUNS),
    "keystead/mail/smtp_failures.py _WORD": Listed("2,000 characters of a reply", _RUNS),
    "keystead/mail/templates/compiling.py _NO_TEXT": Listed("a template", _CLASS),
    "keystead/mail/templates/compiling.py _SPARE_LINES": Listed("a rendered mail", _RUNS),
    "keystead/mail/templates/checks.py _MORE": Listed("a link in a template", _CLASS),
    "keystead/mail/templates/model.py _LANGUAGE": Listed("a language", _CLASS),
    "keystead/mail/templates/shipped.py _BUTTON": Listed("our own templates", _NOT_OUTSIDE),
    "keystead/settings/outgoing_mail.py _BAD_ESCAPE": Listed("a setting", _CLASS),
    "keystead/settings/outgoing_mail.py _DOMAIN": Listed("a setting", "labels are bounded, and disjoint from the dot"),
    "keystead/settings/outgoing_mail.py _LOCAL_PART": Listed("a setting", _DISJOINT),
    "keystead/settings/outgoing_mail.py _NAMED": Listed("a setting", _DISJOINT),
    "keystead/permissions.py _ENTITY_PERMISSION": Listed("a permission's name", _CLASS),
    "keystead/policy.py _LANGUAGE": Listed("a brand's language", _CLASS),
    "keystead/settings/loading.py _URL_PATH": Listed("a setting", _CLASS),
    "keystead/users/email_addresses.py _INVISIBLE": Listed("an address, at most 254 characters", _CLASS),
    "keystead/users/email_addresses.py _PLAIN_DOMAIN": Listed("an address, at most 254 characters", _DISJOINT),
    "keystead/users/roles.py _NAME": Listed("a role's name", _CLASS),
    "keystead/web/logs.py _AUTHORITY": Listed("log lines, with what clients sent", _CLASS),
    "keystead/web/logs.py _SECRETS": Listed("log lines, with what clients sent", "fixed letters, then takes the run"),
    "keystead/web/mailbox.py _LOOPBACK_NAME": Listed("the Host header", _CLASS),
    "keystead/web/mailbox.py _HEAD": Listed("a mail of the demo", "cannot begin inside another attempt"),
    "keystead/web/mailbox.py _LINK": Listed("a mail of the demo", _RUNS),
    "keystead/web/pages/endpoint.py _BROKEN_ESCAPE": Listed("queries and forms", _CLASS),
    "keystead/web/pages/csrf.py _TARGET": Listed("a brand's addresses", _DISJOINT),
    "keystead/web/pages/actions.py _PRODUCT": Listed("User-Agent, at most 200 characters", _CLASS),
    "keystead_client/verify.py _BRAND_ID": Listed("claims of a signed token", _CLASS),
    "keystead_client/verify.py _ID": Listed("claims of a signed token", _CLASS),
    "keystead_client/verify.py _KID": Listed("the head of a token", _CLASS),
    "keystead_client/verify.py _TOKEN": Listed("an access token", "at most 2,048 characters", 2_048),
    "keystead_client/cookies.py _NAME": Listed("a name that the application chose", _NOT_OUTSIDE),
    "keystead_client/cookies.py _TOKEN": Listed("a cookie", _CLASS),
    "keystead_client/_operations.py _NAME": Listed("names that the application chose", _NOT_OUTSIDE),
    "keystead_client/_protocol.py _WITH_EFFECT": Listed("documents of the application", _NOT_OUTSIDE),
    "keystead_client/_access_rules.py _ADDRESS": Listed("a header of a proxy", _CLASS),
    "keystead_client/_access_rules.py _AMBIGUOUS": Listed("the path", _CLASS),
    "keystead_client/_access_rules.py _AMBIGUOUS_ESCAPE": Listed("the path", _CLASS),
    "keystead_client/_access_rules.py _SCHEME": Listed("the Origin header", _CLASS),
    "keystead_client/_access_rules.py _UNSAFE_TARGET": Listed("a target, at most 2,000 characters", _CLASS),
    "keystead_client/_access_rules.py _URL": Listed("a target, at most 2,000 characters", _DISJOINT),
    "keystead_client/auth.py _UNTYPEABLE": Listed("an address or a password, at most 4,096 characters", _CLASS),
    "keystead_client/_access_rules.py redirect_target": Listed("a target, at most 2,000 characters", _CLASS),
    "keystead_client/permissions.py _OF_ENTITY": Listed("a permission's name", _CLASS),
}

_MODULES = ("re", "re2")
_CALLS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
FILLERS = (
    *" \t\r\n;,=\"'%@:/.-_<>()[]{}&#?$0aZ",
    "\r\n", "a.", "a-", "a@", "a:", "0.", "://", "://a:", "a://", "ks_", "ks_aa_", "eyJ", "eyJaaaaaaaa", "$argon2",
    "$argon2id$", "<head", "<head ", "http://", "https://a", "String ", "BlockString", ";q=0", "; q = ", "%2", "%2f",
    "(a)=", "(a", "/..", "//", "\u0301", "\u0327\u0301", "é", "\U0001f600",
)  # fmt: skip
LONGEST_TIME = 0.02
"""Seconds of CPU for 16 KiB: a quadratic expression takes half a second and more, a linear one 1 ms."""


def _calls(module: Module) -> Iterator[tuple[str, ast.Call]]:
    """Each use of a regular expression, under the name that it is given, or that of its function."""
    scopes: list[tuple[ast.AST, str]] = [(module.tree, "")]
    while scopes:
        node, name = scopes.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            name = node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and not name:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = target.id if isinstance(target, ast.Name) else ""
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _CALLS
            and ast.unparse(node.func.value) in _MODULES
        ):
            yield name, node
        scopes += [(child, name) for child in ast.iter_child_nodes(node)]


def _found() -> dict[str, str]:
    """``keystead/web/logs.py _SECRETS`` and where it stands."""
    return {
        f"{'/'.join(module.path.parts[module.path.parts.index('src') + 1 :])} {name}": place(module, call)
        for module in published()
        for name, call in _calls(module)
    }


def test_every_regular_expression_is_listed() -> None:
    found = _found()
    assert {name: where for name, where in found.items() if name not in LISTED} == {}
    assert sorted(LISTED.keys() - found.keys()) == []


def test_regular_expressions_are_used_by_their_module_alone() -> None:
    """``from re import compile`` would pass the rule above by."""
    assert [
        place(module, node)
        for module in published()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module in (*_MODULES, "regex")
    ] == []


def _patterns() -> Iterator[tuple[str, re.Pattern[Any], bool]]:
    """Each that may see text from outside, and whether it is searched for (else it has to fit from the beginning)."""
    for name, listed in LISTED.items():
        path, variable = name.split()
        module = import_module(path.removesuffix(".py").replace("/", "."))
        value = getattr(module, variable, None)
        if listed.why != _NOT_OUTSIDE:
            is_searched = not _methods(path, variable) <= {"fullmatch", "match"}
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, re.Pattern):
                    yield name, one, is_searched


def _methods(path: str, variable: str) -> set[str]:
    """What the module does with a compiled expression."""
    module = next(module for module in published() if module.path.as_posix().endswith(f"src/{path}"))
    return {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable
    } & _CALLS


@pytest.mark.parametrize(("name", "pattern", "is_searched"), [pytest.param(*one, id=one[0]) for one in _patterns()])
def test_an_expression_that_sees_text_from_outside_is_linear(
    name: str, pattern: re.Pattern[Any], is_searched: bool
) -> None:
    slow = {}
    for filler in FILLERS:
        text = filler * (LISTED[name].longest // len(filler))
        for hostile in (text, f"{text}\x00", f"a{text}\x00"):
            # The least of three counts, where the first is not good enough: the machine has other work.
            if all(_seconds(pattern, hostile, is_searched) > LONGEST_TIME for _ in range(3)):
                slow[filler] = LONGEST_TIME
                break
    assert slow == {}


def _seconds(pattern: re.Pattern[Any], text: str, is_searched: bool) -> float:
    subject = text if isinstance(pattern.pattern, str) else text.encode()
    started = time.thread_time()
    pattern.fullmatch(subject)
    if is_searched:
        for _ in pattern.finditer(subject):
            pass
    return time.thread_time() - started
