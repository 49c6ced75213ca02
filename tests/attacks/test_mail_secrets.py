"""A33, of what is mailed: who gets hold of the database gets hold of no link."""

from __future__ import annotations

import hashlib

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.master_key import MasterKey
from keystead.mail.links import link_secret
from keystead.mail.model import MailState
from keystead.users.one_time_tokens.model import KINDS
from tests.api import Api
from tests.attacks.dumped import assert_not_held, dump, is_digest_held
from tests.attacks.mail_operations import NEW_PASSWORD, handed_over, link_of, make_holder, typed, use_at_page
from tests.attacks.mails import LINK_MAILS, click, make_postman, outbox
from tests.make import change_brand
from tests.smtp_server import SmtpServer


@pytest.mark.attack("A33")
@pytest.mark.parametrize("is_used", [False, True])
async def test_a_dump_holds_no_mailed_token(
    server: Server, api: Api, brand: ActiveBrand, database_url: str, smtp: SmtpServer, is_used: bool
) -> None:
    """No table does, the outbox included: neither before the mail is sent, nor after a server has quoted it back,
    nor once the link was used; and not the password that came with a claim."""
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
async def test_a_copy_of_the_database_without_the_master_key_makes_no_link(
    server: Server, api: Api, brand: ActiveBrand
) -> None:
    """Tokens are derived from the mail's id; the id alone, or another key, gives none that is good."""
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
