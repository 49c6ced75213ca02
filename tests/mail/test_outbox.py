"""The outbox, as those see it who mind the installation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import bindparam, update

from keystead.audit import service as audit
from keystead.context import Server
from keystead.db.statements import Statement
from keystead.errors import Conflict, NotFound
from keystead.mail import outbox
from keystead.mail.model import MailKind, MailState
from keystead.mail.store import mails
from keystead.pagination import PageRequest
from tests.mail.letters import Box, make_mail
from tests.mail.post import always_good
from tests.make import make_brand, make_context, make_user

_SET_STATE = Statement(
    update(mails)
    .where(mails.c.id == bindparam("mail_id"))
    .values(state=bindparam("new"), attempts=29, last_error="refused"),
    unbranded="test",
)


async def set_state(server: Server, mail_id: str, state: MailState) -> None:
    async with server.db.transaction() as tx:
        assert await tx.execute(_SET_STATE, mail_id=mail_id, new=state.value) == 1


async def test_a_mail_is_shown_as_it_was_written(box: Box) -> None:
    expires_at = box.server.clock.now() + timedelta(minutes=10)
    mail_id = await box.mail(MailKind.magic_login, expires_at=expires_at, languages=("de-at", "de"), shown={"a": "é"})
    mail = await outbox.get_mail(box.ctx, mail_id)
    assert (mail.id, mail.brand_id, mail.kind, mail.user_id) == (
        mail_id,
        box.brand.id,
        MailKind.magic_login,
        box.ann.id,
    )
    assert (mail.recipient, mail.languages, mail.shown) == ("ann@example.com", ("de-at", "de"), {"a": "é"})
    assert (mail.state, mail.attempts, mail.expires_at) == (MailState.waiting, 0, expires_at)
    assert (mail.created_at, mail.next_attempt_at) == (box.server.clock.now(), box.server.clock.now())
    assert (mail.delivered_at, mail.last_error) == (None, None)


@pytest.mark.parametrize("mail_id", ["00000000-0000-7000-8000-000000000001", "", "'; --", "x" * 5000])
async def test_an_unknown_mail_is_not_found(server: Server, mail_id: str) -> None:
    with pytest.raises(NotFound):
        await outbox.get_mail(make_context(server), mail_id)
    with pytest.raises(NotFound):
        await outbox.retry(make_context(server), mail_id, always_good)


async def test_the_newest_mail_comes_first_page_by_page(box: Box) -> None:
    made = []
    for _ in range(5):
        made.append(await box.mail())
        box.clock.advance(seconds=1)
    ctx = box.ctx
    pages = [await outbox.list_mails(ctx, PageRequest(number, 2), with_total=True) for number in (1, 2, 3)]
    assert [mail.id for page in pages for mail in page.items] == made[::-1]
    assert [(page.has_more_pages, page.total) for page in pages] == [(True, 5), (True, 5), (False, 5)]


async def test_a_list_is_of_one_brand_or_of_all_and_of_one_state_or_any(box: Box) -> None:
    other = await make_brand(box.server, "otherBrand")
    bob = await make_user(box.server, other, "bob@example.com")
    mine, dead, theirs = [
        await make_mail(box.server, *of) for of in ((box.brand, box.ann), (box.brand, box.ann), (other, bob))
    ]
    await set_state(box.server, dead, MailState.dead)

    async def listed(brand_id: str | None = None, state: MailState | None = None) -> set[str]:
        page = await outbox.list_mails(box.ctx, PageRequest(), brand_id=brand_id, state=state, with_total=True)
        assert page.total == len(page.items)
        return {mail.id for mail in page.items}

    assert await listed() == {mine, dead, theirs}
    assert await listed(box.brand.id) == {mine, dead}
    assert await listed(other.id) == {theirs}
    assert await listed(state=MailState.waiting) == {mine, theirs}
    assert await listed(box.brand.id, MailState.dead) == {dead}
    assert await listed(other.id, MailState.dead) == set()


async def test_mails_are_counted_by_their_state(box: Box) -> None:
    dead, *_ = [await box.mail() for _ in range(3)]
    await set_state(box.server, dead, MailState.dead)
    counted = await outbox.count_states(box.server.db)
    assert counted == {MailState.waiting: 2, MailState.sending: 0, MailState.delivered: 0, MailState.dead: 1}


async def test_a_dead_mail_is_put_back_and_the_trail_says_so(box: Box) -> None:
    mail_id, ctx = await box.mail(), box.ctx
    await set_state(box.server, mail_id, MailState.dead)
    box.clock.advance(days=2)
    await outbox.retry(ctx, mail_id, always_good)
    mail = await outbox.get_mail(ctx, mail_id)
    assert (mail.state, mail.attempts, mail.last_error) == (MailState.waiting, 0, None)
    assert mail.next_attempt_at == box.clock.now()
    newest = (await audit.list_events(ctx, box.brand.id, PageRequest())).items[0]
    assert (newest.event, newest.subject_id, newest.details) == ("mail.retried", mail_id, {"kind": "password_changed"})


@pytest.mark.parametrize("state", [state for state in MailState if state is not MailState.dead])
async def test_a_mail_that_is_not_dead_is_left_alone(box: Box, state: MailState) -> None:
    mail_id, ctx = await box.mail(), box.ctx
    await set_state(box.server, mail_id, state)
    with pytest.raises(Conflict, match=state.value):
        await outbox.retry(ctx, mail_id, always_good)
    assert (await outbox.get_mail(ctx, mail_id)).state is state
    events = (await audit.list_events(ctx, box.brand.id, PageRequest())).items
    assert "mail.retried" not in {event.event for event in events}


async def test_a_dead_mail_whose_link_ran_out_stays_dead(box: Box) -> None:
    expires_at = box.clock.now() + timedelta(minutes=10)
    mail_id = await box.mail(MailKind.magic_login, expires_at=expires_at)
    await set_state(box.server, mail_id, MailState.dead)
    box.clock.advance(minutes=10)
    with pytest.raises(Conflict, match="expired"):
        await outbox.retry(box.ctx, mail_id, always_good)
    assert (await outbox.get_mail(box.ctx, mail_id)).state is MailState.dead
