"""Log fields for failures of background tasks: one line when a series of failures starts, one when it ends."""

from __future__ import annotations

from typing import Any

from keystead.errors import Overload


def describe(error: BaseException) -> dict[str, Any]:
    """The log fields of a failure: the cause of an outage, the traceback of anything else."""
    if isinstance(error, Overload):
        return {"cause": error.cause or error.message}
    return {"exc_info": error}


class FailureSeries:
    """Consecutive failures of a periodic task."""

    def __init__(self) -> None:
        self._kind: type[BaseException] | None = None

    def start(self, error: BaseException) -> dict[str, Any] | None:
        """The log fields of a failure that starts a series of its kind; None for one that continues it.

        All outages are one kind: while a database is unavailable, its errors alternate.
        """
        kind = Overload if isinstance(error, Overload) else type(error)
        is_first, self._kind = kind is not self._kind, kind
        return describe(error) if is_first else None

    def end(self) -> bool:
        """Record a success; returns whether it ends a series."""
        was_failing, self._kind = self._kind is not None, None
        return was_failing
