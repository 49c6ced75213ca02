"""Where errors say that they are."""

from __future__ import annotations

import random

import pytest
from graphql import Source
from structlog.testing import capture_logs

from keystead.db.interface import Contention, SchemaChanged, Unusable
from keystead.errors import (
    Conflict,
    InternalError,
    KeysteadError,
    RateLimited,
    ServerBusy,
    ServiceUnavailable,
    StorageFull,
)
from keystead.graphql.errors import error_response, locations


def test_locations_are_those_of_graphql_core() -> None:
    chance = random.Random(81)
    for _ in range(200):
        text = "".join(chance.choices(("a", "{", " ", "\n", "\r\n", "\r", "\u2028"), k=60))
        # A token begins nowhere else: in particular not between the halves of a line end.
        starts = [at for at, letter in enumerate(text) if letter not in "\r\n"]
        chosen = chance.choices(starts, k=20)
        assert locations(text, chosen) == [Source(text).get_location(start).formatted for start in chosen]
    assert locations("{ me }", ()) == []


@pytest.mark.parametrize(
    "error",
    [
        *(kind(cause="the disk") for kind in (ServiceUnavailable, SchemaChanged, Contention, Unusable, StorageFull)),
        ServiceUnavailable("The operation took too long and was stopped."),
        InternalError(cause="the disk"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_operator_has_to_mend_is_logged_as_an_error_under_its_reference_id(error: KeysteadError) -> None:
    with capture_logs() as lines:
        error_response(error, "a-reference")
    (line,) = lines
    assert (line["log_level"], line["code"], line["reference_id"]) == ("error", error.code, "a-reference")
    assert line["cause"] == (error.cause or error.message)


@pytest.mark.parametrize(
    "error", [ServerBusy(cause="a queue"), RateLimited(cause="a limit"), Conflict(cause="a clash")]
)
def test_what_the_caller_or_time_mends_is_not_an_error(error: KeysteadError) -> None:
    with capture_logs() as lines:
        error_response(error, "a-reference")
    assert [line["log_level"] for line in lines] == ["info"]
