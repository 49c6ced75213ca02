"""Signs the demo's user in, sends each request of the tour once, and prints what was answered as it should be."""

from __future__ import annotations

import shlex
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from keystead.cli.demo.content import ACCOUNT, BRAND, GUIDE
from keystead.cli.demo.keepsake import Keepsake
from keystead.cli.demo.request import DemoRequestError, Request, Sender, Shell, as_curl
from keystead.cli.demo.signing_in import end_other_sessions, sign_in
from keystead.cli.demo.tour import tour
from keystead.cli.output import note, print_document, print_lines
from keystead.clock import SystemClock

_UP_WITHIN: Final = 10.0
_PAUSE: Final = 0.05


def show(origin: str, path: Path, keepsake: Keepsake, *, as_json: bool) -> None:
    """Prints the tour of the server at ``origin``; its tokens join the others in ``path``.

    :raises DemoRequestError: when a request is not answered as it should be.
    """
    sender = Sender(origin)
    _wait_until_up(sender)
    sign_in(sender, keepsake, SystemClock().now())
    keepsake.write(path)
    tokens = path.with_name("tokens.sh")
    keepsake.write_variables(tokens)
    # A document stands by itself; people paste from a page that is short enough to look through.
    shell = Shell(origin) if as_json else Shell(origin, keepsake.variables())
    shown = []
    for request in tour(keepsake, origin):
        sender.send(request)
        shown.append({"title": request.title, "curl": as_curl(request, shell)})
    end_other_sessions(sender, keepsake)
    if as_json:
        print_document(
            {
                "url": f"{origin}/graphql",
                "mailbox": f"{origin}/mailbox",
                "brand": BRAND,
                "brand_id": keepsake.brand_id,
                "secrets": asdict(keepsake),
                "requests": shown,
            }
        )
        note("Keystead's demo is up.")
    else:
        print_lines(*_introduction(origin, path, tokens, keepsake))
        for entry in shown:
            print_lines(f"# {entry['title']}", entry["curl"], "")
        print_lines(*_addresses(origin), *_login(keepsake))
        note("Ctrl-C stops the demo.")


def _introduction(origin: str, path: Path, tokens: Path, keepsake: Keepsake) -> tuple[str, ...]:
    return (
        *_addresses(origin),
        "",
        *_login(keepsake),
        f"  brand token  {keepsake.brand_token}",
        f"  API key      {keepsake.api_key}",
        "",
        f"These secrets are kept in {path}. Remove its folder to start anew.",
        "Each request below was just answered with 200. Paste them into another terminal, as often as you like. Before",
        f"them, paste this line, which sets their access tokens: $AUTH and $STANDING are those of {GUIDE},",
        "another administrator, $NEWCOMER is that of an anonymous user. They are good for an hour; then start the demo",
        "again, and paste the line again.",
        "",
        f". {shlex.quote(str(tokens))}",
        "",
        "Names with pylo or yoli in them are aliases: apps that were written for the older names go on with them.",
        "",
    )


def _addresses(origin: str) -> tuple[str, ...]:
    return (
        f"Keystead's demo: {origin}/graphql (with GraphiQL in a browser)",
        f"Its mailbox:     {origin}/mailbox (open it in a browser: every mail of the demo is there)",
    )


def _login(keepsake: Keepsake) -> tuple[str, ...]:
    return (
        f"  brand        {BRAND} (its id: {keepsake.brand_id})",
        f"  e-mail       {keepsake.email} (an administrator), {ACCOUNT}",
        f"  password     {keepsake.password} (of both)",
    )


def _wait_until_up(sender: Sender) -> None:
    pause = threading.Event()
    for _ in range(int(_UP_WITHIN / _PAUSE)):
        with suppress(DemoRequestError):
            sender.send(Request("health", path="/health"))
            return
        pause.wait(_PAUSE)
    raise DemoRequestError(f"the server was not up within {_UP_WITHIN:.0f} s")
