"""Decisions of the middleware that need no server: options, public paths, same-origin checks and safe redirects."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from keystead_client._endpoint import is_loopback
from keystead_client._transport import LOGGER
from keystead_client.cookies import CookieOptions

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SAME_SITE: Final = frozenset({"same-origin", "none"})
_PROXY_HEADERS: Final = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
_LOST_COOKIES: Final = (
    "Logged in over plain http, but the cookies are Secure: the browser will drop them. Serve https (a proxy shows it"
    " with X-Forwarded-Proto), or use CookieOptions(secure=False)"
)
_ADDRESS: Final = re.compile(r"[0-9A-Za-z.:%\[\]_-]{1,100}")
# The router behind us or a proxy before us may normalize these differently: no such path is ever public.
_AMBIGUOUS: Final = re.compile(r"//|\\|%|;|[\x00-\x1f\x7f]|/\.{1,2}(?:/|$)")
_AMBIGUOUS_ESCAPE: Final = re.compile(rb"%(?:2f|5c|2e|25|3b|00)", re.IGNORECASE)
_UNSAFE_TARGET: Final = re.compile(r"[\\\x00-\x20\x7f-\x9f]")
_URL: Final = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_UNRESERVED: Final = "/~!$&'()*+,:@="
_MAX_TARGET: Final = 2000
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_MAX_ORIGIN: Final = 300  # a host name has at most 253

Origin = tuple[str, str, int]
"""Scheme, host and port (RFC 6454)."""


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """What the middleware reads from a request, in ASGI and WSGI alike."""

    scheme: str
    host: str
    header_names: frozenset[bytes]  # in lower case
    cookies: list[str] = field(repr=False)  # the values of its Cookie headers
    accept: str
    path: str  # decoded, without the mount prefix
    raw_path: bytes | None
    root: str  # the mount prefix, without a trailing slash
    query: bytes = field(repr=False)
    address: str | None
    origin: str | None = None
    referer: str | None = field(default=None, repr=False)
    method: str = "GET"
    is_websocket: bool = False
    fetch_site: str | None = None

    @property
    def forwarded_for(self) -> str | None:
        """The client's address if it can stand in ``X-Forwarded-For``."""
        return self.address if self.address and _ADDRESS.fullmatch(self.address) else None

    @property
    def is_plain_http(self) -> bool:
        """Whether the request came over plain HTTP, and no header shows a proxy."""
        return self.scheme in ("http", "ws") and _PROXY_HEADERS.isdisjoint(self.header_names)


class PathRules:
    """Prefixes of whole path segments: ``/auth`` matches ``/auth`` and ``/auth/x``, never ``/authors``.

    ``/`` matches the root page only.

    :raises ValueError: a prefix is not a plain path; ``TypeError`` for one string instead of several.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        if isinstance(prefixes, str):
            raise TypeError("pass paths as a tuple, for example ('/auth',)")
        given = tuple(prefixes)
        for prefix in given:
            if not prefix.startswith("/") or _AMBIGUOUS.search(prefix) or "?" in prefix or "*" in prefix:
                raise ValueError(f"{prefix!r} is not a path such as '/auth'")
        self._prefixes = tuple(prefix.rstrip("/") for prefix in given if prefix != "/")
        self._has_root = "/" in given

    def match(self, path: str, raw_path: bytes | None = None) -> bool:
        """Whether the decoded ``path`` is under one of the prefixes; an ambiguous path never is."""
        if _AMBIGUOUS.search(path) or (raw_path and _AMBIGUOUS_ESCAPE.search(raw_path.partition(b"?")[0])):
            return False
        if path == "/":
            return self._has_root
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self._prefixes)


class OriginRules:
    """Origins that count as the application's own, such as ``https://www.example.com`` or ``capacitor://localhost``.

    :raises ValueError: a text is not an origin; ``TypeError`` for one string instead of several.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        if isinstance(allowed, str):
            raise TypeError("pass origins as a tuple, for example ('https://www.example.com',)")
        self._allowed: set[Origin] = set()
        for text in allowed:
            origin = parse_origin(text)
            if origin is None:
                raise ValueError(f"{text!r} is not an origin such as 'https://www.example.com'")
            self._allowed.add(origin)

    def include(self, origin: str | None) -> bool:
        """Whether it is one of the allowed origins."""
        return origin is not None and parse_origin(origin) in self._allowed

    def allow(self, origin: str | None, scheme: str, host: str) -> bool:
        """Whether a page of this origin may act at a request's ``scheme`` and ``Host``. None: not sent by a page."""
        if origin is None:
            return True
        parsed = parse_origin(origin)
        if parsed is None:
            return False
        if parsed in self._allowed:
            return True
        # An app or an extension: the name after its scheme is not a host. And a TLS proxy may make https look like
        # http, but not the other way round.
        if parsed[0] not in _DEFAULT_PORTS or (scheme in ("https", "wss") and parsed[0] != "https"):
            return False
        return parsed == parse_origin(f"{parsed[0]}://{host}")


@dataclass(kw_only=True)
class AccessRules:
    """The options of one middleware that concern requests; see :class:`keystead_client.middleware.Protected`."""

    public: PathRules
    api: PathRules
    origins: OriginRules
    login_path: str
    cookie_options: CookieOptions
    brand: str | None
    allow_anonymous: bool
    refresh_buffer: float
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self._login_page = PathRules((self.login_path.partition("?")[0],))
        self._warn_lost_cookies = cache(partial(LOGGER.warning, _LOST_COOKIES))  # once

    def is_public(self, request: IncomingRequest) -> bool:
        """Whether the path needs no login: by ``public_paths``, or because it is the login page."""
        return any(rules.match(request.path, request.raw_path) for rules in (self.public, self._login_page))

    def is_api(self, request: IncomingRequest) -> bool:
        """Whether to answer with a status instead of a page: by ``api_paths``, or because JSON is asked for."""
        accept = request.accept.lower()
        return self.api.match(request.path) or ("application/json" in accept and "text/html" not in accept)

    def is_cross_origin(self, request: IncomingRequest) -> bool:
        """CSRF protection: whether a page of another origin sends an unsafe method or opens a WebSocket.

        As ``CrossOriginProtection`` in Go's net/http: browsers since 2023 send ``Sec-Fetch-Site``, older ones
        ``Origin``, and a request with neither does not come from a browser.
        """
        if not request.is_websocket:
            if request.method in _SAFE_METHODS:
                return False
            if request.fetch_site:
                return request.fetch_site not in _SAME_SITE and not self.origins.include(request.origin)
        elif request.fetch_site == "same-origin":
            # Scripts cannot forge it. For any other value Origin decides, which every WebSocket of a page has.
            return False
        return not self.origins.allow(request.origin, request.scheme, request.host)

    def login_location(self, request: IncomingRequest, login_path: str | None = None) -> str:
        """Return the URL of the login page, or of ``login_path``, that leads back to this request's page.

        ``login_path`` may come from the request (FastAPI makes query parameters of a dependency's parameters), so it
        must be a path of this origin or a URL of this or an allowed origin.
        """
        # Without an unsafe mount prefix: a router may take it from the request.
        mount = redirect_target(quote(request.root, safe=_UNRESERVED), "")
        given = str(login_path or "")
        url = None if len(given) > _MAX_TARGET or _UNSAFE_TARGET.search(given) else _URL.match(given)
        if url and self.origins.allow(url[0], request.scheme, request.host):
            page = given
        else:
            page = redirect_target(given, "") or mount + self.login_path
        return login_location(page, request.root + request.path, request.query)

    def is_local_development(self, request: IncomingRequest) -> bool:
        """Whether the request came over plain HTTP, to a loopback name, through no visible proxy.

        A proxy that adds no headers still passes on ``Origin`` and ``Referer``, which name the public host.
        """
        pages = [page for page in (request.origin, request.referer) if page]
        return request.is_plain_http and all(map(_is_loopback_origin, [f"http://{request.host}", *pages]))

    def warn_if_cookies_are_lost(self, request: IncomingRequest) -> None:
        """Log once that browsers drop ``Secure`` cookies over plain HTTP to another computer."""
        if self.cookie_options.secure is False or not request.is_plain_http:
            return
        is_https_page = any(page.startswith("https:") for page in (request.origin, request.referer) if page)
        if not is_https_page and not _is_loopback_origin(f"http://{request.host}"):
            self._warn_lost_cookies()


def parse_origin(text: str) -> Origin | None:
    """Parse an origin; None for anything with more or less than scheme, host and port."""
    scheme, separator, rest = text.strip(" \t").lower().partition("://")
    if len(text) > _MAX_ORIGIN or not separator or not _SCHEME.fullmatch(scheme):
        return None
    # No page has an origin of ws, wss or file.
    if scheme in ("ws", "wss", "file") or any(mark in rest for mark in "/?#@\\, \t*"):
        return None
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (scheme, host, port or _DEFAULT_PORTS.get(scheme, 0)) if host else None


def redirect_target(raw: str | None, default: str = "/") -> str:
    """Return where to redirect after a login: ``raw`` if it is a path of this origin, else ``default``.

    Prevents open redirects: browsers read ``//host``, ``/\\host`` and ``/<tab>/host`` as another origin, also escaped
    or behind dot segments.
    """
    if not raw or len(raw) > _MAX_TARGET or not raw.startswith("/"):
        return default
    decoded = unquote(re.split(r"[?#]", raw, maxsplit=1)[0])
    if _UNSAFE_TARGET.search(raw) or _UNSAFE_TARGET.search(decoded.replace(" ", "")) or "//" in decoded:
        return default
    return default if re.search(r"/\.{1,2}(?:/|$)", decoded) else raw


def login_location(login_path: str, path: str, query: bytes) -> str:
    """Return ``<login>?redirect=<path>``, with the query of the page; an unsafe path becomes ``/``."""
    asked = quote(path, safe=_UNRESERVED)
    if query:
        asked += "?" + quote(query.decode("latin-1"), safe="/?~!$&'()*+,;:@=%")
    if len(asked) > _MAX_TARGET:
        asked = asked.partition("?")[0]
    joint = "&" if "?" in login_path else "?"
    return f"{login_path}{joint}redirect={quote(redirect_target(asked), safe='/')}"


def _is_loopback_origin(url: str) -> bool:
    """Whether a URL starts with plain http and a loopback host; browsers include ``*.localhost`` (RFC 6761)."""
    origin = parse_origin("/".join(url.split("/", 3)[:3]))
    return origin is not None and origin[0] == "http" and (is_loopback(origin[1]) or origin[1].endswith(".localhost"))
