"""The memory of tokens that were found good."""

from __future__ import annotations

import os
import signal

import pytest

from keystead_client._single_flight import RecentTokens
from tests.forking import needs_fork


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    """To ask for it, or to add it again, is to use it."""
    remembered = RecentTokens(3)
    for token in "abc":
        remembered.add(token)
    assert "a" in remembered
    remembered.add("b", 7.0)
    remembered.add("d")
    assert [token in remembered for token in "abcd"] == [True, True, False, True]
    assert remembered.added_at("b") == 7.0


def test_no_token_is_kept() -> None:
    """A dump of the memory shows digests."""
    remembered = RecentTokens(3)
    remembered.add("a secret")
    assert "a secret" not in repr(vars(remembered))


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_waits_for_no_thread_of_its_parent() -> None:
    """Which may have held the lock, and is not there to let go of it."""
    remembered = RecentTokens(3)
    remembered.add("a")
    with remembered._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(5)
            remembered.add("b")
            os._exit(0 if "b" in remembered else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "a" in remembered
