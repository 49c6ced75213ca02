"""Connect to PostgreSQL, and explain in one line why a server cannot be used."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

import asyncpg
import structlog

from keystead import errors
from keystead.db.postgres_errors import BEHIND_A_POOLER
from keystead.db.postgres_pool import Connection
from keystead.settings.database_url import PostgresUrl

CONNECT_TIMEOUT: Final = 5.0
COMMAND_TIMEOUT: Final = 6.0
"""Seconds; a little more than the server's own limit, which leaves the connection usable."""
CACHED_STATEMENTS: Final = 1024

_SETTINGS: Final = {"timezone": "UTC", "jit": "off"}
_LIMITS: Final = {
    "statement_timeout": "5000",
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "10000",
}
BEGIN: Final = "BEGIN"
BEGIN_WITH_SETTINGS: Final = "; ".join(
    ["BEGIN", *(f"SET LOCAL {name} = '{value}'" for name, value in (_SETTINGS | _LIMITS).items())]
)
"""For connections behind a transaction pooler, where session settings would reach other clients."""

FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ValueError)
"""The exceptions that connecting may raise."""
_KEEPALIVE: Final = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}

_POOLED: Final = "prepared statements and session settings do not persist"
_NO_AUTHORITY: Final = ". Set sslrootcert=FILE, or sslrootcert=system for the authorities of this system"

_log = structlog.get_logger("keystead.database")


class Connector:
    """Opens connections to one database, and detects a transaction pooler such as PgBouncer.

    Without ``has_limits`` there is no statement timeout, for migrations.
    """

    def __init__(self, url: PostgresUrl, *, has_limits: bool = True) -> None:
        self.url = url
        self._settings = _SETTINGS | _LIMITS if has_limits else _SETTINGS
        self._command_timeout = COMMAND_TIMEOUT if has_limits else None
        self.is_pooled = not url.has_statement_cache
        """Whether connections go through a transaction pooler: no state may be left on them."""

    async def connect(self) -> Connection:
        """Open a connection. Raises one of ``FAILURES``, as asyncpg does."""
        if not self.is_pooled:
            connection = await self._unpooled()
            if connection is not None:
                return connection
            self._note_pooler()
        return await self._open({}, statement_cache_size=0)

    def note(self, error: BaseException) -> None:
        """Check whether the error of a statement reveals a pooler."""
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate in BEHIND_A_POOLER:
            self._note_pooler()

    def _note_pooler(self) -> None:
        if not self.is_pooled:
            self.is_pooled = True
            _log.info("database_pooler_found", place=self.url.places, reason=_POOLED)

    async def _unpooled(self) -> Connection | None:
        """A connection with session settings and prepared statements; None behind a pooler that keeps neither."""
        try:
            connection = await self._open(self._settings, statement_cache_size=CACHED_STATEMENTS)
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" not in str(error):
                raise
            return None
        try:
            # A pooler reports an invented process id at the start.
            if await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid():
                return connection
        except asyncpg.PostgresError as error:
            if error.sqlstate not in BEHIND_A_POOLER:
                connection.terminate()
                raise
        except BaseException:
            connection.terminate()
            raise
        connection.terminate()
        return None

    async def _open(self, settings: dict[str, str], *, statement_cache_size: int) -> Connection:
        url, options = self.url, self.url.options
        named = {"application_name": options.get("application_name", "keystead")}
        if "options" in options:
            named["options"] = options["options"]
        connection = await asyncpg.connect(
            url.driver_query,
            host=[host for host, _ in url.hosts] or None,
            port=[port for _, port in url.hosts] or None,
            user=url.user,
            password=url.password,
            database=url.database,
            passfile=options.get("passfile"),
            ssl=_system_trust(url),
            timeout=int(options.get("connect_timeout", 0)) or CONNECT_TIMEOUT,
            command_timeout=self._command_timeout,
            statement_cache_size=statement_cache_size,
            max_cached_statement_lifetime=0,
            server_settings=named | settings,
        )
        _keep_alive(connection, options)
        return connection


def transport_of(connection: Connection) -> Any:
    """The transport of a connection, for which asyncpg has no public API."""
    return connection._transport


def is_on_this_machine(family: int, peer: Any) -> bool:
    """Whether a socket of this family with this peer crosses no network. Not the URL: PGHOST may name the host."""
    if family == socket.AF_UNIX:
        return True
    address = ip_address(peer[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def require_utf8(connection: Connection, url: PostgresUrl) -> None:
    """Require the encoding UTF8, which stores every text. The server reports it with each connection.

    :raises StartupError: for any other encoding.
    """
    encoding = getattr(connection.get_settings(), "server_encoding", "UTF8")
    if encoding != "UTF8":
        raise errors.StartupError(
            f"The PostgreSQL database at {url.places} has the encoding {encoding}, and Keystead needs UTF8: "
            "make one with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
        )


def unreachable(url: PostgresUrl, error: BaseException) -> errors.StartupError:
    """The one-line error for a server that cannot be used, without the password."""
    return errors.StartupError(f"Cannot reach PostgreSQL at {url.places}: {_why(url, error)}")


def _why(url: PostgresUrl, error: BaseException) -> str:
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0] if error.args else type(error).__name__)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        authority = url.options.get("sslrootcert", "~/.postgresql/root.crt")
        return f"the server's certificate is rejected: {error.verify_message} (checked with sslrootcert={authority})"
    broken = _broken_tls_file(url)
    if broken is not None:
        return broken
    is_closed = isinstance(error, (ConnectionError, ssl.SSLEOFError)) and not isinstance(error, ConnectionRefusedError)
    if is_closed and url.options.get("sslnegotiation") == "direct":
        return "the server closed the connection during TLS; sslnegotiation=direct needs PostgreSQL 17"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    text = str(error.args[0] if error.args else type(error).__name__)
    if "root certificate file" in text:
        text += _NO_AUTHORITY
    return text


def _broken_tls_file(url: PostgresUrl) -> str | None:
    """The certificate or key of the URL that cannot be used, which OpenSSL's error does not name."""
    files = dict(url.tls_files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, path in files.items():
        try:
            with open(path, "rb"):
                pass
            if name in ("sslrootcert", "sslcrl"):
                context.load_verify_locations(cafile=path)
        except ssl.SSLError:
            return f"{name}={path} is not a certificate in PEM"
        except OSError as error:
            return f"cannot read {name}={path}: {error.strerror}"
    if "sslcert" in files:
        try:
            context.load_cert_chain(files["sslcert"], files.get("sslkey"), lambda: url.options.get("sslpassword", ""))
        except ssl.SSLError as error:
            return f"sslcert={files['sslcert']} and its sslkey cannot be used: {error.reason or 'not PEM'}"
    return None


def _system_trust(url: PostgresUrl) -> ssl.SSLContext | None:
    """The system's certificate authorities (``sslrootcert=system``, as in libpq 16); None leaves TLS to asyncpg."""
    if url.options.get("sslrootcert") != "system":
        return None
    context = ssl.create_default_context()
    if "sslcert" in url.options:
        password = url.options.get("sslpassword", "")
        context.load_cert_chain(url.options["sslcert"], url.options.get("sslkey"), lambda: password)
    return context


def _keep_alive(connection: Connection, options: dict[str, str]) -> None:
    """Set TCP keep-alive as libpq does: on unless the URL turns it off."""
    link = transport_of(connection).get_extra_info("socket")
    if link is None or link.family not in (socket.AF_INET, socket.AF_INET6) or options.get("keepalives") == "0":
        return
    with suppress(OSError):  # the system does not have the option
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, option in _KEEPALIVE.items():
            if int(options.get(name, 0)) and hasattr(socket, option):
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), int(options[name]))
