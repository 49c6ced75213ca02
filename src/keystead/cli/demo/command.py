"""``keystead demo``: prepare the data, serve it, and run the tour."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Final

import typer

from keystead.cli.options import AsJson
from keystead.cli.serve import exit_cleanly_on_signals
from keystead.errors import StartupError
from keystead.settings import DEFAULT_PORT

_SETTINGS: Final = """# Written by keystead demo at each start. To use other commands on its data:
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
    folder: Annotated[Path, typer.Option("--folder", file_okay=False, help="Where the demo stores its data.")] = Path(
        ".demo"
    ),
    as_json: AsJson = False,
) -> None:
    """Start a server with sample data, and print requests to paste into another terminal."""
    from keystead.cli.demo.runner import run_tour
    from keystead.cli.demo.sample_data import DemoSecrets, prepare
    from keystead.cli.work import run
    from keystead.web.run import ListenOptions, serve

    folder = folder.absolute()
    origin, path = f"http://localhost:{port}", folder / "secrets.json"
    _configure(folder, origin)
    kept = DemoSecrets.read(path)
    run(lambda ctx: prepare(ctx, kept), is_new_expected=True)
    kept.write(path)
    failures: list[str] = []

    def show() -> None:
        try:
            run_tour(origin, path, kept, as_json=as_json)
        except Exception as error:
            failures.append(f"the demo's own requests failed: {error}")
            os.kill(os.getpid(), signal.SIGTERM)

    def announce() -> None:
        exit_cleanly_on_signals()
        threading.Thread(target=show, daemon=True).start()

    serve(ListenOptions(port=port), is_demo=True, announce=announce)
    if failures:
        raise StartupError(failures[0])


def _configure(folder: Path, origin: str) -> None:
    """Create the folder with the demo's settings, and hide all other settings of Keystead from this process.

    :raises StartupError: if the folder cannot be written.
    """
    config = folder / "keystead.toml"
    url = f"sqlite:///{folder / 'demo.db'}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = _SETTINGS.format(config=config, url=json.dumps(url), base_url=json.dumps(origin))
        config.write_text(text, "utf-8")
    except OSError as error:
        raise StartupError(f"Cannot write to {folder}: {error.strerror}.") from None
    for name in [name for name in os.environ if name.startswith("KEYSTEAD_")]:
        del os.environ[name]
    os.environ["KEYSTEAD_CONFIG"] = str(config)
