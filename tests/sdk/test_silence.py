"""What is called a server that hangs, and for how long: see docs/sdk-web.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from keystead_client._transport import PoolTimeout
from keystead_client.errors import KeysteadError, NotAuthenticated, ServerError, Timeout
from keystead_client.silence import PASSES, PAUSE, SILENCE, Silence
from tests.sdk.hanging import Now

UNANSWERED = Timeout("no answer", was_sent=True)
REFUSED = NotAuthenticated("over")
FULL = PoolTimeout("all in use", was_sent=False)


@pytest.fixture
def clock() -> Now:
    return Now()


@pytest.fixture
def silence(clock: Now) -> Silence:
    return Silence(clock)


@contextmanager
def asked(silence: Silence, outcome: KeysteadError | None) -> Iterator[None]:
    """A question that is under way within this block, and what comes of it at its end."""
    with suppress(KeysteadError), silence.heard():
        yield
        if outcome is not None:
            raise outcome


def ask(silence: Silence, *outcomes: KeysteadError | None) -> None:
    """One question after another."""
    for outcome in outcomes:
        with asked(silence, outcome):
            pass


def test_it_begins_with_questions_in_a_row(silence: Silence) -> None:
    ask(silence, *[UNANSWERED] * (SILENCE - 1))
    assert not silence.has_begun
    ask(silence, FULL, UNANSWERED)
    assert silence.has_begun


@pytest.mark.parametrize("answer", [REFUSED, ServerError("failed"), None])
def test_any_answer_interrupts_the_row(silence: Silence, answer: KeysteadError | None) -> None:
    for _ in range(2 * SILENCE):
        ask(silence, *[UNANSWERED] * (SILENCE - 1), answer)
        assert not silence.has_begun


def test_a_refusal_interrupts_no_row_while_an_older_question_waits(silence: Silence) -> None:
    """Made-up tokens, refused without a look at the storage that hangs, must not hide that it does."""
    for _ in range(SILENCE):
        with asked(silence, UNANSWERED):
            ask(silence, REFUSED)
    assert silence.has_begun


def test_a_refusal_interrupts_the_row_while_a_younger_question_waits(silence: Silence) -> None:
    ask(silence, *[UNANSWERED] * (SILENCE - 1))
    refused = asked(silence, REFUSED)
    refused.__enter__()
    with asked(silence, UNANSWERED):
        refused.__exit__(None, None, None)
    assert not silence.has_begun


def test_questions_that_were_under_way_together_are_one(silence: Silence, clock: Now) -> None:
    """One slow moment, however many are there."""
    for moment in range(SILENCE):
        assert not silence.has_begun, moment
        together = [asked(silence, UNANSWERED) for _ in range(5)]
        for question in together:
            question.__enter__()
        for question in together:
            question.__exit__(None, None, None)
            clock.now += 0.1
    assert silence.has_begun


def test_a_server_that_hangs_is_noticed_among_many_questions(silence: Silence, clock: Now) -> None:
    """One begins each tenth of a second and waits for five: no moment is without any."""
    under_way = [asked(silence, UNANSWERED) for _ in range(50)]
    for question in under_way:
        question.__enter__()
        clock.now += 0.1
    for _ in range(100):
        assert not silence.has_begun
        under_way.pop(0).__exit__(None, None, None)
        under_way.append(asked(silence, UNANSWERED))
        under_way[-1].__enter__()
        clock.now += 0.1
    under_way.pop(0).__exit__(None, None, None)
    assert silence.has_begun, "after three times as long as one waits"
    for question in under_way:
        question.__exit__(None, None, None)


def test_what_was_long_ago_does_not_count(silence: Silence, clock: Now) -> None:
    for _ in range(2 * SILENCE):
        ask(silence, UNANSWERED)
        clock.now += PASSES
        assert not silence.has_begun
    for _ in range(SILENCE):
        clock.now += PASSES - 0.001
        ask(silence, UNANSWERED)
    assert silence.has_begun, "a row of which no gap is so long"


def test_it_ends_by_itself(silence: Silence, clock: Now) -> None:
    """Refusals alone neither end nor prolong it; a further question without an answer does the latter."""
    ask(silence, *[UNANSWERED] * SILENCE)
    clock.now += PASSES - 0.001
    ask(silence, REFUSED)
    assert silence.has_begun
    ask(silence, UNANSWERED)
    clock.now += PASSES - 0.001
    assert silence.has_begun
    clock.now += 0.001
    assert not silence.has_begun
    ask(silence, *[UNANSWERED] * (SILENCE - 1))
    assert not silence.has_begun, "from the beginning"


def test_a_success_ends_it(silence: Silence) -> None:
    ask(silence, *[UNANSWERED] * SILENCE, None)
    assert not silence.has_begun
    ask(silence, *[UNANSWERED] * (SILENCE - 1))
    assert not silence.has_begun


def test_it_pauses_after_each_question(silence: Silence, clock: Now) -> None:
    ask(silence, *[UNANSWERED] * SILENCE)
    clock.now += PAUSE - 0.001
    assert silence.is_in_pause
    clock.now += 0.001
    assert not silence.is_in_pause
    ask(silence, UNANSWERED)
    assert silence.is_in_pause


def test_a_clock_that_was_put_back_ends_it(silence: Silence, clock: Now) -> None:
    ask(silence, *[UNANSWERED] * SILENCE)
    clock.now -= 1
    assert not silence.has_begun
    assert not silence.is_in_pause
