"""``keystead mail``."""

from __future__ import annotations

from pathlib import Path

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


def test_mails_are_listed_without_links(shop: Cli, mails: list[str]) -> None:
    listed = shop.json("mail", "list")
    assert {(mail["id"], mail["kind"]) for mail in listed} == set(
        zip(mails, ("magic_login", "password_changed"), strict=True)
    )
    assert {(mail["brand"], mail["recipient"], mail["state"]) for mail in listed} == {
        ("shop", "ann@example.com", "waiting")
    }
    said = shop("mail", "list").out + shop("mail", "list", "--json").out
    assert mails[0] in said
    assert not any(pattern.search(said) for pattern in PATTERNS.values())


def test_mails_are_filtered_by_brand_and_state(shop: Cli, mails: list[str]) -> None:
    assert len(shop.json("mail", "list", "--brand", "shop", "--state", "waiting")) == len(mails)
    assert shop.json("mail", "list", "--brand", "keystead") == []
    assert shop.json("mail", "list", "--state", "dead") == []
    assert shop("mail", "list", "--state", "dead").err.strip() == "No mails."
    assert "Only dead mails can be retried" in shop("mail", "retry", mails[0], "--json").error


def test_a_mail_is_shown_with_its_link_and_the_state_of_the_link(shop: Cli, mails: list[str]) -> None:
    assert "LINK INCLUDED" in shop("mail", "show", "--help").out
    shown = shop.json("mail", "show", mails[0])
    assert (shown["id"], shown["brand"], shown["subject"]) == (mails[0], "shop", "Log in to shop")
    assert shown["link_state"] == "good"
    link = next(line for line in shown["text"].splitlines() if line.startswith("https://auth.example.com/link/login"))
    assert link in shown["html"]
    said = shop("mail", "show", mails[0]).out
    for line in ("To: ann@example.com", "Subject: Log in to shop", link):
        assert f"{line}\n" in said
    assert f"\nLink: good until {shown['expires_at'][:10]} " in said
    assert shop("mail", "show", mails[0], "--html").out.strip() == shown["html"].strip()

    async def work(ctx: Context) -> None:
        await use_link(ctx.server, (await brands.get_brand_by_name(ctx, "shop")).active(), mails[0])

    run(work)
    assert shop.json("mail", "show", mails[0])["link_state"] == "used_or_replaced"
    assert "\nLink: used or replaced\n" in shop("mail", "show", mails[0]).out
    notice = shop.json("mail", "show", mails[1])
    assert (notice["subject"], notice["link_state"]) == ("Your password at shop was changed", None)
    assert "\nLink:" not in shop("mail", "show", mails[1]).out


def test_every_kind_is_previewed_without_a_secret(sqlite_cli: Cli) -> None:
    for kind in MailKind:
        made = sqlite_cli.json("mail", "preview", kind, "--language", "de-AT")
        assert sorted(made) == ["html", "is_own", "kind", "language", "subject", "text"]
        assert (made["kind"], made["language"], made["is_own"]) == (kind, "de", False)
        assert ("/link/" in made["text"]) == (kind in LINK_KINDS)
        assert not any(pattern.search(str(made)) for pattern in PATTERNS.values())
    assert sqlite_cli("mail", "preview", "verify_email", "--html").out.startswith("<!doctype html>")
    assert sqlite_cli("mail", "preview", "verify_email").out.startswith("Subject: Confirm")


def test_a_preview_notes_the_origin_and_the_language_of_its_template(sqlite_shop: Cli) -> None:
    preview = ("mail", "preview", "verify_email", "--language")
    default = "note: shop has no template for this: this is the default"
    assert sqlite_shop(*preview, "FR", "--brand", "shop").err.strip() == f"{default}, in 'en'"
    assert sqlite_shop(*preview, "de-AT", "--brand", "shop", "--html").err.strip() == default
    assert sqlite_shop(*preview, "fr").err.strip() == "note: there is no template in 'fr': this is the default, in 'en'"
    for language in ("en", "en-GB", "de"):
        assert sqlite_shop(*preview, language).err == ""
    sqlite_shop.json("mail", "template", "set", "verify_email", "--brand", "shop", "--language", "en", stdin=FRENCH)
    said = sqlite_shop(*preview, "it", "--brand", "shop")
    assert said.err.strip() == "note: there is no template in 'it': this is the one of shop, in 'en'"


def test_a_brands_template_is_set_from_a_file_and_removed(shop: Cli, tmp_path: Path) -> None:
    shop.json("brand", "update", "shop", "--base-url", "https://id.shop.example")
    (tmp_path / "verify.jinja").write_text(FRENCH, "utf-8")
    template, words = ("mail", "template"), ("verify_email", "--brand", "shop", "--language", "FR")
    made = shop.json(*template, "set", *words, "--file", str(tmp_path / "verify.jinja"))
    assert (made["kind"], made["language"]) == ("verify_email", "fr")
    listed = shop.json(*template, "list", "--brand", "shop")
    assert [(one["kind"], one["language"], one["source"]) for one in listed] == [("verify_email", "fr", FRENCH)]
    assert "verify_email" in shop(*template, "list", "--brand", "shop").out
    assert shop.json(*template, "show", *words)["source"] == FRENCH
    preview = shop.json("mail", "preview", *words)
    assert preview["subject"] == "Bonjour shop"
    assert "https://id.shop.example/link/verify?token=" in preview["text"]
    assert shop.json(*template, "remove", *words) == {"success": True, "kind": "verify_email", "language": "fr"}
    assert shop.json(*template, "list", "--brand", "shop") == []
    assert shop.json("mail", "preview", *words)["language"] == "en"


def test_the_default_template_is_a_start_for_a_brands_own(sqlite_shop: Cli) -> None:
    words = ("verify_email", "--brand", "shop", "--language", "de")
    shown = sqlite_shop("mail", "template", "show", *words)
    assert "this is the default" in shown.err
    changed = shown.out.replace("Klick", "Klack")
    sqlite_shop.json("mail", "template", "set", *words, stdin=changed)
    again = sqlite_shop("mail", "template", "show", *words)
    assert (again.out, again.err) == (changed, "")


def test_an_error_names_its_reason(sqlite_shop: Cli) -> None:
    no_brand, french = "No brand named 'x'. List brands with", "verify_email --brand shop --language fr"
    for words, line in {
        "show nothing": "There is no such mail", "retry nothing": "There is no such mail",
        "list --state lost": "--state must be one of waiting, sending, delivered, dead", "list --brand x": no_brand,
        "preview love_letter": "'kind' must be one of verify_email",
        "preview verify_email --language ../de": "--language must be a language tag",
        "template list --brand x": no_brand, f"template show {french}": "There is no template",
        f"template remove {french}": "no custom template", f"template set {french}": "'subject'",
    }.items():  # fmt: skip
        said = sqlite_shop("mail", *words.split(), "--json", stdin="no blocks")
        assert said.exit_code == 1
        assert line in said.error, words


def test_an_unsound_template_is_rejected(sqlite_shop: Cli) -> None:
    words = ("mail", "template", "set", "verify_email", "--brand", "shop", "--language", "fr")
    for source, line in (
        (FRENCH.replace("{{ link }}", "{{ lnik }}"), "source: Line 1: there is no 'lnik'"),
        (make_source(), "text: The text must contain the link"),
        (FRENCH + "\n\n{% for a in b %}{% endfor %}", "source: Line 3: for cannot be used in a mail"),
        (b"\xff\xfe", "stdin is not UTF-8 text"),
        (b"\x1b[31m", "source: The template contains control characters"),
        ("", "The block 'subject' is missing"),
    ):
        assert line in sqlite_shop(*words, stdin=source).error
