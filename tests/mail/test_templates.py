"""Templates: the allowed syntax, required blocks, links, and limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keystead.errors import BadUserInput
from keystead.mail.model import MailKind
from keystead.mail.templates import checks
from keystead.mail.templates.checks import leads_to, link_targets, require_sound
from keystead.mail.templates.compiling import LONGEST_SUBJECT, fill
from keystead.mail.templates.model import LARGEST_SOURCE
from tests.mail.wording import INJECTIONS, LINKS, make_source, refusal, visible

KIND = MailKind.password_changed
VALUES = checks.sample_values(MailKind.password_changed, "en")
LINKED = {"text": "Open {{ link }}", "html": '<a href="{{ link }}">Open</a>'}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Hello {{ address }}", "Hello ann@example.com"),
        ("{% if device %}{{ device }}{% else %}-{% endif %}", "Firefox, Linux"),
        ("{% if link %}a{% elif brand == 'Example' %}b{% else %}c{% endif %}", "b"),
        ("{{ brand if not link else link }}", "Example"),
        ("{{ link or brand ~ ', ' ~ device|upper }}", "Example, FIREFOX, LINUX"),
        ("{{ new_address|default('none', true) }}", "none"),
        ("{# a remark #}{{ 'in' if 'Fire' in device else 'out' }}", "in"),
        ("{% raw %}{{ as it is }}{% endraw %}", "{{ as it is }}"),
        ("{{ link is defined }}{{ ' padded '|trim|title }}", "TruePadded"),
        ("é 😀 {{ brand|lower|capitalize }}", "é 😀 Example"),
    ],
)
def test_values_and_conditions(written: str, read: str) -> None:
    source = make_source(written, written, f"<p>{written}</p>")
    require_sound(MailKind.password_changed, "en", source)
    mail = fill(source, KIND, VALUES)
    assert (mail.subject, mail.text, visible(mail.html)) == (read, f"{read}\n", read)


@pytest.mark.parametrize(
    "written",
    [
        "{{ ''.__class__ }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ ''['__class__'] }}",
        "{{ brand|attr('__class__') }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__['os'] }}", "{{ joiner }}", "{{ namespace() }}", "{{ self }}",
        "{{ self.__init__.__globals__ }}", "{{ self._TemplateReference__context }}", "{{ super() }}", "{{ config }}",
        "{{ request.application }}", "{{ environment }}", "{{ '%s'|format(brand) }}",
        "{{ '{0.__class__}'.format(brand) }}", "{{ brand.format }}", "{{ brand.encode() }}", "{{ brand[0] }}",
        "{{ [1, 2] }}", "{{ (brand, link) }}", "{{ {'a': 1} }}", "{{ dict(a=1) }}", "{{ range(100000000) }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        "{% for letter in brand %}{{ letter }}{% endfor %}", "{% set a = brand %}{{ a }}", "{% set a %}x{% endset %}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(9) }}", "{% call brand() %}{% endcall %}",
        "{% filter upper %}x{% endfilter %}", "{% with a = 1 %}{{ a }}{% endwith %}", "{% include '/etc/passwd' %}",
        "{% include 'layout' %}", "{% import 'layout' as l %}", "{% from 'layout' import x %}",
        "{% autoescape false %}{{ brand }}{% endautoescape %}", "{{ brand|safe }}", "{{ brand|center(1000000000) }}",
        "{{ brand|indent(1000000000) }}", "{{ brand|replace('a', 'aaaa') }}", "{{ brand|map('attr', 'x') }}",
        "{{ brand|xmlattr }}", "{{ brand|tojson }}", "{{ brand|urlize }}", "{{ brand is callable }}",
        "{{ brand is filter }}", "{{ 9**9**9 }}", "{{ brand * 1000000000 }}", "{{ 'a' * 10 }}", "{{ brand % 1 }}",
        "{{ 1000000000 }}", "{{ 1e308 }}", "{{ -brand }}", "{{ unknown }}", "{{ Link }}",
        "{{ brand|default(value=link) }}", "{% do brand %}", "{% debug %}", "{% break %}",
        "{% trans %}x{% endtrans %}",
    ],
)  # fmt: skip
def test_other_syntax_is_rejected(written: str) -> None:
    for source in (make_source(text=written), make_source(subject=written), make_source(html=f"<p>{written}</p>")):
        field, line = refusal(source)
        assert field == "source"
        assert line.startswith("Line 1: ")
        assert len(line) < 400


@pytest.mark.parametrize(
    ("before", "line"),
    [
        ("{% extends 'other' %}", "only 'layout' can be extended"),
        ("{% extends '../../../etc/passwd' %}", "only 'layout' can be extended"),
        ("{% extends '/etc/passwd' %}", "only 'layout' can be extended"),
        ("{% extends brand %}", "only 'layout' can be extended"),
        ("{% extends 'lay' ~ 'out' %}", "only 'layout' can be extended"),
        ("{% if link %}{% extends 'layout' %}{% endif %}", "'extends' must be at the top level"),
        ("{% block a %}{% extends 'layout' %}{% endblock %}", "'extends' must be at the top level"),
    ],
)
def test_nothing_but_the_layout_can_be_extended(before: str, line: str) -> None:
    assert line in refusal(before + make_source())[1]


@pytest.mark.parametrize(
    "source",
    [
        "", "{{", "{% if %}", "{% block subject %}", "{% unknown %}", "{{ brand",
        "{% block text %}{% endblock %}{% block text %}{% endblock %}", "{% extends 'layout' %}{% extends 'layout' %}",
        "{{ " + "(" * 5000 + "brand" + ")" * 5000 + " }}", "{{ " + "not " * 5000 + "brand }}",
        "{% if brand %}" * 200 + "{% endif %}" * 200, "{{ " + "brand if link else " * 500 + "brand }}",
        "{{ " + "9" * 5000 + " }}", "{{ brand }}" * 2001, "{{ brand" + "|upper" * 2000 + " }}", "{{ brand < none }}",
        "{{ brand|default('a', 'b', 'c') }}", "\0", "\x1b[31m", "\ud800", "x" * (LARGEST_SOURCE + 1),
        "é" * (LARGEST_SOURCE // 2),
    ],
)  # fmt: skip
def test_a_broken_template_is_rejected_in_one_line(source: str) -> None:
    field, line = refusal(source + make_source() if "extends" in source else make_source(text=source))
    assert field in ("source", "subject", "text", "html")
    assert line.isprintable()
    assert len(line) < 400


@pytest.mark.parametrize("part", ["subject", "text", "html"])
def test_each_block_is_required_and_not_empty(part: str) -> None:
    alone = make_source().partition(f"{{% block {part} %}}")
    assert refusal(alone[0] + alone[2].partition("{% endblock %}")[2])[0] == part
    assert refusal(make_source(**{part: "{% if link %}x{% endif %} "}))[0] == part
    assert refusal(make_source(**{part: "{{ device }}"}))[0] == part, "where the device is not known"


@pytest.mark.parametrize("kind", LINKS)
def test_a_mail_with_a_link_shows_it_in_both_parts(kind: MailKind) -> None:
    require_sound(kind, "fr", make_source(**LINKED))
    require_sound(kind, "fr", "{% extends 'layout' %}" + make_source(text="{{ link }}"))
    assert refusal(make_source(**LINKED | {"text": "Open"}), kind)[0] == "text"
    assert refusal(make_source(**LINKED | {"html": "<p>{{ link }}</p>"}), kind)[0] == "html"
    assert refusal(make_source(**LINKED | {"html": '<a href="{{ link }}#x">Open</a>'}), kind)[0] == "html"
    assert (
        refusal(make_source(**LINKED | {"text": "{% if device %}{{ link }}{% else %}x{% endif %}"}), kind)[0] == "text"
    )


@pytest.mark.parametrize(
    "html",
    [
        '<p title="{{ brand }}">x</p>', "<p title={{ address }}>x</p>", '<a href="{{ device }}">x</a>',
        '<a href="https://shop.example.com/?from={{ address }}">x</a>', '<p style="color: {{ device }}">x</p>',
        "<p {{ device }}>x</p>", "<{{ brand }}>x</{{ brand }}>", "<p>x</p><!-- {{ address }} -->",
        "<style>p { color: {{ device }} }</style><p>x</p>", "<script>var a = '{{ device }}'</script><p>x</p>",
    ],
)  # fmt: skip
def test_only_the_link_stands_inside_a_tag(html: str) -> None:
    assert refusal(make_source(html=html)) == (
        "html",
        "Inside an HTML tag only the link can be used, in quotes.",
    )


def test_a_subject_is_one_short_line() -> None:
    subject = fill(make_source("One\n  two\tthree" + " four" * 100), KIND, VALUES).subject
    assert subject.startswith("One two three four")
    assert len(subject) <= LONGEST_SUBJECT


def test_skipped_conditions_leave_no_empty_lines() -> None:
    text = "\nFirst  \n\n{% if link %}\nlink\n{% endif %}\n\n\nLast\n\n"
    assert fill(make_source(text=text), KIND, VALUES).text == "First\n\nLast\n"


def test_a_part_that_is_too_long_is_not_rendered() -> None:
    long = checks.hostile(VALUES)
    source = make_source(text="{{ brand }}{{ address }}" * 900 + "x" * 30_000)
    assert len(fill(source, KIND, VALUES).text) < LARGEST_SOURCE
    with pytest.raises(BadUserInput, match="The text is larger than 256 KiB"):
        fill(source, KIND, replace(long, brand="b" * 320, address="a" * 320))


@pytest.mark.parametrize("spaces", [" " * 60_000, "\n \t" * 20_000, "{#-" + " " * 50_000 + "-#}"])
def test_white_space_costs_nothing(spaces: str) -> None:
    assert fill(make_source(text=f"a{spaces}b"), KIND, VALUES).text.startswith("a")


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
def test_an_unknown_block_is_rejected_by_name(source: str, line: str) -> None:
    field, said = refusal(source, MailKind.magic_login)
    assert field == "source"
    assert line in said
    assert len(said) < 400


@pytest.mark.parametrize(("language", "words"), [("en", "Log in"), ("de", "Anmelden"), ("de-at", "Anmelden")])
def test_omitted_blocks_of_the_layout_have_defaults(language: str, words: str) -> None:
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
def test_every_button_has_a_label(kind: MailKind) -> None:
    html = fill(EXTENDS + PLAIN, kind, checks.sample_values(kind, "fr")).html
    assert visible(html).count("Confirm") + visible(html).count("Log in") + visible(html).count("Choose") >= 1


@pytest.mark.parametrize("amp", ["&", "&amp;", "&#38;"])
def test_a_link_may_have_more_parameters(amp: str) -> None:
    source = make_source(text="{{ link }}&" + REDIRECT, html=f'<a href="{{{{ link }}}}{amp}{REDIRECT}">Open</a>')
    require_sound(MailKind.magic_login, "en", source)
    values = checks.sample_values(MailKind.magic_login, "en")
    assert link_targets(fill(source, MailKind.magic_login, values).html) == [f"{values.link}&{REDIRECT}"]


@pytest.mark.attack("A66")
@pytest.mark.parametrize(
    "after",
    [
        "x", "#x", "/x", ".evil.example", "@evil.example", "&token=ks_ml_OTHER", "&amp;%74oken=ks_ml_OTHER",
        "&a=1&token=x", "& redirect=x", "&redirect={{ brand }}", "&redirect={{ address }}", "&redirect={{ device }}",
        "&redirect=<b>", "&redirect=\n//evil.example", "&redirect=\u202e", '" onclick="alert(1)&{{ when }}',
    ],
)  # fmt: skip
def test_nothing_else_may_follow_the_link(after: str) -> None:
    source = make_source(text="{{ link }}", html=f'<a href="{{{{ link }}}}{after}">Open</a>')
    assert refusal(source, MailKind.magic_login)[0] == "html"


@pytest.mark.attack("A66")
@pytest.mark.parametrize("evil", INJECTIONS)
def test_hostile_text_is_no_parameter_of_a_link(evil: str) -> None:
    assert not leads_to(LINK + evil, LINK)
    assert leads_to(f"{LINK}&a=", LINK)
    assert not leads_to(f"{LINK}&a={evil}", LINK) or evil.isalnum()
    assert not leads_to(f"{evil}{LINK}", LINK)
    assert not leads_to("", LINK)
