"""One request, two ways: sent from here, and written as a ``curl`` command that does the same.

Some requests use up what they are given: a refresh token, a session, a record to delete, the link in a mail. Their
command fetches it anew by a request of its own, inside ``$(...)``, so that it can be pasted again and again.
"""

from __future__ import annotations

import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

TIMEOUT: Final = 10.0
_NO_PROXY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_MARK: Final = "\x1a"
USER_AGENT: Final = "keystead-demo"
"""As the list of sessions shows those that the demo has opened for itself."""

REFRESH_TOKEN: Final = "ks_rt_[0-9A-Za-z]+"
MAGIC_TOKEN: Final = "ks_ml_[0-9A-Za-z]+"
RESET_TOKEN: Final = "ks_pr_[0-9A-Za-z]+"
ACCESS_TOKEN: Final = "eyJ[0-9A-Za-z._-]+"
ID: Final = "[0-9a-f]{8}-[0-9a-f-]{27}"


class DemoRequestError(Exception):
    """A request of the demo was not answered as it should be."""


@dataclass(frozen=True, eq=False)
class Request:
    """A request. Among its variables and headers a :class:`Taken` stands for a value out of another one's answer, and
    a :class:`Fresh` for a text that never was."""

    title: str
    query: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    path: str = "/graphql"

    @property
    def is_graphql(self) -> bool:
        """Whether it carries a document; else it is a plain GET."""
        return bool(self.query)


@dataclass(frozen=True, eq=False)
class Taken:
    """The first match of ``pattern`` (extended regular expression) in the answer to ``request``."""

    request: Request
    pattern: str
    after: Request | None = None
    """Sent first, each time: what it causes is in the answer."""


@dataclass(frozen=True, eq=False)
class Fresh:
    """A text that is another one each time: between ``start`` and ``end`` stands what has not been there before."""

    start: str
    end: str


class Sender:
    """Sends requests to ``origin``, and remembers the answers for those that build on them."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._answers: dict[Request, str] = {}

    def send(self, request: Request) -> str:
        """The body of the answer.

        :raises DemoRequestError: unless it is 200 and without ``errors``.
        """
        headers = {name: self._resolved(value) for name, value in request.headers.items()}
        headers["User-Agent"] = USER_AGENT
        body = None
        if request.is_graphql:
            headers["Content-Type"] = "application/json"
            body = json.dumps(_body(request, self._resolved)).encode()
        text = _answer(urllib.request.Request(self._origin + request.path, body, headers), request.title)  # noqa: S310
        self._answers[request] = text
        return text

    def take(self, taken: Taken) -> str:
        """The value that ``taken`` stands for; its request is sent unless it was before.

        :raises DemoRequestError: when the answer holds no such value.
        """
        if taken.after is not None:
            self.send(taken.after)
            self._answers.pop(taken.request, None)
        answer = self._answers.get(taken.request) or self.send(taken.request)
        found = re.search(taken.pattern, answer)
        if found is None:
            raise DemoRequestError(f"{taken.request.title}: the answer lacks what the next request needs")
        return found.group()

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, Fresh):
            return f"{value.start}{secrets.token_hex(8)}{value.end}"
        return self.take(value) if isinstance(value, Taken) else value


@dataclass(frozen=True)
class Shell:
    """Where commands are pasted. ``variables`` are the names of those that are set there, by their values."""

    origin: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def in_variable(self, text: Any) -> str | None:
        """The text with a variable in the place of the value at its end; None where there is none."""
        for value, name in self.variables.items():
            if isinstance(text, str) and text.endswith(value):
                return f"{text.removesuffix(value)}${name}"
        return None


def as_curl(request: Request, shell: Shell) -> str:
    """The command, on one line, for a POSIX shell."""
    address = f"{shell.origin}{request.path}"
    words = ["curl", "-s", f"'{address}'" if "?" in address else address]
    for name, value in request.headers.items():
        shown, taken = _marked(value)
        short = shell.in_variable(value)
        words += ["-H", f'"{name}: {short}"' if short else _quoted(f"{name}: {shown}", taken, shell)]
    if request.is_graphql:
        found: list[Taken | Fresh] = []

        def mark(value: Any) -> Any:
            shown, taken = _marked(value)
            found.extend(taken)
            return shown

        text = json.dumps(_body(request, mark), ensure_ascii=False).replace(json.dumps(_MARK)[1:-1], _MARK)
        words += ["-H", "'Content-Type: application/json'", "-d", _quoted(text, found, shell)]
    return " ".join(words)


def _body(request: Request, resolve: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"query": request.query}
    if request.variables:
        body["variables"] = _walk(request.variables, resolve)
    return body


def _walk(value: Any, resolve: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _walk(part, resolve) for name, part in value.items()}
    if isinstance(value, list):
        return [_walk(part, resolve) for part in value]
    return resolve(value)


def _marked(value: Any) -> tuple[Any, list[Taken | Fresh]]:
    if isinstance(value, Fresh):
        return f"{value.start}{_MARK}{value.end}", [value]
    return (_MARK, [value]) if isinstance(value, Taken) else (value, [])


def _quoted(text: str, taken: list[Taken | Fresh], shell: Shell) -> str:
    """``text`` in single quotes, with a command substitution in the place of each mark."""
    first, *rest = ("'" + part.replace("'", "'\\''") + "'" for part in text.split(_MARK))
    pieces = [first]
    for value, part in zip(taken, rest, strict=True):
        pieces += [f'"$({_taking(value, shell)})"', part]
    return "".join(piece for piece in pieces if piece != "''") or "''"


def _taking(value: Taken | Fresh, shell: Shell) -> str:
    if isinstance(value, Fresh):
        return "date +%s%N"
    first = f"{as_curl(value.after, shell)} > /dev/null; " if value.after else ""
    return f"{first}{as_curl(value.request, shell)} | grep -oE '{value.pattern}' | head -n 1"


def _answer(request: urllib.request.Request, title: str) -> str:
    try:
        with _NO_PROXY.open(request, timeout=TIMEOUT) as response:
            text: str = response.read().decode("utf-8")
            is_json = response.headers.get_content_type() == "application/json"
    except urllib.error.HTTPError as error:
        raise DemoRequestError(f"{title}: HTTP {error.code}: {error.read().decode('utf-8', 'replace')}") from None
    except OSError as error:
        raise DemoRequestError(f"{title}: {error}") from None
    if is_json and "errors" in json.loads(text):
        raise DemoRequestError(f"{title}: {text}")
    return text
