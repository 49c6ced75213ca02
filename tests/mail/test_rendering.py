"""Rendering of mails: links, values, languages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from keystead.context import Server
from keystead.crypto.master_key import MasterKey
from keystead.db.statements import Statement
from keystead.mail import outbox
from keystead.mail.links import link_secret, link_url
from keystead.mail.model import MailKind, RenderedMail
from keystead.mail.rendering import render
from keystead.mail.request_headers import device_of
from keystead.mail.templates import service
from keystead.mail.templates.checks import link_targets
from keystead.mail.templates.store import mail_templates
from tests.mail.letters import Box
from tests.mail.wording import LINKS, make_source, visible
from tests.make import MASTER_KEY, make_context

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0"
_BREAK = Statement(update(mail_templates).values(source="{{ gone }}"), unbranded="test")


async def rendered(server: Server, mail_id: str, master_key: MasterKey = MASTER_KEY) -> RenderedMail:
    return await render(server.db.reads, await outbox.get_mail(make_context(server), mail_id), master_key)


@pytest.mark.parametrize("kind", LINKS)
async def test_the_link_leads_to_the_brands_page_with_the_mails_token(box: Box, kind: MailKind) -> None:
    base = "https://id.rainbow.example/auth"
    expires_at = box.server.clock.now() + timedelta(minutes=30)
    mail_id = await box.mail(kind, link_base=base, expires_at=expires_at)
    mail = await rendered(box.server, mail_id)
    link = link_url(base, link_secret(MASTER_KEY, kind, mail_id))
    assert link.startswith(f"{base}/link/")
    assert link in mail.text.splitlines()
    assert link_targets(mail.html) == [link, link]
    assert "30 minutes" in mail.text
    assert link not in repr(mail)
    assert await rendered(box.server, mail_id) == mail


async def test_a_base_url_with_signs_in_it_stays_what_it_is(box: Box) -> None:
    base = "https://id.example.com/a&b'c\"d<e"
    mail_id = await box.mail(MailKind.verify_email, link_base=base)
    mail = await rendered(box.server, mail_id)
    link = link_url(base, link_secret(MASTER_KEY, MailKind.verify_email, mail_id))
    assert link in mail.text
    assert link_targets(mail.html) == [link, link]


@pytest.mark.parametrize(
    ("lifetime", "words"),
    [
        (timedelta(hours=24), "24 hours"), (timedelta(minutes=90), "1 hours"), (timedelta(minutes=10), "10 minutes"),
        (timedelta(seconds=119), "1 minutes"),
    ],
)  # fmt: skip
async def test_a_lifetime_is_said_in_hours_or_minutes(box: Box, lifetime: timedelta, words: str) -> None:
    expires_at = box.server.clock.now() + lifetime
    mail_id = await box.mail(MailKind.verify_email, expires_at=expires_at)
    assert f"valid for {words} and" in (await rendered(box.server, mail_id)).text


async def test_values_are_shown(box: Box) -> None:
    shown = {"brand": box.brand.name, "ip_prefix": "192.0.2.7", "user_agent": FIREFOX, "new_address": "b…@example.org"}
    mail_id = await box.mail(MailKind.address_changed, shown=shown)
    mail = await rendered(box.server, mail_id)
    assert mail.subject == "Your e-mail address at rainbowMakers was changed"
    for fact in ("ann@example.com", "2026-01-01 12:00 UTC", "192.0.2.7", "Firefox, Linux", "b…@example.org"):
        assert fact in mail.text
        assert fact in visible(mail.html)


@pytest.mark.parametrize("shown", [{}, {"brand": "b", "ip_prefix": "", "user_agent": ""}, {"unknown": "x"}])
async def test_every_value_is_optional(box: Box, shown: dict[str, str]) -> None:
    for kind in MailKind:
        mail = await rendered(box.server, await box.mail(kind, shown=shown))
        assert mail.subject
        assert "None" not in mail.text + mail.html


@pytest.mark.parametrize(
    ("languages", "subject"),
    [
        (("de-at", "en"), "Ihr Passwort bei"), (("de",), "Ihr Passwort bei"),
        (("fr", "en-gb", "de"), "Your password at"), (("fr",), "Your password at"), ((), "Your password at"),
    ],
)  # fmt: skip
async def test_it_is_worded_in_the_readers_language(box: Box, languages: tuple[str, ...], subject: str) -> None:
    mail = await rendered(box.server, await box.mail(languages=languages))
    assert mail.subject.startswith(subject)


async def test_the_brand_s_own_template_is_used_until_removed(box: Box) -> None:
    ctx, kind = box.ctx, MailKind.password_changed
    mail_id = await box.mail(languages=("fr",))
    await service.set_template(ctx, box.brand.id, kind, "fr", make_source("Mot de passe ({{ language }})"))
    assert (await rendered(box.server, mail_id)).subject == "Mot de passe (fr)"
    await service.remove_template(ctx, box.brand.id, kind, "fr")
    assert (await rendered(box.server, mail_id)).subject.startswith("Your password")


async def test_a_template_that_no_longer_renders_is_replaced_by_the_shipped_one(box: Box) -> None:
    await service.set_template(box.ctx, box.brand.id, MailKind.password_changed, "de", make_source())
    async with box.server.db.transaction() as tx:
        await tx.execute(_BREAK)
    mail_id = await box.mail(languages=("de",))
    assert (await rendered(box.server, mail_id)).subject.startswith("Ihr Passwort")


async def test_a_long_value_is_cut(box: Box) -> None:
    mail = await rendered(box.server, await box.mail(shown={"brand": "b" * 100_000}))
    assert len(mail.text) < 5_000
    assert len(mail.subject) <= 200


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        (FIREFOX, "Firefox, Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/133.0 Safari/537.36 Edg/133.0", "Edge, Windows"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/133.0 Mobile Safari/537.36", "Chrome, Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) Version/18.3 Safari/604.1", "Safari, iPhone"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/18.3 Safari/605.1.15", "Safari, macOS"),
        ("Mozilla/5.0 (X11; CrOS x86_64 16093) AppleWebKit/537.36 Chrome/133.0 Safari/537.36", "Chrome, ChromeOS"),
        ("okhttp/4.12 (Android 14)", "Android"),
        ("curl/8.5.0", ""),
        ("", ""),
        ("You were hacked! Go to evil.example now", ""),
    ],
)
def test_a_user_agent_is_described_by_known_names_alone(user_agent: str, device: str) -> None:
    assert device_of(user_agent) == device
