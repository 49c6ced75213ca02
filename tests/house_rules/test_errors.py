"""The error codes of the contract: each is spoken by one class and explained in the documentation."""

from __future__ import annotations

import re

from keystead import errors
from tests.house_rules.source import page

CODES = set(
    """
    UNAUTHENTICATED UNAUTHORIZED FORBIDDEN INVALID_CREDENTIALS
    REFRESH_TOKEN_INVALID REFRESH_TOKEN_EXPIRED REFRESH_TOKEN_REUSED TOKEN_INVALID NO_LOGIN_METHOD
    BRAND_MISMATCH
    BAD_USER_INPUT VALIDATION_ERROR NOT_FOUND CONFLICT
    RATE_LIMITED SERVER_BUSY SERVICE_UNAVAILABLE STORAGE_FULL
    GRAPHQL_PARSE_FAILED GRAPHQL_VALIDATION_FAILED INTERNAL_SERVER_ERROR
    """.split()
)


def error_classes() -> list[type[errors.KeysteadError]]:
    found = [errors.KeysteadError]
    for known in found:
        found += [subclass for subclass in known.__subclasses__() if subclass not in found]
    return [error for error in found if error.__module__ == errors.__name__]


def test_the_product_speaks_exactly_the_codes_of_the_contract() -> None:
    assert {error.code for error in error_classes()} == CODES


def test_errors_are_defined_in_one_place() -> None:
    assert {error.__module__ for error in errors.KeysteadError.__subclasses__()} == {errors.__name__}


def test_the_tree_at_the_top_of_the_file_names_every_error() -> None:
    tree = errors.__doc__ or ""
    assert [error.__name__ for error in error_classes() if error.__name__ not in tree] == []


def test_a_failed_refresh_says_the_word_that_clients_look_for() -> None:
    assert all("unauthenticated" in error.default_message for error in errors.RefreshRefused.__subclasses__())


def test_every_code_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^### `([A-Z_]+)`", page("errors.md"), re.MULTILINE))
    assert documented == CODES
