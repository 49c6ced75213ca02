"""Settings: file, environment, and errors of one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from keystead.errors import SettingsError
from keystead.settings import load_settings


def test_nothing_set_gives_the_defaults(tmp_path: Path) -> None:
    settings = load_settings({}, folder=tmp_path)
    assert settings.database_url == "sqlite:///keystead.db"
    assert settings.introspection == "authenticated"
    assert settings.api_key_headers == ("keystead-api-key", "pylo-api-key", "x-api-key")
    assert settings.cors_origins == ()


def test_precedence_of_environment_file_and_defaults(tmp_path: Path) -> None:
    (tmp_path / "keystead.toml").write_text('log_level = "debug"\nbase_url = "https://auth.example.com"\n')
    settings = load_settings({"KEYSTEAD_LOG_LEVEL": "error"}, folder=tmp_path, defaults={"base_url": "http://x"})
    assert settings.is_base_url_chosen
    assert (settings.log_level, settings.base_url) == ("error", "https://auth.example.com")


def test_a_default_base_url_is_not_chosen(tmp_path: Path) -> None:
    settings = load_settings({}, folder=tmp_path, defaults={"base_url": "http://localhost:5000"})
    assert (settings.base_url, settings.is_base_url_chosen) == ("http://localhost:5000", False)
    assert load_settings({"KEYSTEAD_BASE_URL": "http://localhost:4000"}, folder=tmp_path).is_base_url_chosen


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://k:s3cret@db/keystead\n")
    settings = load_settings({"KEYSTEAD_DATABASE_URL_FILE": str(secret)}, folder=tmp_path)
    assert settings.database_url == "postgresql://k:s3cret@db/keystead"
    assert "s3cret" not in repr(settings)


def test_an_unknown_variable_is_a_warning_and_an_unknown_name_in_the_file_an_error(tmp_path: Path) -> None:
    settings = load_settings({"KEYSTEAD_SPEED": "fast"}, folder=tmp_path)
    assert settings.warnings == ("KEYSTEAD_SPEED is not a setting of this release",)
    (tmp_path / "keystead.toml").write_text("sped = 1\n")
    with pytest.raises(SettingsError, match="sped"):
        load_settings({}, folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYSTEAD_DATABASE_URL", "mysql://x"), ("KEYSTEAD_DATABASE_URL", "sqlite:///"),
        ("KEYSTEAD_BASE_URL", "auth.example.com"), ("KEYSTEAD_BASE_URL", "https://a.example/?x=1"),
        ("KEYSTEAD_BASE_URL", "https://a b.example"), ("KEYSTEAD_BASE_URL", "https://a>b.example"),
        ("KEYSTEAD_BASE_URL", "https://a\x0bb.example"), ("KEYSTEAD_BASE_URL", "https://a\tb.example"),
        ("KEYSTEAD_BASE_URL", "https://a..example"), ("KEYSTEAD_BASE_URL", "https://a.example:65536"),
        ("KEYSTEAD_BASE_URL", "https://a.example:x"), ("KEYSTEAD_BASE_URL", "https://[::1"),
        ("KEYSTEAD_BASE_URL", "https://[::1]x"), ("KEYSTEAD_BASE_URL", "https://me:s3cret@a.example"),
        ("KEYSTEAD_BASE_URL", 'https://a.example/x<y"z'), ("KEYSTEAD_CORS_ORIGINS", "https://a.example/path"),
        ("KEYSTEAD_CORS_ORIGINS", "https://a.example:65536"), ("KEYSTEAD_CORS_ORIGINS", "example.com"),
        ("KEYSTEAD_TRUSTED_PROXIES", "10.0.0.0/99"), ("KEYSTEAD_API_KEY_HEADERS", "authorization"),
        ("KEYSTEAD_BRAND_HEADERS", "a b"), ("KEYSTEAD_INTROSPECTION", "sometimes"), ("KEYSTEAD_THROTTLING", "maybe"),
        ("KEYSTEAD_METRICS_PORT", "0"), ("KEYSTEAD_METRICS_PORT", "x"), ("KEYSTEAD_METRICS_PORT", "8e3"),
        ("KEYSTEAD_LOG_LEVEL", "loud"),
        ("KEYSTEAD_LOG_FORMAT", "xml"), ("KEYSTEAD_CONFIG", "/nowhere/keystead.toml"),
        ("KEYSTEAD_SMTP_URL_FILE", "/nowhere/smtp"), ("KEYSTEAD_SMTP_URL", "mail.example.com"),
        ("KEYSTEAD_SMTP_URL", "smtp://user:password@mail.example.com?starttls=off"),
        ("KEYSTEAD_SMTP_URL", "smtp://mail..example.com"), ("KEYSTEAD_MAIL_FROM", "a@example.com, b@example.com"),
        ("KEYSTEAD_MAIL_FROM", "a@example.com\r\nBcc: b@example.com"),
    ],
)  # fmt: skip
def test_a_bad_value_names_its_setting(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value}, folder=tmp_path)
    assert name in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 78


def test_lists_are_read_from_both_places(tmp_path: Path) -> None:
    (tmp_path / "keystead.toml").write_text('cors_origins = ["https://a.example", "https://B.example"]\n')
    settings = load_settings({"KEYSTEAD_TRUSTED_PROXIES": "10.0.0.1, ::1"}, folder=tmp_path)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.1/32", "::1/128"]


def test_mail_server_and_sender(tmp_path: Path) -> None:
    settings = load_settings({"KEYSTEAD_BASE_URL": "https://id.example.com"}, folder=tmp_path)
    assert (settings.mail_server, settings.mail_sender.address) == (None, "no-reply@id.example.com")
    given = {"KEYSTEAD_SMTP_URL": "smtps://me:s3cret@mail.example.com", "KEYSTEAD_MAIL_FROM": "Shop <a@shop.example>"}
    settings = load_settings(given, folder=tmp_path)
    assert settings.mail_server is not None
    assert (settings.mail_server.host, settings.mail_server.password) == ("mail.example.com", "s3cret")
    assert (settings.mail_sender.name, settings.mail_sender.address) == ("Shop", "a@shop.example")
    assert "s3cret" not in repr(settings) + repr(settings.mail_server)


@pytest.mark.parametrize("base_url", ["http://key_stead:4000", "https://id.example.com/auth", "http://[::1]:4000"])
def test_a_host_that_is_no_mail_domain_needs_a_sender(base_url: str, tmp_path: Path) -> None:
    given = {"KEYSTEAD_BASE_URL": base_url}
    assert load_settings(given, folder=tmp_path).base_url == base_url
    given["KEYSTEAD_SMTP_URL"] = "smtp://mail.example.com"
    if "_" in base_url:
        with pytest.raises(SettingsError, match="KEYSTEAD_MAIL_FROM"):
            load_settings(given, folder=tmp_path)
    given["KEYSTEAD_MAIL_FROM"] = "hello@example.com"
    load_settings(given, folder=tmp_path)
    given.pop("KEYSTEAD_SMTP_URL")
    load_settings(given, folder=tmp_path)
