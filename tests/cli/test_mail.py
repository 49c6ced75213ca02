"""``keystead mail``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keystead.brands import service as brands
from keystead.cli.work import run
from keystead.context import Context
from keystead.crypto.secrets import PATTERNS
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.users import service as users
from keystead.users.model import NewUser
from tests.cli.command import Cli
from tests.mail.letters import make_link_mail, make_mail, use_link
from tests.mail.wording import make_source

FRENCH = make_source("Bonjour {{ brand }}", "Ouvrez {{ link }}", '<a href="{{ link }}">Ouvrir</a>')


@pytest.fixture
def shop(cli: Cli) -> Cli:
    """With the brand ``shop``."""
    cli.json("brand", "create", "shop")
    return cli


@pytest.fixture
def mails(shop: Cli, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of two mails to ann@example.com: one that logs in, and a notice."""
    for name, value in shop.settings.items():
        monkeypatch.setenv(name, value)

    async def work(ctx: Context) -> list[str]:
        brand = (await brands.get_brand_by_name(ctx, "shop")).active()
        ann = await users.create_user(ctx, brand, NewUser("ann@example.com", is_verified=True))
        return [
            await make_link_mail(ctx.server, brand, ann),
            await make_mail(ctx.server, brand, ann, MailKind.password_changed),
        ]

    return run(work)


def test_mails_are_listed_with_their_recipients(shop: Cli, mails: list[str]) -> None:
    listed = shop.json("mail", "list")
    assert {mail["id"] for mail in listed} == set(mails)
    assert {mail["kind"] for mail in listed} == {"magic_login", "password_changed"}
    assert {(mail["brand"], mail["recipient"], mail["state"]) for mail in listed} == {
        ("shop", "ann@example.com", "waiting")
    }
    assert "ann@example.com" in shop("mail", "list").out


def test_mails_are_picked_by_brand_and_state(shop: Cli, mails: list[str]) -> None:
    shop.json("brand", "create", "other")
    assert len(shop.json("mail", "list", "--brand", "shop", "--state", "waiting")) == len(mails)
    assert shop.json("mail", "list", "--brand", "other") == []
    assert shop.json("mail", "list", "--state", "dead") == []
    assert shop("mail", "list", "--state", "dead").err.strip() == "There are no mails."


def test_no_list_holds_a_link(shop: Cli, mails: list[str]) -> None:
    said = shop("mail", "list").out + shop("mail", "list", "--json").out
    assert mails[0] in said
    assert not any(pattern.search(said) for pattern in PATTERNS.values())


def test_a_mail_is_shown_with_its_link(shop: Cli, mails: list[str]) -> None:
    shown = shop.json("mail", "show", mails[0])
    assert (shown["id"], shown["brand"], shown["subject"]) == (mails[0], "shop", "Log in to shop")
    link = next(line for line in shown["text"].splitlines() if line.startswith("https://auth.example.com/link/login"))
    assert link in shown["html"]
    said = shop("mail", "show", mails[0]).out
    assert "To: ann@example.com\n" in said
    assert "Subject: Log in to shop\n" in said
    assert f"\n{link}\n" in said
    assert f"\nLink: good until {shown['expires_at'][:10]} " in said
    assert shop("mail", "show", mails[0], "--html").out.strip() == shown["html"].strip()
    assert shop.json("mail", "show", mails[1])["subject"] == "Your password at shop was changed"


def test_a_mail_is_shown_with_what_became_of_its_link(shop: Cli, mails: list[str]) -> None:
    assert shop.json("mail", "show", mails[0])["link_state"] == "good"

    async def work(ctx: Context) -> None:
        await use_link(ctx.server, (await brands.get_brand_by_name(ctx, "shop")).active(), mails[0])

    run(work)
    assert shop.json("mail", "show", mails[0])["link_state"] == "used_or_replaced"
    assert "\nLink: used or replaced\n" in shop("mail", "show", mails[0]).out
    assert shop.json("mail", "show", mails[1])["link_state"] is None
    assert "\nLink:" not in shop("mail", "show", mails[1]).out


def test_showing_says_that_it_shows_a_link(cli: Cli) -> None:
    assert "LINK INCLUDED" in cli("mail", "show", "--help").out


def test_only_a_dead_mail_is_tried_again(shop: Cli, mails: list[str]) -> None:
    assert "Only dead mails can be retried" in shop("mail", "retry", mails[0], "--json").error


def test_every_kind_is_previewed_without_a_secret(sqlite_cli: Cli) -> None:
    for kind in MailKind:
        made = sqlite_cli.json("mail", "preview", kind, "--language", "de-AT")
        assert sorted(made) == ["html", "is_own", "kind", "language", "subject", "text"]
        assert (made["kind"], made["language"], made["is_own"]) == (kind, "de", False)
        assert ("/link/" in made["text"]) == (kind in LINK_KINDS)
        assert not any(pattern.search(str(made)) for pattern in PATTERNS.values())
    assert sqlite_cli("mail", "preview", "verify_email", "--html").out.startswith("<!doctype html>")
    assert sqlite_cli("mail", "preview", "verify_email").out.startswith("Subject: Confirm")


def test_a_preview_says_whose_wording_it_is_and_in_which_language(sqlite_cli: Cli) -> None:
    sqlite_cli.json("brand", "create", "shop")
    ours = "note: shop has no wording of its own here: this is the one that comes with Keystead"
    said = sqlite_cli("mail", "preview", "verify_email", "--brand", "shop", "--language", "FR")
    assert said.err.strip() == f"{ours}, in 'en'"
    assert said.out.startswith("Subject: Confirm")
    words = ("mail", "preview", "verify_email", "--brand", "shop", "--language", "de-AT", "--html")
    assert sqlite_cli(*words).err.strip() == ours
    said = sqlite_cli("mail", "preview", "verify_email", "--language", "fr")
    assert said.err.strip() == "note: there is no wording in 'fr': this is the one that comes with Keystead, in 'en'"
    for language in ("en", "en-GB", "de"):
        assert sqlite_cli("mail", "preview", "verify_email", "--language", language).err == ""
    sqlite_cli.json("mail", "template", "set", "verify_email", "--brand", "shop", "--language", "en", stdin=FRENCH)
    said = sqlite_cli("mail", "preview", "verify_email", "--brand", "shop", "--language", "it")
    assert said.err.strip() == "note: there is no wording in 'it': this is the one of shop, in 'en'"


def test_a_preview_begins_links_where_the_brands_begin(shop: Cli) -> None:
    shop.json("brand", "update", "shop", "--base-url", "https://id.shop.example")
    made = shop.json("mail", "preview", "verify_email", "--brand", "shop")
    assert "https://id.shop.example/link/verify?token=" in made["text"]
    assert made["subject"].endswith("for shop")


def test_a_brand_words_its_mails(shop: Cli, tmp_path: Path) -> None:
    (tmp_path / "verify.jinja").write_text(FRENCH, "utf-8")
    words: tuple[str, ...] = ("verify_email", "--brand", "shop", "--language", "FR")
    made = shop.json("mail", "template", "set", *words, "--file", str(tmp_path / "verify.jinja"))
    assert (made["kind"], made["language"]) == ("verify_email", "fr")
    listed: list[dict[str, Any]] = shop.json("mail", "template", "list", "--brand", "shop")
    assert [(one["kind"], one["language"], one["source"]) for one in listed] == [("verify_email", "fr", FRENCH)]
    assert "verify_email" in shop("mail", "template", "list", "--brand", "shop").out
    assert shop.json("mail", "template", "show", *words)["source"] == FRENCH
    assert shop.json("mail", "preview", *words)["subject"] == "Bonjour shop"
    assert shop.json("mail", "template", "remove", *words) == {
        "success": True,
        "kind": "verify_email",
        "language": "fr",
    }
    assert shop.json("mail", "template", "list", "--brand", "shop") == []
    assert shop.json("mail", "preview", *words)["language"] == "en"


def test_ours_is_where_a_template_begins(shop: Cli) -> None:
    shown = shop("mail", "template", "show", "verify_email", "--brand", "shop", "--language", "de")
    assert "comes with Keystead" in shown.err
    words = ("verify_email", "--brand", "shop", "--language", "de")
    shop.json("mail", "template", "set", *words, stdin=shown.out.replace("Klick", "Klack"))
    again = shop("mail", "template", "show", *words)
    assert (again.out, again.err) == (shown.out.replace("Klick", "Klack"), "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["show", "nothing"], "There is no such mail"),
        (["retry", "nothing"], "There is no such mail"),
        (["list", "--state", "lost"], "--state must be one of waiting, sending, delivered, dead"),
        (["list", "--brand", "nobody"], "There is no brand 'nobody'"),
        (["preview", "love_letter"], "'kind' must be one of verify_email"),
        (["preview", "verify_email", "--language", "../de"], "--language must be a language tag"),
        (["template", "list", "--brand", "nobody"], "There is no brand 'nobody'"),
        (["template", "show", "verify_email", "--brand", "shop", "--language", "fr"], "no template of verify_email in"),
        (["template", "remove", "verify_email", "--brand", "shop", "--language", "fr"], "no custom template"),
        (["template", "set", "verify_email", "--brand", "shop", "--language", "fr"], "'subject'"),
    ],
)
def test_what_is_refused_says_why(sqlite_cli: Cli, words: list[str], line: str) -> None:
    sqlite_cli.json("brand", "create", "shop")
    said = sqlite_cli("mail", *words, "--json", stdin="no blocks")
    assert said.exit_code == 1
    assert line in said.error


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (FRENCH.replace("{{ link }}", "{{ lnik }}"), "source: Line 1: there is no 'lnik'"),
        (make_source(), "text: The text must contain the link"),
        (FRENCH + "\n\n{% for a in b %}{% endfor %}", "source: Line 3: for cannot be used in a mail"),
        (b"\xff\xfe", "stdin is not UTF-8 text"),
        (b"\x1b[31m", "source: The template contains control characters"),
        ("", "The block 'subject' is missing"),
    ],
)
def test_an_unsound_template_is_refused(sqlite_cli: Cli, source: str | bytes, line: str) -> None:
    sqlite_cli.json("brand", "create", "shop")
    words = ("mail", "template", "set", "verify_email", "--brand", "shop", "--language", "fr")
    assert line in sqlite_cli(*words, stdin=source).error


@pytest.mark.parametrize(
    "words",
    [
        ["show"],
        ["retry"],
        ["preview"],
        ["template", "list"],
        ["template", "show", "verify_email"],
        ["template", "set", "verify_email", "--brand", "shop"],
        ["template", "set", "verify_email", "--brand", "shop", "--language", "fr", "--file", "nothing.jinja"],
        ["template", "remove", "verify_email", "--brand", "shop"],
        ["send"],
    ],
)
def test_wrong_usage_is_2_and_one_line(sqlite_cli: Cli, words: list[str]) -> None:
    said = sqlite_cli("mail", *words)
    assert said.exit_code == 2
    assert "--help)" in said.error
