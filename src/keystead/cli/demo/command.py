"""``keystead demo``: prepares the data, serves it, sends each request of the tour once and prints it."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from keystead.cli.demo.keepsake import Keepsake
from keystead.cli.options import AsJson
from keystead.cli.serve import end_well_when_told
from keystead.errors import StartupError
from keystead.settings import DEFAULT_PORT

_SETTINGS: Final = """# Written by keystead demo at each start. To look into its data with other commands:
#   KEYSTEAD_CONFIG={config} keystead user list --brand rainbowMakers
database_url = {url}
base_url = {base_url}
cors_origins = ["*"]
introspection = "public"
log_level = "warning"
log_format = "console"
"""


def demo(
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="The port to listen on.")] = DEFAULT_PORT,
    folder: Annotated[Path, typer.Option("--folder", file_okay=False, help="Where the demo keeps its data.")] = Path(
        ".demo"
    ),
    as_json: AsJson = False,
) -> None:
    """Start a server on a small database of its own, and print requests to paste into another terminal."""
    from keystead.cli.demo import showing
    from keystead.web import serving

    folder = folder.absolute()
    origin = f"http://localhost:{port}"
    _settle_in(folder, origin)
    keepsake = _prepare(folder / "secrets.json")
    failures: list[str] = []

    def show() -> None:
        try:
            showing.show(origin, folder / "secrets.json", keepsake, as_json=as_json)
        except Exception as error:
            failures.append(f"the demo's own requests failed: {error}")
            os.kill(os.getpid(), signal.SIGTERM)

    serving.serve(serving.Listening(port=port), is_demo=True, announce=_beside(show))
    if failures:
        raise StartupError(failures[0])


def _beside(work: Callable[[], None]) -> Callable[[], None]:
    """Starts ``work`` on a thread of its own, once the server is about to listen."""

    def start() -> None:
        end_well_when_told()
        threading.Thread(target=work, daemon=True).start()

    return start


def _settle_in(folder: Path, origin: str) -> None:
    """Makes the folder, and lets this process see the demo's settings alone: never those of a real installation."""
    config = folder / "keystead.toml"
    url = f"sqlite:///{folder / 'demo.db'}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = _SETTINGS.format(config=config, url=json.dumps(url), base_url=json.dumps(origin))
        config.write_text(text, "utf-8")
    except OSError as error:
        raise StartupError(f"cannot write in {folder}: {error.strerror}") from None
    for name in [name for name in os.environ if name.startswith("KEYSTEAD_")]:
        del os.environ[name]
    os.environ["KEYSTEAD_CONFIG"] = str(config)


def _prepare(path: Path) -> Keepsake:
    from keystead.cli.demo.content import prepare
    from keystead.cli.work import run

    keepsake = Keepsake.read(path)
    run(lambda ctx: prepare(ctx, keepsake), is_new_expected=True)
    keepsake.write(path)
    return keepsake
