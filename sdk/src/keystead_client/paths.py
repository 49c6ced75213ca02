"""Which paths are open to everybody, which are for programs, and which a browser may be sent back to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

# Two readers may understand these differently: the router behind us, a proxy before us. None of them ever opens a path.
_AMBIGUOUS = re.compile(r"//|\\|%|;|[\x00-\x1f\x7f]|/\.{1,2}(?:/|$)")
_AMBIGUOUS_ESCAPE = re.compile(rb"%(?:2f|5c|2e|25|3b|00)", re.IGNORECASE)
_UNSAFE_TARGET = re.compile(r"[\\\x00-\x20\x7f-\x9f]")
_ABSOLUTE = re.compile(r"(https?://[^/?#]+)(?:[/?#].*)?", re.IGNORECASE)
_KEPT = "/~!$&'()*+,:@="
_MOST_TARGET = 2000


class PathRules:
    """Prefixes of whole segments: ``/auth`` holds ``/auth`` and ``/auth/x``, never ``/authors``.

    ``/`` holds the root page alone.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        """Raises ``ValueError`` for a prefix that is no plain path, ``TypeError`` for one string in place of many."""
        if isinstance(prefixes, str):
            raise TypeError("paths are given as a tuple, for example ('/auth',)")
        given = tuple(prefixes)
        for prefix in given:
            if not prefix.startswith("/") or _AMBIGUOUS.search(prefix) or "?" in prefix or "*" in prefix:
                raise ValueError(f"{prefix!r} is not a path such as '/auth'")
        self._prefixes = tuple(prefix.rstrip("/") for prefix in given if prefix != "/")
        self._has_root = "/" in given

    def hold(self, path: str, raw_path: bytes | None = None) -> bool:
        """Whether the decoded ``path`` lies under one of the prefixes; one that can be read in two ways never does."""
        if _AMBIGUOUS.search(path) or (raw_path and _AMBIGUOUS_ESCAPE.search(raw_path.partition(b"?")[0])):
            return False
        if path == "/":
            return self._has_root
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self._prefixes)


def path_within(path: str, root_path: str) -> str:
    """The path as the application's routes know it: without the prefix under which it is mounted."""
    root = root_path.rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :] or "/"
    return path


def is_for_programs(accept: str) -> bool:
    """Whether an ``Accept`` header asks for JSON and not for a page."""
    accepted = accept.lower()
    return "application/json" in accepted and "text/html" not in accepted


def redirect_target(raw: str | None, default: str = "/") -> str:
    """Where to send a browser after it has logged in: ``raw`` if it is a path of this very origin, else ``default``.

    Browsers read ``//host``, ``/\\host`` and ``/<tab>/host`` as another origin; such targets are refused, also when
    they are escaped or hidden behind dots.
    """
    if not raw or len(raw) > _MOST_TARGET or not raw.startswith("/"):
        return default
    path = re.split(r"[?#]", raw, maxsplit=1)[0]
    decoded = unquote(path)
    if _UNSAFE_TARGET.search(raw) or _UNSAFE_TARGET.search(decoded.replace(" ", "")) or "//" in decoded:
        return default
    if re.search(r"/\.{1,2}(?:/|$)", decoded):
        return default
    return raw


def absolute_target(raw: str) -> str | None:
    """The origin of an absolute http(s) address that every browser reads in the same way; None for any other text."""
    if len(raw) > _MOST_TARGET or _UNSAFE_TARGET.search(raw):
        return None
    absolute = _ABSOLUTE.fullmatch(raw)
    return absolute[1] if absolute else None


def mount_point(root: str) -> str:
    """The prefix under which an application is mounted, fit to stand in an address; none where it fits in no path.

    A router that mounts by a parameter takes it from the request: it may be anything.
    """
    return redirect_target(quote(root, safe=_KEPT), "")


def login_location(login_path: str, path: str, query: bytes) -> str:
    """``<login>?redirect=<path>``, with the query of the page that was asked for; an unsafe path becomes ``/``."""
    asked = quote(path, safe=_KEPT)
    if query:
        asked += "?" + quote(query.decode("latin-1"), safe="/?~!$&'()*+,;:@=%")
        if len(asked) > _MOST_TARGET:
            asked = asked.partition("?")[0]
    joint = "&" if "?" in login_path else "?"
    return f"{login_path}{joint}redirect={quote(redirect_target(asked), safe='/')}"
