"""``keystead serve``: the server."""

from __future__ import annotations

from typing import Annotated

import typer

from keystead.cli.options import AsJson
from keystead.cli.output import note, print_document
from keystead.settings import DEFAULT_PORT

MOST_WORKERS = 256


def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="The port to listen on.")] = DEFAULT_PORT,
    workers: Annotated[int, typer.Option("--workers", min=1, max=MOST_WORKERS, help="How many processes.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Start the server. SIGTERM and Ctrl-C let open requests finish."""
    from keystead.web import serving

    def announce() -> None:
        shown = f"[{host}]" if ":" in host else host
        if as_json:
            print_document({"host": host, "port": port, "workers": workers})
        note(f"keystead listens on http://{shown}:{port}/graphql")

    serving.serve(serving.Listening(host, port, workers), announce=announce)
