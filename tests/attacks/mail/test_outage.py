"""A67: responses do not depend on the mail server, and mails wait for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from keystead.authentication.link_request_worker import process_all
from keystead.context import Server
from keystead.mail.model import LINK_KINDS, Mail, MailState
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Api, make_api
from tests.attacks.callers import anonymised
from tests.attacks.mail_operations import (
    CHANGE_PASSWORD,
    NEW_PASSWORD,
    REQUEST_LOGIN,
    REQUEST_RESET,
    cause_mail,
    request_login,
)
from tests.attacks.mails import make_postman, outbox
from tests.attacks.operations import log_in
from tests.attacks.prehijackers import Guest, make_guest
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.smtp_server import SmtpServer

ANN, UNKNOWN = "ann@example.com", "unknown@example.com"


@pytest.fixture
async def guests(api: Api, brand_token: str) -> list[Guest]:
    return [await make_guest(api, brand_token) for _ in range(2)]


@pytest.fixture
def gone() -> SmtpServer:
    """A mail server that has shut down."""
    with SmtpServer() as once:
        pass
    return once


async def _ask_for_everything(api: Api, guests: list[Guest], clock: ManualClock) -> None:
    """Every operation that causes a mail; each of them is answered."""
    for purpose, address, token in (
        (TokenPurpose.login, ANN, ""),
        (TokenPurpose.reset, ANN, ""),
        (TokenPurpose.verify, "one@example.com", guests[0].access),
        (TokenPurpose.claim, "two@example.com", guests[1].access),
        (TokenPurpose.claim, ANN, guests[1].access),
    ):
        assert set((await cause_mail(api, purpose, address, token=token)).data.values()) == {True}
        clock.advance(seconds=61)
    access, _ = await log_in(api, ANN, PASSWORD)
    answer = await api.send(CHANGE_PASSWORD, {"new": NEW_PASSWORD, "old": PASSWORD}, token=access)
    assert answer.data["changePassword"] is True


@pytest.mark.attack("A67")
@pytest.mark.parametrize("verb", ["CONNECT", "DATA", "."])
async def test_no_request_waits_for_a_mail_server(
    server: Server, api: Api, ann: User, guests: list[Guest], smtp: SmtpServer, clock: ManualClock, verb: str
) -> None:
    silence = smtp.withhold(verb, times=1)
    assert (await request_login(api, ANN)).data["requestMagicLogin"]
    clock.advance(seconds=61)
    delivering = asyncio.create_task(make_postman(server, smtp).deliver_all_due())
    await smtp.heard("DATA" if verb == "." else verb)
    await _ask_for_everything(api, guests, clock)
    assert not delivering.done()
    assert (await outbox(server))[0].state is MailState.sending
    silence.release()
    await delivering
    mails = await outbox(server)
    assert (len(mails), mails[0].state) == (7, MailState.delivered)
    delivered = [mail for mail in mails if mail.state is MailState.delivered]
    assert len(await smtp.mails(len(delivered))) == len(delivered)
    assert all(mail.last_error and "used or replaced" in mail.last_error for mail in mails if mail not in delivered)


@pytest.mark.attack("A67")
async def test_an_ambiguous_delivery_is_retried_with_the_same_mail(
    server: Server, api: Api, ann: User, smtp: SmtpServer, clock: ManualClock
) -> None:
    smtp.drop(".", times=1)
    assert (await request_login(api, ANN)).data["requestMagicLogin"]
    await make_postman(server, smtp).deliver_all_due()
    clock.advance(seconds=10)
    await make_postman(server, smtp).deliver_all_due()
    first, second = await smtp.mails(2)
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert first.content == second.content
    assert (await outbox(server))[0].state is MailState.delivered


@pytest.mark.attack("A67")
@pytest.mark.parametrize("state", ["none", "up", "down", "silent", "refusing"])
async def test_no_state_of_the_mail_server_reveals_registered_addresses(
    server: Server,
    ann: User,
    smtp: SmtpServer,
    gone: SmtpServer,
    watched: WatchedDatabase,
    clock: ManualClock,
    state: str,
) -> None:
    chosen = gone if state == "down" else smtp
    settings = replace(server.settings, smtp_url=None if state == "none" else chosen.url)
    api = await make_api(replace(server, settings=settings))
    silence = smtp.withhold("CONNECT") if state == "silent" else None
    if state == "refusing":
        smtp.answer("RCPT", "550 5.1.1 No such mailbox")
    delivering: list[asyncio.Task[int]] = []
    for _ in range(2):
        for ask in (REQUEST_LOGIN, REQUEST_RESET):
            seen = []
            for email in (ANN, UNKNOWN):
                watched.forget()
                answer = await api.send(ask, {"email": email})
                seen.append((*anonymised(answer), dict(answer.headers), [asked.text for asked in watched.asked]))
            assert seen[0] == seen[1]
            await process_all(server)
            clock.advance(seconds=61)
        if state != "none" and not delivering:
            delivering.append(asyncio.create_task(make_postman(server, chosen).deliver_all_due()))
            await (smtp.heard("CONNECT") if silence else delivering[0])
    if silence is not None:
        assert not delivering[0].done()
        silence.release()
        await delivering[0]
    await api.http.aclose()
    assert {mail.recipient for mail in await outbox(server)} == {ANN}
    assert all(_is_a_link_to_ann(mail) for mail in await outbox(server))


def _is_a_link_to_ann(mail: Mail) -> bool:
    return mail.kind in LINK_KINDS and UNKNOWN not in str(mail)
