"""The pages that say why nothing happened. They never say more about a link than that it does not work."""

from __future__ import annotations

import traceback

import structlog

from keystead.errors import OURS_TO_MEND, InternalError, KeysteadError, MalformedRequest, OriginRefused, Overload
from keystead.web.pages.rendering import render
from keystead.web.pages.responses import Answer
from keystead.web.pages.wording import Wording

_log = structlog.get_logger("keystead.page")


class NoSuchPage(MalformedRequest):
    """There is nothing at this path."""

    def __init__(self) -> None:
        super().__init__("There is no such page.", status=404)


def problem(error: Exception, wording: Wording, reference_id: str, allow: str) -> Answer:
    """The answer to a request that failed; ``allow`` are the methods of the path. What is ours to mend is logged."""
    if not isinstance(error, KeysteadError) or isinstance(error, InternalError):
        _note_fault(error, reference_id)
        return _page("fault", 500, wording, reference_id=reference_id)
    is_ours = isinstance(error, OURS_TO_MEND)
    if error.cause is not None or is_ours:
        tell = _log.error if is_ours else _log.info
        tell("page.refused", code=error.code, cause=error.cause or error.message, reference_id=reference_id)
    match error:
        case Overload(status=status, retry_after=seconds):
            return _page("busy", status, wording, ("retry-after", str(seconds)))
        case OriginRefused():
            return _page("elsewhere", 403, wording)
        case NoSuchPage():
            return _page("nowhere", 404, wording)
        case MalformedRequest(status=405):
            return _page("unreadable", 405, wording, ("allow", allow))
        case MalformedRequest(status=status):
            return _page("unreadable", status, wording)
        case _:
            # Used, run out, never issued, of another kind, its feature switched off, its address taken: all one.
            return _page("gone", 410, wording)


def _page(
    name: str, status: int, wording: Wording, *headers: tuple[str, str], reference_id: str | None = None
) -> Answer:
    title, lead = wording.say(f"{name}.title"), wording.say(f"{name}.lead")
    text = render("problem", wording, brand=None, title=title, lead=lead, reference=reference_id)
    return Answer(status, text, headers=headers)


def _note_fault(error: Exception, reference_id: str) -> None:
    # The place and the kind, never the text: it may hold what the form brought.
    cause = error.cause if isinstance(error, KeysteadError) else None
    trace = "".join(traceback.format_tb(error.__traceback__))
    _log.error("page.fault", reference_id=reference_id, kind=type(error).__name__, cause=cause, trace=trace)
