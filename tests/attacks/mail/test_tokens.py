"""A33, A56: every kind of secret at every operation, page and header that accepts one; and dumps of the database."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.master_key import MasterKey
from keystead.crypto.secrets import SecretKind
from keystead.mail.links import link_secret
from keystead.mail.model import LINK_PATHS, MailState
from keystead.policy import SessionKind
from keystead.users.one_time_tokens.model import KINDS, TokenPurpose
from tests.api import Answer, Api
from tests.attacks.dumped import assert_not_held, dump, is_digest_held
from tests.attacks.mail_operations import (
    NEW_PASSWORD,
    handed_over,
    link_of,
    make_holder,
    redeem,
    reset,
    typed,
    use_at_page,
    who,
)
from tests.attacks.mails import LINK_MAILS, click, make_postman, open_link, outbox
from tests.attacks.operations import HEALTH, assert_error, assert_key_refused, assert_token_refused, get_access_token
from tests.attacks.stored import stored
from tests.attacks.surface import Operation, operations
from tests.attacks.watched import WatchedDatabase
from tests.make import SETTINGS, change_brand, make_api_key, make_brand_token, make_session, make_user
from tests.smtp_server import SmtpServer

TOKEN_ARGUMENTS = {"token", "refreshToken", "refresh_token"}
OPENS: dict[str, set[SecretKind]] = {
    "Query.getAccessToken": {SecretKind.refresh},
    "Mutation.refreshToken": {SecretKind.refresh},
    "Mutation.logout": {SecretKind.refresh},
    "Mutation.redeemMagicLink": {SecretKind.magic},
    "Mutation.resetPassword": {SecretKind.reset},
}
"""Which operation takes which kind; an operation that is added takes none until it is named here."""
HEADERS: dict[str, set[SecretKind]] = {
    "Authorization": set(),
    "keystead-api-key": {SecretKind.secret_key, SecretKind.publishable_key},
    "keystead-brand-authorization": {SecretKind.brand_token},
}


@dataclass(frozen=True)
class Issued:
    """A secret that is good, and what it is."""

    name: str
    kind: SecretKind
    text: str


@pytest.fixture
async def issued(server: Server, api: Api, brand: ActiveBrand) -> list[Issued]:
    """A good secret of each kind, and a mailed token for each purpose."""
    found = []
    for purpose in LINK_MAILS:
        holder = await make_holder(api, server, brand, purpose, f"{purpose}@example.com")
        found.append(Issued(purpose.value, KINDS[purpose], await holder.ask(purpose)))
    user = await make_user(server, brand, "user@example.com")
    for kind in SessionKind:
        token = (await make_session(server, brand, user.id, kind)).refresh_token.reveal()
        found.append(Issued(kind.value, SecretKind.refresh, token))
    keys = {
        SecretKind.secret_key: (await make_api_key(server, brand, "admin"))[1],
        SecretKind.publishable_key: (await make_api_key(server, brand, "read", is_publishable=True))[1],
        SecretKind.brand_token: await make_brand_token(server, brand),
    }
    found += [Issued(kind.name, kind, secret.reveal()) for kind, secret in keys.items()]
    # Kinds that are not issued yet are accepted nowhere.
    missing = set(SecretKind) - {secret.kind for secret in found}
    return found + [Issued(kind.name, kind, secrets.generate(kind).reveal()) for kind in missing]


async def token_operations(server: Server, brand: ActiveBrand) -> list[Operation]:
    """Every operation that takes a token, by the schema."""
    found = [each for each in await operations(server, brand) if TOKEN_ARGUMENTS & set(each.inputs())]
    assert {str(each) for each in found} == set(OPENS)
    return found


@pytest.mark.attack("A56")
async def test_an_operation_accepts_only_its_kind(
    server: Server, api: Api, brand: ActiveBrand, issued: list[Issued], watched: WatchedDatabase
) -> None:
    # Last, because it ends the sessions.
    taken = sorted(await token_operations(server, brand), key=lambda each: each.name == "logout")
    before = await stored(server)
    refused = 0
    for operation in taken:
        for secret in issued:
            if secret.kind in OPENS[str(operation)]:
                continue
            watched.forget()
            answer = await _present(api, operation, secret.text)
            code = "REFRESH_TOKEN_INVALID" if operation.name in ("getAccessToken", "refreshToken") else "TOKEN_INVALID"
            if operation.name == "logout":
                assert answer.data["logout"] == {"data": {"success": True}}, "for unknown tokens, too (RFC 7009)"
            else:
                assert_error(answer, code, (str(operation), secret.name))
            assert not [asked for asked in watched.asked if "token" in asked.text], (str(operation), secret.name)
            refused += 1
    assert refused > 4 * len(issued) - 8
    assert await stored(server) == before
    for operation in taken:
        for secret in issued:
            # The diagonal: what the operation is for. A standing token is no pair token, and the other way round.
            is_other_session = (operation.name, secret.name) in {
                ("getAccessToken", "pair"),
                ("refreshToken", "standing"),
            }
            if secret.kind in OPENS[str(operation)] and not is_other_session:
                assert (await _present(api, operation, secret.text)).data[operation.name], (str(operation), secret.name)


async def _present(api: Api, operation: Operation, token: str) -> Answer:
    given = dict.fromkeys(TOKEN_ARGUMENTS, token)
    document, variables = operation.request(newPassword="a fresh secret sentence", **given)
    return await api.send(document, variables)


@pytest.mark.attack("A56")
async def test_a_page_accepts_only_its_kind(server: Server, api: Api, issued: list[Issued]) -> None:
    before = await stored(server)
    for kind, path in LINK_PATHS.items():
        for secret in issued:
            if secret.kind is kind:
                continue
            link = f"{SETTINGS.base_url}{path}"
            case = (path, secret.name)
            assert (await open_link(api, f"{link}?token={secret.text}")).status_code == 410, case
            fields = {"token": secret.text, "seal": await _seal(api, issued, kind)}
            assert (await api.http.post(link, data=fields)).status_code in (403, 410), case
    assert await stored(server) == before
    for secret in issued:
        if secret.kind in LINK_PATHS:
            assert await use_at_page(api, secret.text), secret.name


async def _seal(api: Api, issued: list[Issued], kind: SecretKind) -> str:
    """The seal of a good form of the page for this kind."""
    own = next(secret for secret in issued if secret.kind is kind)
    page = await open_link(api, f"{SETTINGS.base_url}{LINK_PATHS[kind]}?token={own.text}")
    assert own.text in page.text
    return page.text.partition('name="seal" value="')[2][:64]


@pytest.mark.attack("A56")
async def test_no_mailed_token_is_a_credential_of_a_request(api: Api, issued: list[Issued]) -> None:
    for secret in issued:
        for header, kinds in HEADERS.items():
            answer = await api.send(HEALTH, headers={header: secret.text})
            if secret.kind in kinds:
                assert answer.data["health"]
            elif header == "Authorization":
                assert_token_refused(answer, (header, secret.name))
            else:
                assert_key_refused(answer, (header, secret.name))


@pytest.mark.attack("A56")
@pytest.mark.parametrize("kind", list(LINK_PATHS))
async def test_a_token_renamed_to_another_kind_is_rejected(
    server: Server, api: Api, brand: ActiveBrand, kind: SecretKind
) -> None:
    purpose = next(purpose for purpose in LINK_MAILS if KINDS[purpose] is kind)
    token = await (await make_holder(api, server, brand, purpose)).ask(purpose)
    for other in LINK_PATHS.keys() - {kind}:
        for renamed in (other.prefix + token.removeprefix(kind.prefix), _same_bits(token, other)):
            assert (await open_link(api, f"{SETTINGS.base_url}{LINK_PATHS[other]}?token={renamed}")).status_code == 410
            assert_error(await redeem(api, renamed), "TOKEN_INVALID")
            assert_error(await reset(api, renamed), "TOKEN_INVALID")
    assert await use_at_page(api, token)


def _same_bits(token: str, kind: SecretKind) -> str:
    """A secret of another kind, check sum and all, that carries the random part of this one."""
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    bits = 0
    for letter in token[6:-6]:
        bits = bits * len(digits) + digits.index(letter)
    renamed = secrets.generate(kind, random=lambda size: bits.to_bytes(size, "big")).reveal()
    assert renamed[6:-6] == token[6:-6]
    return renamed


@pytest.mark.attack("A56")
async def test_each_purpose_of_a_magic_link(server: Server, api: Api, brand: ActiveBrand) -> None:
    owner = await make_holder(api, server, brand, TokenPurpose.login, "owner@example.com")
    guest = await make_holder(api, server, brand, TokenPurpose.claim, "guest@example.com")
    before = {person.email: (await who(api, await person.access()))["id"] for person in (owner, guest)}
    magic: list[Callable[[], Awaitable[str]]] = [
        lambda: owner.ask(TokenPurpose.login),
        lambda: guest.ask(TokenPurpose.claim),
    ]
    for ask, person in zip(magic, (owner, guest), strict=True):
        document = "mutation ($t: String!) { redeemMagicLink(token: $t, session: standing) { data { refresh_token } } }"
        refresh_token = (await api.send(document, {"t": await ask()})).data["redeemMagicLink"]["data"]["refresh_token"]
        me = await who(api, await get_access_token(api, refresh_token))
        assert (me["id"], me["email"], me["verified"]) == (before[person.email], person.email, True)


@pytest.mark.attack("A33")
@pytest.mark.parametrize("is_used", [False, True])
async def test_a_dump_contains_no_mailed_token(
    server: Server, api: Api, brand: ActiveBrand, database_url: str, smtp: SmtpServer, is_used: bool
) -> None:
    await change_brand(
        server, brand, {"features": {"magic_login": True}, "redirect_urls": ["https://app.example.com/"]}
    )
    used: dict[str, str] = {}
    for purpose in LINK_MAILS:
        used[purpose] = await (await make_holder(api, server, brand, purpose, f"{purpose}@example.com")).ask(purpose)
    assert_not_held(await dump(database_url), {**used, "claimed password": NEW_PASSWORD})
    smtp.answer(".", f"554 5.6.0 Spam: {' '.join(used.values())}")
    await make_postman(server, smtp).deliver_all_due()
    assert {mail.state for mail in await outbox(server)} == {MailState.dead}
    for purpose in LINK_MAILS if is_used else ():
        answer = await click(api, link_of(used[purpose]), typed(used[purpose]))
        assert answer.status_code in (200, 303)
        if answer.status_code == 303:
            used[f"{purpose}, handed over"] = handed_over(answer)
    held = await dump(database_url)
    assert_not_held(held, {**used, "claimed password": NEW_PASSWORD})
    for name, text in used.items():
        # The search would find it: a digest is there, of the newest of each user's, unless the use ended it.
        assert is_digest_held(held, text) or is_used, name


@pytest.mark.attack("A33")
async def test_tokens_cannot_be_derived_without_the_master_key(server: Server, api: Api, brand: ActiveBrand) -> None:
    await change_brand(server, brand, {"features": {"magic_login": True}})
    for purpose in LINK_MAILS:
        token = await (await make_holder(api, server, brand, purpose, f"{purpose}@example.com")).ask(purpose)
        mail = next(mail for mail in await outbox(server) if mail.recipient == f"{purpose}@example.com")
        another = MasterKey.from_text(b"some other master key, which is as long")
        guessed = [link_secret(another, mail.kind, mail.id).reveal()]
        for made_from in (mail.id, mail.brand_id, mail.user_id, f"{mail.kind}\0{mail.id}"):
            digest = hashlib.sha256(made_from.encode()).digest()
            guessed.append(secrets.generate(KINDS[purpose], random=lambda _, digest=digest: digest).reveal())  # type: ignore[misc]
        for guess in guessed:
            assert not await use_at_page(api, guess)
        assert await use_at_page(api, token)
