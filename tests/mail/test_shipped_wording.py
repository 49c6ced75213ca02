"""The wording that comes with Keystead: each kind of mail in each language."""

from __future__ import annotations

import re
from dataclasses import asdict, replace

import pytest

from keystead.mail.model import MailKind
from keystead.mail.templates import checks, shipped
from keystead.mail.templates.checks import link_targets, require_sound, tags
from keystead.mail.templates.compiling import fill
from keystead.mail.templates.model import Values
from tests.mail.wording import LINKS, visible

every_mail = pytest.mark.parametrize(
    ("kind", "language"), [(kind, language) for kind in MailKind for language in shipped.LANGUAGES]
)
BRAND = "rainbowMakers"


def source_of(kind: MailKind, language: str) -> str:
    source = shipped.shipped_source(kind, language)
    assert source is not None
    return source


def sample(kind: MailKind, language: str) -> Values:
    return checks.sample_values(kind, language, brand=BRAND)


@every_mail
def test_it_is_a_template_as_a_brand_may_write_one(kind: MailKind, language: str) -> None:
    require_sound(kind, language, source_of(kind, language))


@every_mail
def test_it_says_whom_it_is_for_and_from_whom(kind: MailKind, language: str) -> None:
    mail = fill(source_of(kind, language), kind, sample(kind, language))
    assert BRAND in mail.subject
    for part in (mail.text, visible(mail.html)):
        assert BRAND in part
        assert "ann@example.com" in part
    assert f'<html lang="{language}">' in mail.html


@every_mail
def test_it_says_when_from_where_and_with_what(kind: MailKind, language: str) -> None:
    values = sample(kind, language)
    mail = fill(source_of(kind, language), kind, values)
    for part in (mail.text, visible(mail.html)):
        assert {
            fact for fact in (values.when, values.ip_prefix, values.device, values.new_address) if fact not in part
        } == set()


@every_mail
def test_it_reads_well_where_that_is_not_known(kind: MailKind, language: str) -> None:
    values = checks.without_optional(sample(kind, language))
    mail = fill(source_of(kind, language), kind, values)
    for part in (mail.subject, mail.text, visible(mail.html)):
        assert not re.search(r"\(\)|None| ,| \.|: *\.|\n\n\n|[a-z]: *$", part), part
    assert values.when in mail.text


@every_mail
def test_the_link_stands_in_both_parts_exactly(kind: MailKind, language: str) -> None:
    values = sample(kind, language)
    mail = fill(source_of(kind, language), kind, values)
    if kind not in LINKS:
        assert link_targets(mail.html) == []
        return
    # On a line of its own: nothing that follows becomes part of it.
    assert mail.text.splitlines().count(values.link) == 1
    assert link_targets(mail.html) == [values.link] * 2
    assert values.link in visible(mail.html)


@every_mail
def test_it_leads_nowhere_else_and_fetches_nothing(kind: MailKind, language: str) -> None:
    values = sample(kind, language)
    mail = fill(source_of(kind, language), kind, values)
    rest = "\n".join((mail.subject, mail.text, mail.html)).replace(values.link or "-", "")
    assert re.findall(r"(?i)https?:|//|url\(|@import|\bsrc=|<(?:img|link|script|iframe|form|object)\b", rest) == []
    assert {name for name, _ in tags(mail.html)} >= {"table", "title"}


@pytest.mark.parametrize("language", shipped.LANGUAGES)
@pytest.mark.parametrize("kind", LINKS)
def test_it_says_how_long_the_link_is_good_for(kind: MailKind, language: str) -> None:
    said = {
        "en": {MailKind.verify_email: "24 hours", MailKind.reset_password: "30 minutes"},
        "de": {MailKind.verify_email: "24 Stunden", MailKind.reset_password: "30 Minuten"},
    }[language].get(kind, {"en": "10 minutes", "de": "10 Minuten"}[language])
    mail = fill(source_of(kind, language), kind, sample(kind, language))
    assert said in mail.text
    assert said in visible(mail.html)


@every_mail
def test_what_is_done_when_it_was_somebody_else_is_said(kind: MailKind, language: str) -> None:
    mail = fill(source_of(kind, language), kind, sample(kind, language))
    asked = {
        "en": ("If it was not you,", "If you did not ask for it,", "If it is not your account,", "If it happens again"),
        "de": (
            "Wenn Sie es nicht waren,",
            "Wenn Sie ihn nicht angefordert haben,",
            "Wenn Sie das nicht angefordert haben,",
            "Wenn es nicht Ihr Konto ist,",
            "Wenn es wieder geschieht",
        ),
    }[language]
    for part in (mail.text, visible(mail.html)):
        assert any(case in " ".join(part.split()) for case in asked)


@every_mail
def test_no_line_of_the_text_breaks_at_a_long_address(kind: MailKind, language: str) -> None:
    values = replace(sample(kind, language), brand="Ex")
    lines = fill(source_of(kind, language), kind, values).text.splitlines()
    assert lines.count(values.address) == 1
    assert not values.new_address or lines.count(values.new_address) == 1
    assert max(len(line) for line in lines if values.when not in line) <= 76


@every_mail
def test_no_entity_is_shown_as_it_is_written(kind: MailKind, language: str) -> None:
    html = fill(source_of(kind, language), kind, sample(kind, language)).html
    assert "&amp;" not in html
    assert "\u034f" in html, "what keeps the rest of the mail out of the preview"


@every_mail
def test_it_uses_the_words_of_the_pages(kind: MailKind, language: str) -> None:
    mail = fill(source_of(kind, language), kind, sample(kind, language))
    said = " ".join((mail.subject, mail.text, visible(mail.html)))
    assert not re.search(r"(?i)\bsign(?:s|ed|ing)?[ -](?:in|out|up)\b|\bsomebody\b|\b(?:du|dich|dir|dein\w*)\b", said)


@pytest.mark.parametrize("language", shipped.LANGUAGES)
@pytest.mark.parametrize("kind", MailKind)
def test_the_words_of_our_button_are_at_hand_for_other_templates(kind: MailKind, language: str) -> None:
    words = shipped.button_words(kind, language)
    assert bool(words) == (kind in LINKS)
    assert "{" not in words
    assert shipped.button_words(kind, f"{language}-at") == words
    assert shipped.button_words(kind, "fr") == shipped.button_words(kind, "en")


@every_mail
def test_it_looks_as_it_should_in_narrow_and_dark_windows(kind: MailKind, language: str) -> None:
    html = fill(source_of(kind, language), kind, sample(kind, language)).html
    assert "max-width:560px" in html
    assert "prefers-color-scheme: dark" in html
    assert 'name="color-scheme" content="light dark"' in html
    assert len(html) < 24_000, "Gmail cuts long mails off"


@pytest.mark.attack("A66")
@every_mail
def test_no_value_becomes_markup(kind: MailKind, language: str) -> None:
    values = sample(kind, language)
    plain = fill(source_of(kind, language), kind, values)
    for evil in INJECTIONS:
        changed = {name: evil for name in asdict(values) if name not in ("link", "language", "hours", "minutes")}
        mail = fill(source_of(kind, language), kind, replace(values, **changed))
        assert tags(mail.html) == tags(fill(source_of(kind, language), kind, replace(values, new_address="x")).html)
        assert "\n" not in mail.subject
        assert "\r" not in mail.subject
    assert plain.subject


INJECTIONS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "--></style></title></table><h1>gone</h1>",
    "{{ link }}{% for x in link %}{% endfor %}{# #}",
    "{% endblock %}{% block html %}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "a\r\nBcc: eve@example.com\r\n\r\n<b>",
    "&lt;script&gt;&amp;#60;",
    "\u202e\u2066<b>\u2028",
    "\x00\x1b[31m\x7f",
    "]]>--!><![CDATA[<b>",
)
