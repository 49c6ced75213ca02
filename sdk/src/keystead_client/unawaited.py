"""Which calls of ``auth`` a request has made and not awaited: where some are left, its answer is worth nothing."""

from __future__ import annotations

import asyncio
from typing import Final

from keystead_client._transport import LOGGER

_FIRST_ERROR: Final = 400


class Call:
    """One call, as long as it has not begun."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Unawaited:
    """Those of one request. What runs in a thread may add to them."""

    def __init__(self) -> None:
        self._calls: dict[Call, None] = {}
        self._has_begun_to_answer = False
        self._is_told = False

    def add(self, name: str) -> Call:
        """The function of that name has been called."""
        call = Call(name)
        self._calls[call] = None
        return call

    def remove(self, call: Call) -> None:
        """It has begun, or was closed."""
        self._calls.pop(call, None)

    def drop(self, call: Call) -> None:
        """Nobody can await it any more. Before the answer begins that stands against the answer; later it is logged."""
        if self._has_begun_to_answer and call in self._calls:
            self._tell_of(call.name)
            self.remove(call)

    def must_be_none(self, status: int | None) -> None:
        """Raises ``RuntimeError`` where one is left. An error page may go out, and tells more: that is logged.

        ``status`` is that of the answer; None where a WebSocket is accepted.
        """
        name = self._left()
        if name is None:
            return
        if status is None or status < _FIRST_ERROR:
            self._is_told = True
            raise RuntimeError(f"auth.{name}() was called without `await`, so it has done nothing")
        self._tell_of(name)

    def begin_to_answer(self) -> None:
        """From here on nothing can be refused."""
        self._has_begun_to_answer = True

    def tell(self) -> None:
        """Logs what is left at the end."""
        name = self._left()
        if name is not None:
            self._tell_of(name)

    def _left(self) -> str | None:
        calls = tuple(self._calls)
        # A task begins when the loop comes round to it: what is one may be awaited yet.
        scheduled = _calls_of_tasks() if calls else set()
        return next((call.name for call in calls if call not in scheduled), None)

    def _tell_of(self, name: str) -> None:
        if not self._is_told:
            self._is_told = True
            LOGGER.error("auth.%s() was called without `await`, so it has done nothing", name)


def _calls_of_tasks() -> set[object]:
    try:
        return {getattr(task.get_coro(), "call", None) for task in asyncio.all_tasks()}
    except RuntimeError:  # no loop runs here
        return set()
