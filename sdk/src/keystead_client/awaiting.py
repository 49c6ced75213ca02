"""Functions that have to be awaited, and make themselves felt where that is forgotten.

A coroutine is true and is not None, so ``if auth.logged_in():`` without its ``await`` would let everybody in, and
without it ``auth.require_auth()`` would require nothing. So what is called here

- is neither true nor false;
- keeps an answer from beginning as long as it has not begun itself, whether it was dropped or is held somewhere, except
  an answer that is an error page (400 and above): that is logged.

What does not show: a task of one that nobody awaits, and a call after the answer has begun, in a stream or a WebSocket.
The latter is logged as an error when it is dropped, or at the end. A call that is handed to a coroutine which has not
begun counts as not awaited.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar

from keystead_client.browser import Browser, current_browser
from keystead_client.unawaited import Unawaited

P = ParamSpec("P")
T = TypeVar("T")


class Awaited(Coroutine[Any, Any, T]):
    """A coroutine that is neither true nor false, and that the request knows of until it begins."""

    __slots__ = ("__weakref__", "_coroutine", "_name", "_unawaited", "call")

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, T], browser: Browser | None) -> None:
        self._name = name
        self._coroutine = coroutine
        self._unawaited = browser.unawaited if browser is not None else Unawaited()
        self.call = self._unawaited.add(name)

    def __bool__(self) -> Literal[True]:
        # From Python 3.13 on asyncio asks, before it shows a task, whether the task has a coroutine.
        if sys._getframe(1).f_globals.get("__name__") == "asyncio.base_tasks":
            return True
        # It stays unawaited: templates take an exception in a condition for false.
        raise TypeError(f"{self._name}() has not been awaited: await it")

    def __repr__(self) -> str:
        return f"<{self._coroutine!r}, to be awaited>"

    def __await__(self) -> Generator[Any, Any, T]:
        self._unawaited.remove(self.call)
        return self._coroutine.__await__()

    def __del__(self) -> None:
        self._unawaited.drop(self.call)

    def send(self, value: Any) -> Any:
        """As a coroutine does."""
        self._unawaited.remove(self.call)
        return self._coroutine.send(value)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        trace: TracebackType | None = None,
        /,
    ) -> Any:
        """As a coroutine does."""
        self._unawaited.remove(self.call)
        # Python 3.12 warns of the other two, so one exception is passed on.
        if isinstance(kind, BaseException):
            return self._coroutine.throw(kind)
        return self._coroutine.throw(value if isinstance(value, BaseException) else kind())

    def close(self) -> None:
        """As a coroutine does."""
        self._unawaited.remove(self.call)
        self._coroutine.close()


def to_be_awaited(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The function; what a call returns is :class:`Awaited`.

    Raises ``RuntimeError`` at the call where nobody can await it: no event loop runs, and the application speaks WSGI.
    One that speaks ASGI may hand it from a thread to its event loop, as ``async_to_sync`` does.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        browser = current_browser.get(None)
        if (browser is None or browser.gate.is_for_threads) and not _is_in_event_loop():
            raise RuntimeError(
                f"{function.__name__}() of keystead_client.auth has to be awaited, and no event loop runs here: use "
                "keystead_client.wsgi.auth"
            )
        return Awaited(function.__name__, function(*args, **kwargs), browser)

    # Frameworks ask whether to call a function here or in a thread.
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(call)
    call._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return call


def plain(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The function that was given to :func:`to_be_awaited`."""
    inner: Callable[P, Coroutine[Any, Any, T]] = inspect.unwrap(function)
    return inner


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
