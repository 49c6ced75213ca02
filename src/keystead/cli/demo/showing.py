"""Signs the demo's user in, sends each request of the tour once, and prints what was answered as it should be."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from keystead.cli.demo.accounts import create_me, exchange
from keystead.cli.demo.content import ACCOUNT, BRAND
from keystead.cli.demo.keepsake import Keepsake
from keystead.cli.demo.request import ACCESS_TOKEN, REFRESH_TOKEN, DemoRequestError, Request, Sender, Taken, as_curl
from keystead.cli.demo.tour import access_token, login, standing_login, tour
from keystead.cli.output import note, print_document, print_lines
from keystead.clock import SystemClock

FRESH_FOR: Final = timedelta(minutes=50)
"""How long a printed access token must still be good for; else another one is fetched."""
_UP_WITHIN: Final = 10.0
_PAUSE: Final = 0.05


def show(origin: str, path: Path, keepsake: Keepsake, *, as_json: bool) -> None:
    """Prints the tour of the server at ``origin``; its tokens join the others in ``path``.

    :raises DemoRequestError: when a request is not answered as it should be.
    """
    sender = Sender(origin)
    _wait_until_up(sender)
    _sign_in(sender, keepsake, SystemClock().now())
    keepsake.write(path)
    shown = []
    for request in tour(keepsake, origin):
        sender.send(request)
        shown.append({"title": request.title, "curl": as_curl(request, origin)})
    if as_json:
        print_document(
            {
                "url": f"{origin}/graphql",
                "mailbox": f"{origin}/mailbox",
                "brand": BRAND,
                "secrets": asdict(keepsake),
                "requests": shown,
            }
        )
    else:
        print_lines(*_introduction(origin, path, keepsake))
        for entry in shown:
            print_lines(f"# {entry['title']}", entry["curl"], "")
        print_lines(*_addresses(origin), *_login(keepsake))
    note("Ctrl-C stops the demo.")


def _introduction(origin: str, path: Path, keepsake: Keepsake) -> tuple[str, ...]:
    return (
        *_addresses(origin),
        "",
        *_login(keepsake),
        f"  brand token  {keepsake.brand_token}",
        f"  API key      {keepsake.api_key}",
        "",
        f"These secrets are kept in {path}. Remove its folder to start anew.",
        "Each request below was just answered with 200. Paste them into another terminal, as often as you like; the",
        "access tokens in them are good for an hour, then start the demo again.",
        "",
    )


def _addresses(origin: str) -> tuple[str, ...]:
    return (
        f"Keystead's demo: {origin}/graphql (with GraphiQL in a browser)",
        f"Its mailbox:     {origin}/mailbox (open it in a browser: every mail of the demo is there)",
    )


def _login(keepsake: Keepsake) -> tuple[str, ...]:
    return (
        f"  brand        {BRAND}",
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


def _sign_in(sender: Sender, keepsake: Keepsake, now: datetime) -> None:
    """Sees to it that the tokens of the printed commands are good for a while. Those of the last start are kept."""
    if not _is_good(sender, keepsake.auth_token, now):
        keepsake.auth_token = sender.take(Taken(login(keepsake), ACCESS_TOKEN))
    if not _is_good(sender, keepsake.standing_access_token, now):
        keepsake.standing_refresh_token = sender.take(Taken(standing_login(keepsake), REFRESH_TOKEN))
        exchanged = access_token(keepsake.standing_refresh_token)
        keepsake.standing_access_token = sender.take(Taken(exchanged, ACCESS_TOKEN))
    if not _is_good(sender, keepsake.newcomer_access_token, now):
        _sign_newcomer_in(sender, keepsake)


def _sign_newcomer_in(sender: Sender, keepsake: Keepsake) -> None:
    """The one without an address: the same as last time, or another one where all their sessions were ended."""
    with suppress(DemoRequestError):
        keepsake.newcomer_access_token = sender.take(Taken(exchange(keepsake.newcomer_refresh_token), ACCESS_TOKEN))
        return
    keepsake.newcomer_refresh_token = sender.take(Taken(create_me(keepsake), REFRESH_TOKEN))
    keepsake.newcomer_access_token = sender.take(Taken(exchange(keepsake.newcomer_refresh_token), ACCESS_TOKEN))


def _is_good(sender: Sender, token: str, now: datetime) -> bool:
    if not token or _expiry(token) < (now + FRESH_FOR).timestamp():
        return False
    with suppress(DemoRequestError):
        sender.send(Request("me", "{ me { id } }", headers={"Authorization": token}))
        return True
    return False


def _expiry(token: str) -> int:
    """When the token expires, in seconds since 1970; 0 for something else than a token."""
    with suppress(ValueError, KeyError, IndexError, TypeError):
        payload = token.split(".")[1]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return int(claims["exp"])
    return 0
