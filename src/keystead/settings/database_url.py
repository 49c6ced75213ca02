"""Parse ``KEYSTEAD_DATABASE_URL``, for settings and drivers. Pure.

A PostgreSQL URL takes libpq's parameters (https://www.postgresql.org/docs/current/libpq-connect.html): each is
supported or explicitly ignored, any other is an error. Every ``ValueError`` is one line without the password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

DEFAULT_PORT: Final = 5432

_SQLITE: Final = "sqlite:///"
_TLS_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_OF_DRIVER: Final = frozenset(_TLS_FILES) | frozenset(
    (
        "sslmode",
        "sslpassword",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "target_session_attrs",
        "krbsrvname",
        "gsslib",
    )
)
"""Parameters that asyncpg reads from the URL itself."""
_WHERE: Final = frozenset(("host", "port", "user", "password", "dbname", "database", "passfile"))
_SECONDS: Final = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
_HERE: Final = frozenset((*_SECONDS, "keepalives", "connect_timeout", "application_name", "options", "statement_cache"))
_CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    # Keystead needs a server that accepts writes.
    "target_session_attrs": ("any", "read-write", "primary"),
    "keepalives": ("0", "1"),
    "statement_cache": ("on", "off"),
    "channel_binding": ("disable", "prefer", "require"),
    "client_encoding": ("utf8", "utf-8", "auto"),
    "gssencmode": ("disable", "prefer"),
    "gssdelegation": ("0",),
    "sslcertmode": ("disable", "allow"),
}
IGNORED: Final = frozenset(
    (
        "channel_binding",
        "client_encoding",
        "gssencmode",
        "gssdelegation",
        "sslcertmode",
        "sslcompression",
        "sslsni",
        "fallback_application_name",
        "load_balance_hosts",
    )
)
"""Parameters of libpq that are accepted without effect."""
_NOT_BOUND: Final = (
    "channel_binding=require has no effect: the driver cannot do it. sslmode=verify-full protects against the same"
)
_ENCODE: Final = (
    "user and password must be percent-encoded: # is %23, / is %2F, @ is %40, ? is %3F, % is %25. "
    "The form is postgresql://user:password@host:port/name"
)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A SQLite file."""

    path: str


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A PostgreSQL database and its connection parameters."""

    hosts: tuple[tuple[str, int], ...] = ()
    """Names, addresses or socket directories with ports, in order of preference; empty: the driver's default."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    options: dict[str, str] = field(default_factory=dict, repr=False)
    """The other supported parameters, by libpq's names."""
    warnings: tuple[str, ...] = ()

    @property
    def places(self) -> str:
        """The server's addresses, for messages to operators."""
        if not self.hosts:
            return "the local socket or localhost (the URL names no host)"
        return ", ".join(_place(host, port) for host, port in self.hosts)

    @property
    def has_statement_cache(self) -> bool:
        """False when the URL announces a transaction pooler (``statement_cache=off``)."""
        return self.options.get("statement_cache") != "off"

    @property
    def tls_files(self) -> tuple[tuple[str, str], ...]:
        """Parameter and path of each certificate or key in the URL."""
        named = ((name, self.options.get(name, "")) for name in _TLS_FILES)
        return tuple((name, path) for name, path in named if path and (name, path) != ("sslrootcert", "system"))

    @property
    def driver_query(self) -> str:
        """The parameters that asyncpg reads itself, as a URL."""
        options = {name: value for name, value in self.options.items() if name in _OF_DRIVER}
        if len(self.hosts) > 1:
            # Otherwise a fail-over could leave us on the standby.
            options.setdefault("target_session_attrs", "read-write")
        if options.get("sslrootcert") == "system":
            options = {name: value for name, value in options.items() if name not in ("sslrootcert", "sslmode")}
        return "postgresql://" + ("?" + urlencode(options) if options else "")


DatabaseUrl = SqliteUrl | PostgresUrl


def parse_database_url(url: str) -> DatabaseUrl:
    """Parse ``KEYSTEAD_DATABASE_URL``.

    :raises ValueError: when it is invalid or has an unknown parameter.
    """
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return SqliteUrl(_sqlite_path(url.removeprefix(_SQLITE)))
    if url.startswith(("postgresql://", "postgres://")):
        return _postgres(url)
    raise ValueError("must start with sqlite:/// and name a file, or start with postgresql://")


def sqlite_path(url: str) -> str | None:
    """The file of a SQLite URL; None for another database.

    :raises ValueError: as :func:`parse_database_url`.
    """
    parsed = parse_database_url(url)
    return parsed.path if isinstance(parsed, SqliteUrl) else None


def _sqlite_path(path: str) -> str:
    if "?" in path or "#" in path:
        raise ValueError("a SQLite URL takes no parameters: it ends with the file's name, without ? and #")
    if path == ":memory:":
        raise ValueError("must name a file: a database in memory would be another one for each connection")
    return path


def _postgres(url: str) -> PostgresUrl:
    parts = _split(url)
    login, _, host_list = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    options = _options(parts.query)
    hosts = _hosts(host_list, ()) or _hosts(options.get("host", ""), _ports(options.get("port", "")))
    named_database = options.get("dbname") or options.get("database")
    warnings = (_NOT_BOUND,) if options.get("channel_binding") == "require" else ()
    _check_tls(options)
    return PostgresUrl(
        hosts,
        _decoded(user) or options.get("user"),
        _decoded(password) or options.get("password"),
        _decoded(parts.path.removeprefix("/")) or named_database,
        {name: value for name, value in options.items() if name in _OF_DRIVER | _HERE | {"passfile"}},
        warnings,
    )


def _split(url: str) -> SplitResult:
    # urlsplit() drops line breaks instead of rejecting them.
    if not url.isprintable() or " " in url:
        raise ValueError(f"holds white space or a control character: {_ENCODE}")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_ENCODE) from None
    name, has_value, _ = parts.query.partition("=")
    is_cut_short = "@" in parts.path or "@" in name or (parts.query and not has_value)
    if "#" in url or parts.netloc.count("@") > 1 or is_cut_short:
        raise ValueError(_ENCODE)
    return parts


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        raw_name, _, raw_value = pair.partition("=")
        name, value = _decoded(raw_name), _decoded(raw_value)
        if name not in _OF_DRIVER | _WHERE | _HERE | IGNORED:
            hint = " (settings of the server: options=-c%20name=value)" if name.isidentifier() else ""
            raise ValueError(f"the parameter '{name}' is not known{hint}")
        if name in _CHOICES and value.lower() not in _CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(_CHOICES[name])}")
        if name in (*_SECONDS, "connect_timeout") and not (value.isascii() and value.isdecimal() and len(value) < 10):
            raise ValueError(f"{name} must be a whole number")
        options[name] = value.lower() if name in _CHOICES else value
    return options


def _check_tls(options: dict[str, str]) -> None:
    if options.get("sslrootcert") == "system" and options.get("sslmode", "verify-full") != "verify-full":
        raise ValueError("sslrootcert=system needs sslmode=verify-full")


def _hosts(text: str, ports: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    found = []
    for number, place in enumerate(text.split(",") if text else ()):
        host, port = _host(place)
        if port is None:
            port = ports[number] if number < len(ports) else ports[0] if ports else DEFAULT_PORT
        found.append((host, port))
    return tuple(found)


def _host(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        port = rest.removeprefix(":") if rest else ""
    elif place.startswith("/"):
        host, port = place, ""
    else:
        host, _, port = place.partition(":")
    host = _decoded(host)
    if not host:
        raise ValueError("names no host where one is expected")
    return host, _port(port) if port else None


def _ports(text: str) -> tuple[int, ...]:
    return tuple(_port(port) for port in text.split(",")) if text else ()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= 65_535):
        # Not quoted: it may be part of a password.
        raise ValueError(f"names a port that is not a number from 1 to 65535, or {_ENCODE}")
    return int(text)


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        decoded = "\0"
    if _BAD_ESCAPE.search(text) or "\0" in decoded:
        raise ValueError(_ENCODE)
    return decoded


def _place(host: str, port: int) -> str:
    if host.startswith("/"):
        return host if ".s.PGSQL." in host else f"{host}/.s.PGSQL.{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
