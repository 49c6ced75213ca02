"""Every SQLSTATE has a row: what it means, what becomes of its connection, and what is sent again."""

from __future__ import annotations

import asyncpg
import pytest
from asyncpg.exceptions._base import PostgresMessageMeta

from keystead import errors
from keystead.db.interface import ConnectionLost, OutcomeUnknown, Undone
from keystead.db.postgres_errors import (
    _HANDLING,
    ConnectionAction,
    Meaning,
    Retry,
    connection_action,
    handling_of,
    is_lost,
    translate,
    translate_at_commit,
)

KNOWN = sorted(state for state in PostgresMessageMeta._message_map if state is not None)
ERRORS = [state for state in KNOWN if issubclass(PostgresMessageMeta._message_map[state], asyncpg.PostgresError)]
"""Without the warnings, which are never raised."""


def raised(state: str) -> asyncpg.PostgresError:
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": "a message", "S": "ERROR"})
    return error


def test_the_rows_are_those_of_the_states_that_asyncpg_knows() -> None:
    assert len(KNOWN) > 200
    assert sorted({state[:2] for state in KNOWN} - _HANDLING.keys()) == []
    unknown_to_asyncpg = {"00", "25P04"}  # success; PostgreSQL 17's transaction_timeout
    assert {row for row in _HANDLING if not any(state.startswith(row) for state in KNOWN)} <= unknown_to_asyncpg


@pytest.mark.parametrize("state", ERRORS)
def test_each_state_is_translated_as_its_row_says(state: str) -> None:
    row, error = handling_of(state), raised(state)
    ours = translate(error)
    assert isinstance(ours, errors.KeysteadError)
    assert connection_action(error) is row.action
    assert (row.retry is not Retry.never) == isinstance(ours, Undone)
    if row.meaning is Meaning.unavailable or row.action is ConnectionAction.renew:
        assert isinstance(ours, errors.ServiceUnavailable)


@pytest.mark.parametrize("state", ERRORS)
def test_at_commit_the_outcome_is_known_only_if_the_session_survives(state: str) -> None:
    ours = translate_at_commit(raised(state))
    assert type(ours) is not errors.InternalError
    assert isinstance(ours, OutcomeUnknown) == (handling_of(state).action is not ConnectionAction.release)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
        asyncpg.ProtocolError("unexpected message"),
        ConnectionResetError(104, "Connection reset by peer"),
        BrokenPipeError(32, "Broken pipe"),
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    ],
    ids=repr,
)
def test_errors_of_a_lost_connection(error: Exception) -> None:
    assert is_lost(error)
    assert connection_action(error) is ConnectionAction.renew
    assert isinstance(translate(error), ConnectionLost)
    assert isinstance(translate_at_commit(error), OutcomeUnknown)


def test_a_timeout_is_not_retried() -> None:
    assert (is_lost(TimeoutError()), connection_action(TimeoutError())) == (False, ConnectionAction.discard)
    assert type(translate(TimeoutError())) is errors.ServiceUnavailable
    assert isinstance(translate_at_commit(TimeoutError()), OutcomeUnknown)


def test_other_errors_are_not_translated_and_unknown_states_close_the_connection() -> None:
    for error in (KeyError("x"), RuntimeError("x")):
        assert (is_lost(error), translate(error)) == (False, error)
    assert (handling_of("ZZ999").meaning, handling_of("ZZ999").action) == (Meaning.fault, ConnectionAction.discard)
