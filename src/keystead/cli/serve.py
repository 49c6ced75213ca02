"""``keystead serve``: run the server."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from keystead.cli.options import AsJson
from keystead.cli.output import note, print_document
from keystead.settings import DEFAULT_PORT

DEFAULT_HOST = "127.0.0.1"
LARGEST_PORT = 65_535
MOST_WORKERS = 256


def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option("--port", min=1, max=LARGEST_PORT, help="The port.")] = DEFAULT_PORT,
    workers: Annotated[int, typer.Option("--workers", min=1, max=MOST_WORKERS, help="How many worker processes.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Start the server. SIGTERM and Ctrl-C let open requests finish."""
    from keystead.web import run

    def announce() -> None:
        exit_cleanly_on_signals()
        shown = f"[{host}]" if ":" in host else host
        if as_json:
            print_document({"host": host, "port": port, "workers": workers})
        note(f"keystead listens on http://{shown}:{port}/graphql")

    run.serve(run.ListenOptions(host, port, workers), announce=announce)


def exit_cleanly_on_signals() -> None:
    """Exit with code 0 after SIGTERM and Ctrl-C: uvicorn raises them again when every open request is answered."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)


def parse_plain(words: Sequence[str]) -> dict[str, Any] | None:
    """Parse a valid ``serve`` command without Typer, whose 13 MiB a serving process would keep.

    :returns: the arguments of :func:`serve`, or None for anything else, including errors, which Typer reports.
    """
    if words[:1] != ["serve"]:
        return None
    given: dict[str, Any] = {}
    rest = iter(words[1:])
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--json":
            given["as_json"] = True
        elif name == "--host" and (host := value if equals else next(rest, "")):
            given["host"] = host
        elif name in _COUNTS and (count := _count(value if equals else next(rest, ""), _COUNTS[name])):
            given[name.removeprefix("--")] = count
        else:
            return None
    return given


_COUNTS = {"--port": LARGEST_PORT, "--workers": MOST_WORKERS}


def _count(text: str, most: int) -> int | None:
    is_count = text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most
    return int(text) if is_count else None
