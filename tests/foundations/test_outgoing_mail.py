"""Parsing of KEYSTEAD_SMTP_URL and KEYSTEAD_MAIL_FROM."""

from __future__ import annotations

import pytest

from keystead.settings.outgoing_mail import (
    Encryption,
    MailFrom,
    MailServer,
    default_mail_from,
    is_mail_domain,
    parse_mail_from,
    parse_mail_server,
)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("smtps://u:p@mail.example.com", MailServer("mail.example.com", 465, Encryption.implicit, "u", "p")),
        ("smtps://mail.example.com:4465/", MailServer("mail.example.com", 4465, Encryption.implicit)),
        ("smtp://Mail.Example.com", MailServer("mail.example.com", 587, Encryption.offered)),
        ("smtp://mailpit:1025", MailServer("mailpit", 1025, Encryption.offered)),
        ("smtp://mail_server:25", MailServer("mail_server", 25, Encryption.offered)),
        (f"smtp://{'m' * 63}.x", MailServer(f"{'m' * 63}.x", 587, Encryption.offered)),
        ("smtp://u:p@mail.example.com", MailServer("mail.example.com", 587, Encryption.required, "u", "p")),
        ("smtp://u:p@10.0.0.7:25", MailServer("10.0.0.7", 25, Encryption.required, "u", "p")),
        ("smtp://u:p@localhost:25", MailServer("localhost", 25, Encryption.offered, "u", "p")),
        ("smtp://u:p@127.0.0.2:25", MailServer("127.0.0.2", 25, Encryption.offered, "u", "p")),
        ("smtp://u:p@[::1]:25", MailServer("::1", 25, Encryption.offered, "u", "p")),
        ("smtp://u:p@[::1]:25?starttls=off", MailServer("::1", 25, Encryption.off, "u", "p")),
        ("smtp://mail.example.com?starttls=required", MailServer("mail.example.com", 587, Encryption.required)),
        ("smtp://mail.example.com:25/?starttls=off", MailServer("mail.example.com", 25, Encryption.off)),
        (
            "smtps://me%40example.com:p%3A%2F%40%C3%A4%25%20@mail.example.com",
            MailServer("mail.example.com", 465, Encryption.implicit, "me@example.com", "p:/@ä% "),
        ),
    ],
)
def test_smtp_urls(url: str, meant: MailServer) -> None:
    assert parse_mail_server(url) == meant


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com", "http://mail.example.com", "smtp://", "smtp:///path", "smtp://mail.example.com/path",
        "smtp://mail.example.com#fragment", "smtp://mail.example.com:0", "smtp://mail.example.com:99999",
        "smtp://mail.example.com:x", "smtp://-mail.example.com", "smtp://mail..example.com",
        "smtp://mail.example.com-..x", "smtp://mail.example.com.", f"smtp://{'m' * 64}.example.com",
        f"smtp://{'m.' * 126}com", "smtp://1.2.3.4.5", "smtp://256.0.0.1", "smtp://[::1]x:25", "smtp://[v1.x]",
        "smtp://[127.0.0.1]", "smtp://[fe80::1%25eth0]", "smtp://mail.example.com:",
        "smtp://mail.example.com?starttls=required&starttls=off", "smtp://mail.example.com?starttls=off&starttls=off",
        "smtp://[::1", "smtp://mail.example.com\r\nNOOP", "smtp://mail .example.com", "smtp://mäil.example.com",
        "smtp://hunter2@mail.example.com", "smtp://:hunter2@mail.example.com", "smtp://user:@mail.example.com",
        "smtp://user:hunter2/x@mail.example.com", "smtp://user:hunter2#x@mail.example.com",
        "smtp://user:hunter2?x@mail.example.com", "smtp://user:hunter2[@mail.example.com",
        "smtp://user:hunter2%zz@mail.example.com", "smtp://user:hunter2%ff@mail.example.com",
        "smtp://user:hunter2%00@mail.example.com", "smtp://user:hunter2%0d%0a@mail.example.com",
        "smtp://user:hunter2@mail.example.com?starttls=off", "smtp://mail.example.com?starttls=maybe",
        "smtp://mail.example.com?starttls=", "smtp://mail.example.com?tls=off",
        "smtps://mail.example.com?starttls=required",
    ],
)  # fmt: skip
def test_invalid_smtp_urls_are_rejected_without_the_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_mail_server(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("no-reply@example.com", MailFrom("", "no-reply@example.com")),
        ("<no-reply@Example.COM>", MailFrom("", "no-reply@example.com")),
        ("Rainbow Makers <Hello@rainbow.example>", MailFrom("Rainbow Makers", "Hello@rainbow.example")),
        ('"Rainbow Makers Ltd." <hello@rainbow.example>', MailFrom("Rainbow Makers Ltd.", "hello@rainbow.example")),
        ("Büro 東京 <a+b@xn--mnchen-3ya.example>", MailFrom("Büro 東京", "a+b@xn--mnchen-3ya.example")),
        ("root@localhost", MailFrom("", "root@localhost")),
    ],
)
def test_senders(text: str, meant: MailFrom) -> None:
    assert parse_mail_from(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "no address", "@example.com", "a@", "a b@example.com", "a@b@example.com", "a@example.com, b@example.com",
        "A <a@example.com>, B <b@example.com>", "A <a@example.com> B", "a@example.com\r\nBcc: b@example.com",
        "A\r\nBcc: b@example.com <a@example.com>", "A\u2028B <a@example.com>", "A\0 <a@example.com>",
        '"A" B <a@example.com>', "A, B <a@example.com>", "b@example.com <a@example.com>",
        "=?utf-8?q?=0D=0ABcc:_b?= <a@example.com>", "ä@example.com", "a@exämple.com", "a@example..com",
        "a@-example.com", "a.@example.com", f"{'n' * 101} <a@example.com>", f"{'a' * 65}@example.com",
        f"a@{'b.' * 130}com",
    ],
)  # fmt: skip
def test_invalid_senders_are_rejected(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_mail_from(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("https://id.example.com/auth", "no-reply@id.example.com"), ("http://localhost:4000", "no-reply@localhost"),
        ("http://127.0.0.1:4000", "no-reply@[127.0.0.1]"), ("http://[::1]:4000", "no-reply@[IPv6:::1]"),
    ],
)  # fmt: skip
def test_the_default_sender(base_url: str, address: str) -> None:
    assert default_mail_from(base_url) == MailFrom("", address)


def test_mail_domains() -> None:
    for domain in ("id.example.com", "localhost", "[127.0.0.1]", "[IPv6:::1]"):
        assert is_mail_domain(domain)
    for domain in ("mail_server", "a..b", "-a.example", f"{'a' * 64}.example", f"{'a.' * 126}example", ""):
        assert not is_mail_domain(domain)
