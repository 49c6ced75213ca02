"""The shipped templates: each kind of mail in each language."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from keystead.mail.model import MailKind
from keystead.mail.templates import checks, shipped
from keystead.mail.templates.checks import link_targets, require_sound
from keystead.mail.templates.compiling import fill
from keystead.mail.templates.model import Values
from tests.mail.wording import LINKS, visible

every_mail = pytest.mark.parametrize(
    ("kind", "language"), [(kind, language) for kind in MailKind for language in shipped.LANGUAGES]
)
BRAND = "rainbowMakers"
UNEXPECTED = {
    "en": ("If it was not you,", "If you did not ask for it,", "If it is not your account,", "If it happens again"),
    "de": (
        "Wenn Sie es nicht waren,",
        "Wenn Sie ihn nicht angefordert haben,",
        "Wenn Sie das nicht angefordert haben,",
        "Wenn es nicht Ihr Konto ist,",
        "Wenn es wieder geschieht",
    ),
}
"""What the reader should do who did not expect the mail."""


def source_of(kind: MailKind, language: str) -> str:
    source = shipped.shipped_source(kind, language)
    assert source is not None
    return source


def sample(kind: MailKind, language: str) -> Values:
    return checks.sample_values(kind, language, brand=BRAND)


@every_mail
def test_it_is_sound_and_complete(kind: MailKind, language: str) -> None:
    require_sound(kind, language, source_of(kind, language))
    values = sample(kind, language)
    mail = fill(source_of(kind, language), kind, values)
    assert BRAND in mail.subject
    facts = (BRAND, values.address, values.when, values.ip_prefix, values.device, values.new_address)
    for part in (mail.text, visible(mail.html)):
        assert [fact for fact in facts if fact not in part] == []
        assert any(case in " ".join(part.split()) for case in UNEXPECTED[language])
    assert f'<html lang="{language}">' in mail.html
    assert "&amp;" not in mail.html
    assert "\u034f" in mail.html, "separates the preheader from the rest"
    said = " ".join((mail.subject, mail.text, visible(mail.html)))
    assert not re.search(r"(?i)\bsign(?:s|ed|ing)?[ -](?:in|out|up)\b|\b(?:du|dich|dir|dein\w*)\b", said)


@every_mail
def test_it_reads_well_without_optional_values(kind: MailKind, language: str) -> None:
    values = checks.without_optional(sample(kind, language))
    mail = fill(source_of(kind, language), kind, values)
    for part in (mail.subject, mail.text, visible(mail.html)):
        assert not re.search(r"\(\)|None| ,| \.|: *\.|\n\n\n|[a-z]: *$", part), part
    assert values.when in mail.text


@every_mail
def test_it_contains_its_link_and_no_other(kind: MailKind, language: str) -> None:
    values = sample(kind, language)
    mail = fill(source_of(kind, language), kind, values)
    rest = "\n".join((mail.subject, mail.text, mail.html)).replace(values.link or "-", "")
    assert re.findall(r"(?i)https?:|//|url\(|@import|\bsrc=|<(?:img|link|script|iframe|form|object)\b", rest) == []
    if kind not in LINKS:
        assert link_targets(mail.html) == []
        return
    # On a separate line, so that a mail program includes nothing else.
    assert mail.text.splitlines().count(values.link) == 1
    assert link_targets(mail.html) == [values.link] * 2
    assert values.link in visible(mail.html)
    lifetime = {
        "en": {MailKind.verify_email: "24 hours", MailKind.reset_password: "30 minutes"},
        "de": {MailKind.verify_email: "24 Stunden", MailKind.reset_password: "30 Minuten"},
    }[language].get(kind, {"en": "10 minutes", "de": "10 Minuten"}[language])
    assert lifetime in mail.text
    assert lifetime in visible(mail.html)


@every_mail
def test_long_addresses_stay_on_one_line(kind: MailKind, language: str) -> None:
    values = replace(sample(kind, language), brand="Ex")
    lines = fill(source_of(kind, language), kind, values).text.splitlines()
    assert lines.count(values.address) == 1
    assert not values.new_address or lines.count(values.new_address) == 1
    assert max(len(line) for line in lines if values.when not in line) <= 76


@every_mail
def test_its_button_has_a_label(kind: MailKind, language: str) -> None:
    words = shipped.button_words(kind, language)
    assert bool(words) == (kind in LINKS)
    assert "{" not in words
    assert shipped.button_words(kind, f"{language}-at") == words
    assert shipped.button_words(kind, "fr") == shipped.button_words(kind, "en")


@every_mail
def test_it_fits_narrow_and_dark_windows(kind: MailKind, language: str) -> None:
    html = fill(source_of(kind, language), kind, sample(kind, language)).html
    assert "max-width:560px" in html
    assert "prefers-color-scheme: dark" in html
    assert 'name="color-scheme" content="light dark"' in html
    assert len(html) < 24_000, "Gmail truncates long mails"
