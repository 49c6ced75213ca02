"""Waiting for the end of something that must not be left half known."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def settle(future: asyncio.Future[T]) -> T:
    """The result of ``future``, waited for to the end even when the waiter is cancelled meanwhile.

    A cancellation goes on afterwards, so that nobody is left guessing whether a COMMIT happened.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        with suppress(BaseException):
            future.result()
        raise cancelled
    return future.result()
