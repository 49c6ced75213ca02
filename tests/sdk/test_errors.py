"""One class for each code of the server."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from keystead import errors as spoken
from keystead_client import errors
from keystead_client.errors import KeysteadError, error_from


def all_of(cls: type[KeysteadError]) -> list[type[KeysteadError]]:
    return [cls, *(leaf for below in cls.__subclasses__() for leaf in all_of(below))]


def in_the_tree() -> list[type[KeysteadError]]:
    return [cls for cls in all_of(KeysteadError) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", in_the_tree())
def test_an_error_survives_the_way_to_another_process(cls: type[KeysteadError]) -> None:
    error = cls("no")
    error.status, error.extensions = 503, {"retryAfter": 2}
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), vars(again), str(again)) == (cls, vars(error), "no")


def test_every_code_of_the_server_has_its_class() -> None:
    codes = set(re.findall(r"^    code = \"([A-Z_]+)\"", inspect.getsource(spoken), re.MULTILINE))
    assert len(codes) > 15
    classes = {code: type(error_from({"code": code}, "no")) for code in codes}
    assert KeysteadError not in classes.values()
    assert len(set(classes.values())) == len(codes)


def test_what_an_error_tells() -> None:
    extensions = {"code": "VALIDATION_ERROR", "field": "email", "referenceId": "r-1", "retryAfter": 2}
    error = error_from(extensions, "not an address")
    assert (str(error), error.code, error.field, error.reference_id) == (
        "not an address",
        "VALIDATION_ERROR",
        "email",
        "r-1",
    )
    assert error.retry_after == 2.0


def test_a_code_of_a_newer_server_is_kept() -> None:
    error = error_from({"code": "TEAPOT"}, "no")
    assert type(error) is KeysteadError
    assert error.code == "TEAPOT"


@pytest.mark.parametrize("extensions", [{}, {"code": 7, "field": [], "referenceId": {}, "retryAfter": "soon"}])
def test_nonsense_is_nothing(extensions: dict[str, object]) -> None:
    error = error_from(extensions, "no")
    assert (error.code, error.field, error.reference_id, error.retry_after) == (None, None, None, None)
