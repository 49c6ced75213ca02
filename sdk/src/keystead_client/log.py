"""What an operator has to know. Nothing of a user is written: no token, no password, no address."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final

from keystead_client.errors import KeysteadError, NetworkError, ServerError, Unauthorized
from keystead_client.reasons import printable
from keystead_client.sending import NoFreeConnection

LOGGER: Final = logging.getLogger("keystead_client")

QUIET: Final = 60.0
"""Seconds from one outage that is written to the next."""
_LONGEST: Final = 300
"""Characters of a message that somebody else has written."""


def in_one_line(message: str) -> str:
    """The message as it may stand in a log, whoever wrote it."""
    return printable(message[:_LONGEST])


class Once:
    """A warning that is written once in each process."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._written: dict[str, object] = {}

    def __call__(self) -> None:
        mark = object()
        # Of threads that come at once, one is first.
        if self._written.setdefault("", mark) is mark:
            LOGGER.warning(self._message)


class Outages:
    """Around each question: writes one line when there is an outage, and one when it is over.

    That a question was refused is no outage, except where the application's own credential was.
    """

    def __init__(self, who: str, clock: Callable[[], float]) -> None:
        self._who = who
        self._clock = clock
        self._written: dict[str, object] = {}
        self._written_at: float | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, NoFreeConnection):
            return
        if isinstance(error, NetworkError | ServerError | Unauthorized):
            self._begin(error)
        elif (error is None or isinstance(error, KeysteadError)) and self._written and self._written.pop("", None):
            LOGGER.info("%s can tell again who is logged in", self._who)

    def _begin(self, error: KeysteadError) -> None:
        now = self._clock()
        if self._written_at is not None and 0 <= now - self._written_at < QUIET:
            return
        mark = object()
        if self._written.setdefault("", mark) is mark:
            self._written_at = now
            LOGGER.warning("%s cannot tell who is logged in: %s", self._who, in_one_line(error.message))
