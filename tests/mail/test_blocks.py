"""The blocks of a template, and what stands in the layout for those that it leaves out; and links with more to them."""

from __future__ import annotations

import pytest

from keystead.mail.model import MailKind
from keystead.mail.templates import checks
from keystead.mail.templates.checks import leads_to, link_targets, require_sound
from keystead.mail.templates.compiling import fill
from tests.mail.test_shipped_wording import INJECTIONS
from tests.mail.wording import LINKS, make_source, refusal, visible

EXTENDS = '{% extends "layout" %}'
PLAIN = make_source(subject="Bonjour & <b> {{ brand }}", text="{{ link }}")
REDIRECT = "redirect=https://app.example.com/welcome"
LINK = "https://auth.example.com/link/login?token=ks_ml_SAMPLE"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            EXTENDS + PLAIN + "{% block buton %}Go{% endblock %}",
            "Line 1: there is no block 'buton'; there are subject,",
        ),
        (EXTENDS + PLAIN + "\n{% block Title %}x{% endblock %}", "Line 2: there is no block 'Title'; there are"),
        (
            PLAIN + "{% block title %}x{% endblock %}",
            "no block 'title' unless the template begins with {% extends \"la",
        ),
        (PLAIN.replace("block text", "block txt"), "there is no block 'txt'"),
        (EXTENDS + PLAIN.replace("<p>", "{% block inner %}{% endblock %}<p>"), "there is no block 'inner'"),
        (EXTENDS + PLAIN + "{% block " + "b" * 500 + " %}{% endblock %}", f"there is no block '{'b' * 80}';"),
    ],
)
def test_a_block_that_nobody_would_see_is_refused_by_name(source: str, line: str) -> None:
    field, said = refusal(source, MailKind.magic_login)
    assert field == "source"
    assert line in said
    assert len(said) < 400


@pytest.mark.parametrize(("language", "words"), [("en", "Log in"), ("de", "Anmelden"), ("de-at", "Anmelden")])
def test_what_a_template_leaves_out_of_the_layout_is_filled_in(language: str, words: str) -> None:
    require_sound(MailKind.magic_login, language, EXTENDS + PLAIN)
    values = checks.sample_values(MailKind.magic_login, language)
    html = fill(EXTENDS + PLAIN, MailKind.magic_login, values).html
    assert f">{words}</a>" in html
    assert "&rarr;" not in html
    assert "Bonjour &amp; &lt;b&gt; Example</h1>" in html
    own = EXTENDS + PLAIN + "{% block button %}Allez{% endblock %}{% block title %}Salut{% endblock %}"
    page = fill(own, MailKind.magic_login, values).html
    assert ">Allez</a>" in page
    assert ">Salut</h1>" in page


@pytest.mark.parametrize("kind", LINKS)
def test_no_mail_has_a_button_that_says_nothing(kind: MailKind) -> None:
    html = fill(EXTENDS + PLAIN, kind, checks.sample_values(kind, "fr")).html
    assert visible(html).count("Confirm") + visible(html).count("Log in") + visible(html).count("Choose") >= 1


@pytest.mark.parametrize("amp", ["&", "&amp;", "&#38;"])
def test_a_link_may_say_where_to_go_on(amp: str) -> None:
    source = make_source(text="{{ link }}&" + REDIRECT, html=f'<a href="{{{{ link }}}}{amp}{REDIRECT}">Open</a>')
    require_sound(MailKind.magic_login, "en", source)
    values = checks.sample_values(MailKind.magic_login, "en")
    assert link_targets(fill(source, MailKind.magic_login, values).html) == [f"{values.link}&{REDIRECT}"]


@pytest.mark.attack("A66")
@pytest.mark.parametrize(
    "after",
    [
        "x",
        "#x",
        "/x",
        ".evil.example",
        "@evil.example",
        "&token=ks_ml_OTHER",
        "&amp;%74oken=ks_ml_OTHER",
        "&a=1&token=x",
        "& redirect=x",
        "&redirect={{ brand }}",
        "&redirect={{ address }}",
        "&redirect={{ device }}",
        "&redirect=<b>",
        "&redirect=\n//evil.example",
        "&redirect=\u202e",
        '" onclick="alert(1)&{{ when }}',
    ],
)
def test_nothing_else_may_follow_the_link(after: str) -> None:
    source = make_source(text="{{ link }}", html=f'<a href="{{{{ link }}}}{after}">Open</a>')
    assert refusal(source, MailKind.magic_login)[0] == "html"


@pytest.mark.attack("A66")
@pytest.mark.parametrize("evil", INJECTIONS)
def test_no_hostile_text_passes_for_the_rest_of_a_link(evil: str) -> None:
    assert not leads_to(LINK + evil, LINK)
    assert leads_to(f"{LINK}&a=", LINK)
    assert not leads_to(f"{LINK}&a={evil}", LINK) or evil.isalnum()
    assert not leads_to(f"{evil}{LINK}", LINK)
    assert not leads_to("", LINK)
