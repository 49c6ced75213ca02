"""A66: no header, tag or template injection by names, languages, addresses and templates."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.errors import BadUserInput
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.mail.templates import checks
from keystead.mail.templates import service as templates
from keystead.settings import load_settings
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Api
from tests.attacks.hostile_texts import ADDRESSES, HOSTILE, REACHES
from tests.attacks.mail_operations import claim, mailed_token, make_holder, make_mailing_brand, request_login
from tests.attacks.mails import delivered, outbox, read
from tests.attacks.operations import assert_error
from tests.attacks.prehijackers import make_guest
from tests.clocks import ManualClock
from tests.mail.letters import make_mail
from tests.make import make_api_key, make_context
from tests.smtp_server import ReceivedMail, SmtpServer

HEADERS = [
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
]  # fmt: skip
"""Of every mail, in any order; there are no others."""


def _tags(html: str) -> list[tuple[str, list[str]]]:
    """Tags with the names of their attributes."""
    return [(name, [key for key, _ in attributes]) for name, attributes in checks.tags(html)]


def _assert_sound(mail: ReceivedMail, recipient: str) -> None:
    """Eight headers, each once, and one recipient, in the envelope and the mail."""
    assert sorted(name.title() for name in mail.message) == sorted(name.title() for name in HEADERS)
    head = mail.content.partition(b"\r\n\r\n")[0].decode()
    begun = [line for line in head.split("\r\n") if not line.startswith((" ", "\t"))]
    assert len(begun) == len(HEADERS), begun
    assert "\n" not in head.replace("\r\n", ""), head
    assert "\r" not in head.replace("\r\n", ""), head
    assert mail.recipients == (recipient,)
    assert f"To: {recipient}" in begun
    assert mail.sender == "no-reply@auth.example.com"


async def _any_link_is_good(tx: Tx, secret: Secret, now: datetime) -> bool:
    return True


@pytest.mark.attack("A66")
@pytest.mark.parametrize("kind", list(MailKind))
async def test_no_value_adds_a_header_or_a_tag(
    server: Server, brand: ActiveBrand, ann: User, smtp: SmtpServer, kind: MailKind
) -> None:
    fields = ("brand", "ip_prefix", "user_agent", "device", "new_address", "opened_from", "opened_at", "a new one")
    firefox = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
    benign = dict.fromkeys(fields, "something") | {"user_agent": firefox, "device": firefox}
    expires_at = None if kind not in LINK_KINDS else server.clock.now().replace(hour=23)
    wanted: dict[str, str] = {}
    for text in ("", *HOSTILE):
        # Lone surrogates and NUL reach no database of ours; whatever else does is kept as it is.
        hostile = text.replace("\0", "").replace("\ud800", "")
        shown = benign | ({name: f"{benign[name]} {hostile}" for name in fields} if text else {})
        languages = tuple(dict.fromkeys(("".join(hostile.split()) or "en", "en")))
        wanted[await make_mail(server, brand, ann, kind, shown=shown, languages=languages, expires_at=expires_at)] = (
            text
        )
    by_id = {mail.id: await read(server, mail) for mail in await outbox(server)}
    plain = next(by_id[mail_id] for mail_id, text in wanted.items() if not text)
    for mail_id, text in wanted.items():
        assert _tags(by_id[mail_id].html) == _tags(plain.html), text[:40]
        assert "\n" not in by_id[mail_id].subject, text[:40]
        assert "49" not in by_id[mail_id].subject
    received = await delivered(server, smtp, _any_link_is_good)
    assert len(received) == len(wanted)
    for mail in received:
        _assert_sound(mail, "ann@example.com")
        assert "evil.example" not in "".join(part for part in mail.html.split('"') if part.startswith("http"))


@pytest.mark.attack("A66")
async def test_an_address_that_looks_like_syntax_is_data(
    server: Server, api: Api, brand_token: str, smtp: SmtpServer
) -> None:
    for address in ADDRESSES:
        guest = await make_guest(api, brand_token)
        assert (await claim(api, guest.access, address)).data["changeAndValidateEmail"], address
    received = await delivered(server, smtp)
    assert len(received) == len(ADDRESSES)
    for mail, address in zip(sorted(received, key=_place), sorted(ADDRESSES, key=_ascii), strict=True):
        _assert_sound(mail, _ascii(address))
        assert address in mail.text
        assert "49" not in mail.text.partition("/link/")[0]


def _place(mail: ReceivedMail) -> str:
    return mail.recipients[0]


def _ascii(address: str) -> str:
    """As it stands in an envelope."""
    return address.replace("bücher", "xn--bcher-kva")


@pytest.mark.attack("A66")
async def test_request_headers_are_data(
    server: Server, api: Api, brand: ActiveBrand, smtp: SmtpServer, clock: ManualClock
) -> None:
    holder = await make_holder(api, server, brand, TokenPurpose.verify)
    count = 0
    for text in HOSTILE:
        try:
            value = text.encode("latin-1")
        except UnicodeEncodeError:
            continue
        for name in ("Accept-Language", "User-Agent"):
            api.http.headers = httpx.Headers([(name.encode(), value)])
            await holder.ask(TokenPurpose.verify)
            clock.advance(minutes=13)
            count += 1
    assert count > 60
    received = await delivered(server, smtp)
    assert received
    for mail in received:
        _assert_sound(mail, holder.email)
        for sign in ("evil.example", "<script", "onerror", "onload", "Bcc", "etc/passwd"):
            assert sign not in mail.text + mail.html, sign


@pytest.mark.attack("A66")
async def test_brand_names_and_languages_contain_no_line_break(server: Server, api: Api, brand: ActiveBrand) -> None:
    for name in ("x\r\nBcc: eve@example.org", "x\ny", "<b>x</b>", "{{ 7 }}", 'x"', "x y", "=?utf-8?q?x?="):
        with pytest.raises(BadUserInput):
            await make_mailing_brand(server, name)
    key = (await make_api_key(server, brand, "admin"))[1].reveal()
    update = "mutation ($p: JSON!) { updateBrand(input: { policy: $p }) { data { id } } }"
    for language in ("en\r\nX: y", "../de", "{{ 7 }}", ""):
        assert_error(await api.send(update, {"p": {"mail_language": language}}, key=key), "BAD_USER_INPUT", language)
    assert (await api.send(update, {"p": {"mail_language": "de"}}, key=key)).data["updateBrand"]


def _source(subject: str = "{{ brand }}", text: str = "{{ link }}", html: str = '<a href="{{ link }}">x</a>') -> str:
    blocks = {"subject": subject, "text": text, "html": html}
    return "".join(f"{{% block {name} %}}{source}{{% endblock %}}" for name, source in blocks.items())


@pytest.mark.attack("A66")
async def test_a_brand_s_template_is_sandboxed_and_escaped(
    server: Server, api: Api, brand: ActiveBrand, smtp: SmtpServer, clock: ManualClock
) -> None:
    ctx, kind = make_context(server), MailKind.magic_login
    before = await outbox(server)
    for reach in REACHES:
        for source in (_source(text="{{ link }}" + reach), _source(subject=reach), reach + _source()):
            with pytest.raises(BadUserInput):
                await templates.set_template(ctx, brand.id, kind, "en", source)
    assert before == await outbox(server)
    html = '<p>{{ address }} {{ brand }} {{ device }}</p><a href="{{ link }}">x</a>'
    for subject in ("{{ brand }}", "Hello\r\nBcc: eve@example.org", "{{ address }}\n\n<b>{{ brand }}</b>", "é" * 500):
        address = f"a&b'c{len(await outbox(server))}@example.com"
        await templates.set_template(ctx, brand.id, kind, "en", _source(subject, html=html))
        holder = await make_holder(api, server, brand, TokenPurpose.login, address)
        await holder.ask(TokenPurpose.login)
        clock.advance(seconds=1)
    for mail in await delivered(server, smtp):
        _assert_sound(mail, mail.recipients[0])
        assert mail.recipients[0].replace("&", "&amp;").replace("'", "&#39;") in mail.html


@pytest.mark.attack("A66")
async def test_the_sender_is_the_configured_one(server: Server, api: Api, ann: User, smtp: SmtpServer) -> None:
    sender = load_settings({"KEYSTEAD_MAIL_FROM": "The Shop <shop@example.net>"}).mail_from
    named = replace(server, settings=replace(server.settings, mail_from=sender))
    assert (await request_login(api, "ann@example.com")).data["requestMagicLogin"]
    (mail,) = await delivered(named, smtp)
    assert (mail.sender, mail.recipients) == ("shop@example.net", ("ann@example.com",))
    assert str(mail.message["From"]) == "The Shop <shop@example.net>"
    assert await mailed_token(api, server, TokenPurpose.login, "ann@example.com") in mail.text
