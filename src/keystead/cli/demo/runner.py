"""Runs the tour: logs in, sends each request once, and prints it as a ``curl`` command for a POSIX shell."""

from __future__ import annotations

import base64
import json
import re
import secrets
import shlex
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from keystead.cli.demo.requests import (
    ACCESS_TOKEN,
    REFRESH_TOKEN,
    Extract,
    Request,
    Unique,
    create_me,
    exchange,
    pair_login,
    second_login,
    standing_login,
    tour,
)
from keystead.cli.demo.sample_data import ACCOUNT, BRAND, GUIDE, DemoSecrets, replace_private_file
from keystead.cli.output import note, print_document, print_lines
from keystead.clock import SystemClock

_START_TIMEOUT: Final = 10.0
_POLL_INTERVAL: Final = 0.05
_REQUEST_TIMEOUT: Final = 10.0
_MIN_VALIDITY: Final = timedelta(minutes=50)
"""A stored access token that expires sooner is replaced."""
_USER_AGENT: Final = "keystead-demo"
"""Marks the demo's own sessions."""
_NO_PROXY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_MARK: Final = "\x1a"
_SESSIONS: Final = "{ sessionList(pagination: { per_page: 100 }) { data { id user_agent is_current } } }"
_REVOKE: Final = "mutation Revoke($id: ID!) { revokeSession(id: $id) { data { success } } }"


class DemoRequestError(Exception):
    """A request of the demo failed."""


def run_tour(origin: str, path: Path, kept: DemoSecrets, *, as_json: bool) -> None:
    """Run and print the tour of the server at ``origin``; store its tokens in ``path`` and beside it.

    :raises DemoRequestError: if a request fails.
    """
    sender = Sender(origin)
    _wait_until_up(sender)
    _log_in(sender, kept, SystemClock().now())
    kept.write(path)
    # Access tokens are long: commands on a terminal refer to them as shell variables. A JSON document is complete.
    variables = {
        "AUTH": kept.auth_token,
        "STANDING": kept.standing_access_token,
        "NEWCOMER": kept.newcomer_access_token,
    }
    tokens = path.with_name("tokens.sh")
    lines = ["# The access tokens in the requests that keystead demo prints.\n"]
    replace_private_file(tokens, "".join([*lines, *(f"{name}={value}\n" for name, value in variables.items())]))
    shown = []
    for request in tour(kept, origin):
        sender.send(request)
        shown.append({"title": request.title, "curl": as_curl(request, origin, {} if as_json else variables)})
    _end_other_sessions(sender, kept)
    if as_json:
        print_document(
            {
                "url": f"{origin}/graphql",
                "mailbox": f"{origin}/mailbox",
                "brand": BRAND,
                "brand_id": kept.brand_id,
                "secrets": asdict(kept),
                "requests": shown,
            }
        )
        note("Keystead's demo is up.")
    else:
        print_lines(*_introduction(origin, path, tokens, kept))
        for entry in shown:
            print_lines(f"# {entry['title']}", entry["curl"], "")
        print_lines(*_summary(origin, kept))
        note("Ctrl-C stops the demo.")


def _introduction(origin: str, path: Path, tokens: Path, kept: DemoSecrets) -> tuple[str, ...]:
    return (
        *_summary(origin, kept),
        f"  brand token  {kept.brand_token}",
        f"  API key      {kept.api_key}",
        "",
        f"These secrets are stored in {path}. To start over, remove its folder.",
        "Each request below was just answered with 200. Paste them into another terminal, as often as you like. First",
        f"paste this line, which sets their access tokens: $AUTH and $STANDING belong to {GUIDE},",
        "another administrator, $NEWCOMER to an anonymous user. They are valid for an hour; then restart the demo and",
        "paste the line again.",
        "",
        f". {shlex.quote(str(tokens))}",
        "",
        "Names with pylo or yoli in them are aliases, for apps that use the older names.",
        "",
    )


def _summary(origin: str, kept: DemoSecrets) -> tuple[str, ...]:
    return (
        f"Keystead's demo: {origin}/graphql (with GraphiQL in a browser)",
        f"Its mailbox:     {origin}/mailbox (in a browser: every mail of the demo)",
        f"  brand        {BRAND} (its id: {kept.brand_id})",
        f"  e-mail       {kept.email} (an administrator), {ACCOUNT}",
        f"  password     {kept.password} (of both)",
    )


def _wait_until_up(sender: Sender) -> None:
    pause = threading.Event()
    for _ in range(int(_START_TIMEOUT / _POLL_INTERVAL)):
        with suppress(DemoRequestError):
            sender.send(Request("health", path="/health"))
            return
        pause.wait(_POLL_INTERVAL)
    raise DemoRequestError(f"the server was not up within {_START_TIMEOUT:.0f} s")


def _log_in(sender: Sender, kept: DemoSecrets, now: datetime) -> None:
    """Replace the access tokens that are invalid or expire soon."""
    if not _is_valid(sender, kept.auth_token, now):
        kept.auth_token = sender.extract(Extract(pair_login(kept, GUIDE), ACCESS_TOKEN))
    if not _is_valid(sender, kept.standing_access_token, now):
        kept.standing_refresh_token = sender.extract(Extract(standing_login(kept, GUIDE), REFRESH_TOKEN))
        kept.standing_access_token = sender.extract(Extract(exchange(kept.standing_refresh_token), ACCESS_TOKEN))
    if not _is_valid(sender, kept.newcomer_access_token, now):
        # The anonymous user of the last start, or a new one if its sessions were ended.
        try:
            token = sender.extract(Extract(exchange(kept.newcomer_refresh_token), ACCESS_TOKEN))
        except DemoRequestError:
            kept.newcomer_refresh_token = sender.extract(Extract(create_me(kept), REFRESH_TOKEN))
            token = sender.extract(Extract(exchange(kept.newcomer_refresh_token), ACCESS_TOKEN))
        kept.newcomer_access_token = token


def _is_valid(sender: Sender, token: str, now: datetime) -> bool:
    if not token or _claims(token).get("exp", 0) < (now + _MIN_VALIDITY).timestamp():
        return False
    with suppress(DemoRequestError):
        sender.send(Request("me", "{ me { id } }", headers={"Authorization": token}))
        return True
    return False


def _end_other_sessions(sender: Sender, kept: DemoSecrets) -> None:
    """End the sessions that the demo opened, now or earlier, except those of the printed tokens. Users' stay."""
    current = {_claims(token).get("sid") for token in (kept.auth_token, kept.standing_access_token)}
    logins = (pair_login(kept), second_login(kept))
    for token in (kept.auth_token, *(sender.extract(Extract(login, ACCESS_TOKEN)) for login in logins)):
        bearer = {"Authorization": token}
        found = json.loads(sender.send(Request("sessions", _SESSIONS, headers=bearer)))["data"]["sessionList"]["data"]
        # The session that asks comes last: it could not end the others afterwards.
        for session in sorted(found, key=lambda session: bool(session["is_current"])):
            if session["user_agent"] == _USER_AGENT and session["id"] not in current:
                sender.send(Request("end a session", _REVOKE, {"id": session["id"]}, bearer))


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified; empty for any other text."""
    with suppress(ValueError, IndexError):
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims if isinstance(claims, dict) else {}
    return {}


class Sender:
    """Sends requests to ``origin``, and caches the responses for :class:`Extract`."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._responses: dict[Request, str] = {}

    def send(self, request: Request) -> str:
        """The body of the response.

        :raises DemoRequestError: unless the status is 200 and there are no ``errors``.
        """
        headers = {name: self._resolve(value) for name, value in request.headers.items()}
        headers["User-Agent"] = _USER_AGENT
        body = None
        if request.query:
            headers["Content-Type"] = "application/json"
            body = json.dumps(_body(request, self._resolve)).encode()
        text = _post(urllib.request.Request(self._origin + request.path, body, headers), request.title)  # noqa: S310
        self._responses[request] = text
        return text

    def extract(self, value: Extract) -> str:
        """The extracted value; sends the request unless its response is cached.

        :raises DemoRequestError: if a request fails, or the response has no match.
        """
        if value.after is not None:
            self.send(value.after)
            self._responses.pop(value.request, None)
        found = re.search(value.pattern, self._responses.get(value.request) or self.send(value.request))
        if found is None:
            raise DemoRequestError(f"{value.request.title}: the response lacks a value that the next request needs")
        return found.group()

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, Unique):
            return f"{value.start}{secrets.token_hex(8)}{value.end}"
        return self.extract(value) if isinstance(value, Extract) else value


def _post(request: urllib.request.Request, title: str) -> str:
    try:
        with _NO_PROXY.open(request, timeout=_REQUEST_TIMEOUT) as response:
            text: str = response.read().decode("utf-8")
            is_json = response.headers.get_content_type() == "application/json"
    except urllib.error.HTTPError as error:
        raise DemoRequestError(f"{title}: HTTP {error.code}: {error.read().decode('utf-8', 'replace')}") from None
    except OSError as error:
        raise DemoRequestError(f"{title}: {error}") from None
    if is_json and "errors" in json.loads(text):
        raise DemoRequestError(f"{title}: {text}")
    return text


def as_curl(request: Request, origin: str, variables: Mapping[str, str]) -> str:
    """The request as a command of one line. ``variables`` are set in the shell: name -> value."""
    address = f"{origin}{request.path}"
    words = ["curl", "-s", f"'{address}'" if "?" in address else address]
    for name, value in request.headers.items():
        short = next((f"{value.removesuffix(long)}${variable}" for variable, long in variables.items()
                      if isinstance(value, str) and value.endswith(long)), None)  # fmt: skip
        text, marked = _mark(value)
        words += ["-H", f'"{name}: {short}"' if short else _quoted(f"{name}: {text}", marked, origin, variables)]
    if request.query:
        found: list[Extract | Unique] = []

        def mark(value: Any) -> Any:
            text, marked = _mark(value)
            found.extend(marked)
            return text

        text = json.dumps(_body(request, mark), ensure_ascii=False).replace(json.dumps(_MARK)[1:-1], _MARK)
        words += ["-H", "'Content-Type: application/json'", "-d", _quoted(text, found, origin, variables)]
    return " ".join(words)


def _body(request: Request, resolve: Callable[[Any], Any]) -> dict[str, Any]:
    variables = {"variables": _map(request.variables, resolve)} if request.variables else {}
    return {"query": request.query, **variables}


def _map(value: Any, resolve: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {name: _map(part, resolve) for name, part in value.items()}
    return [_map(part, resolve) for part in value] if isinstance(value, list) else resolve(value)


def _mark(value: Any) -> tuple[Any, list[Extract | Unique]]:
    if isinstance(value, Unique):
        return f"{value.start}{_MARK}{value.end}", [value]
    return (_MARK, [value]) if isinstance(value, Extract) else (value, [])


def _quoted(text: str, marked: list[Extract | Unique], origin: str, variables: Mapping[str, str]) -> str:
    """``text`` in single quotes, with a command substitution in the place of each mark."""
    first, *rest = ("'" + part.replace("'", "'\\''") + "'" for part in text.split(_MARK))
    pieces = [first]
    for value, part in zip(marked, rest, strict=True):
        pieces += [f'"$({_substitution(value, origin, variables)})"', part]
    return "".join(piece for piece in pieces if piece != "''") or "''"


def _substitution(value: Extract | Unique, origin: str, variables: Mapping[str, str]) -> str:
    if isinstance(value, Unique):
        return "date +%s%N"
    first = f"{as_curl(value.after, origin, variables)} > /dev/null; " if value.after else ""
    return f"{first}{as_curl(value.request, origin, variables)} | grep -oE '{value.pattern}' | head -n 1"
