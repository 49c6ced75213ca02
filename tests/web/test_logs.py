"""Console logs and redaction."""

from __future__ import annotations

from io import StringIO

import pytest

from keystead.web.logs import console_renderer, redact


class Screen(StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "is_coloured"), [(Screen(), True), (StringIO(), False)])
def test_only_terminals_get_colour(stream: StringIO, is_coloured: bool) -> None:
    line = console_renderer(stream)(
        None, "info", {"event": "mail_given_up", "level": "warning", "kind": "verify_email"}
    )
    assert "mail_given_up" in line
    assert ("\x1b" in line) == is_coloured


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:secret@db/keystead", "postgresql://ann:[hidden]@db/keystead"),
        ("'postgresql://ann:p@ss@db', 'smtps://:x@mail'", "'postgresql://ann:[hidden]@db', 'smtps://:[hidden]@mail'"),
        ("http://ann@db/ at https://db:5432/x@y and ://", "http://ann@db/ at https://db:5432/x@y and ://"),
        ("key ks_sk_0123456789abcdef!", "key [hidden]!"),
        ("Bearer%20eyJhbGciOiJFUzI1NiJ9.eyJzdWIi.c2ln-_ end", "Bearer%20[hidden] end"),
        ("'$argon2id$v=19$m=8,t=1$c2FsdA' ks_sk_0 eyJ", "'[hidden]' ks_sk_0 eyJ"),
    ],
)
def test_secrets_and_passwords_in_urls_are_redacted(text: str, shown: str) -> None:
    assert redact(text) == shown
