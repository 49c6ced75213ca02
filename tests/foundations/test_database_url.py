"""Parsing of KEYSTEAD_DATABASE_URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from keystead.settings import database_url, load_settings
from keystead.settings.database_url import PostgresUrl, SqliteUrl, parse_database_url
from tests.house_rules.source import page

VALUES = {
    "sslmode": "verify-full", "sslrootcert": "/etc/ssl/root.pem", "target_session_attrs": "read-write",
    "keepalives": "1", "keepalives_idle": "30", "keepalives_interval": "5", "keepalives_count": "3",
    "tcp_user_timeout": "10000", "connect_timeout": "10", "statement_cache": "off", "channel_binding": "prefer",
    "client_encoding": "UTF8", "gssencmode": "disable", "gssdelegation": "0", "sslcertmode": "allow", "port": "5433",
}  # fmt: skip
"""A value that is good for a parameter; of the others, any text is."""

HONOURED = database_url._OF_DRIVER | database_url._WHERE | database_url._HERE


def postgres(url: str) -> PostgresUrl:
    parsed = parse_database_url(url)
    assert isinstance(parsed, PostgresUrl)
    return parsed


@pytest.mark.parametrize("name", sorted(HONOURED | database_url.IGNORED))
def test_every_known_parameter_is_accepted_and_documented(name: str) -> None:
    postgres(f"postgresql:///keystead?{name}={VALUES.get(name, 'x')}")
    assert f"`{name}`" in page("settings.md")


@pytest.mark.parametrize(
    "name", ["sslmodel", "search_path", "statement_timeout", "service", "hostaddr", "require_auth"]
)
def test_an_unknown_parameter_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"the parameter '{name}' is not known"):
        parse_database_url(f"postgresql://k@db/keystead?sslmode=require&{name}=x")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("sslmode=verify", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("target_session_attrs=standby", "target_session_attrs must be one of any, read-write, primary"),
        ("gssencmode=require", "gssencmode must be one of"),
        ("connect_timeout=soon", "connect_timeout must be a whole number"),
        ("keepalives_idle=-1", "keepalives_idle must be a whole number"),
        ("client_encoding=latin1", "client_encoding must be one of"),
        ("sslrootcert=system&sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        ("sslmode", "percent-encoded"),
        ("port=70000", "names a port"),
    ],
)
def test_unsupported_values_are_rejected(query: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_database_url(f"postgresql://k@/keystead?{query}")


@pytest.mark.parametrize(
    "password", ["hush#hush", "hush/hush", "hush@hush", "hush?hush", "hush%zz", "hush hush", "hu[sh"]
)
def test_an_unencoded_password_is_explained_and_not_shown(password: str) -> None:
    with pytest.raises(ValueError, match="percent-encoded") as refused:
        parse_database_url(f"postgresql://keystead:{password}@127.0.0.1:1/keystead")
    assert "hu" not in str(refused.value)


def test_a_url_of_a_hosting_provider() -> None:
    url = postgres(
        "postgres://k%40x:s%2Fe%23%2B+@ep-1.neon.tech/db?sslmode=require&channel_binding=require&options=endpoint%3Dep-1"
    )
    assert (url.user, url.password, url.database) == ("k@x", "s/e#++", "db")
    assert url.hosts == (("ep-1.neon.tech", 5432),)
    assert url.driver_query == "postgresql://?sslmode=require"
    assert url.options["options"] == "endpoint=ep-1"
    assert "channel_binding=require has no effect" in url.warnings[0]
    assert "s/e" not in repr(url)


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("postgresql://db.internal/k", "db.internal:5432"), ("postgresql://k:p@a:1,b/k", "a:1, b:5432"),
        ("postgresql://[2001:db8::1]:6432/k", "[2001:db8::1]:6432"),
        ("postgresql://%2Fvar%2Frun%2Fpostgresql/k", "/var/run/postgresql/.s.PGSQL.5432"),
        ("postgresql:///k?host=/var/run/postgresql", "/var/run/postgresql/.s.PGSQL.5432"),
        ("postgresql:///k?host=a,b&port=1,2", "a:1, b:2"), ("postgresql:///k?host=a,b&port=7", "a:7, b:7"),
        ("postgresql:///k", "the local socket or localhost (the URL names no host)"),
    ],
)  # fmt: skip
def test_places(url: str, places: str) -> None:
    assert postgres(url).places == places


def test_of_several_hosts_a_writable_one_is_required() -> None:
    assert postgres("postgresql://a,b/k").driver_query.endswith("target_session_attrs=read-write")
    assert postgres("postgresql://a,b/k?target_session_attrs=any").driver_query.endswith("target_session_attrs=any")
    assert postgres("postgresql://a/k").driver_query == "postgresql://"


@pytest.mark.parametrize("path", ["keystead.db?mode=rwc", "keystead.db?", "/var/lib/keystead.db#x", ":memory:", ""])
def test_a_sqlite_url_names_a_file_and_nothing_else(path: str) -> None:
    assert parse_database_url("sqlite:////var/lib/a%20b.db") == SqliteUrl("/var/lib/a%20b.db")
    with pytest.raises(ValueError, match=r"a file|no parameters"):
        parse_database_url(f"sqlite:///{path}")


def test_parameters_without_effect_are_warnings(tmp_path: Path) -> None:
    environ = {"KEYSTEAD_DATABASE_URL": "postgresql://k@db/k?channel_binding=require"}
    (warning,) = load_settings(environ, folder=tmp_path).warnings
    assert warning.startswith("KEYSTEAD_DATABASE_URL: channel_binding=require has no effect")
