"""Mails whose link is no longer valid are neither sent nor retried."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from keystead.context import Server
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.errors import Conflict, ServiceUnavailable
from keystead.mail import outbox
from keystead.mail.links import describe_link_state, find_link_state
from keystead.mail.model import LINK_KINDS, LinkState, MailKind, MailState
from keystead.mail.sending import LEASE
from keystead.mail.transport import DeliveryRefused
from keystead.mail.worker import MailWorker
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.users.one_time_tokens.store import is_valid
from tests.mail.letters import Box, use_link
from tests.mail.post import Post, make_delivery
from tests.make import make_context

GONE = "The link was used or replaced before the mail could be sent."
KINDS = pytest.mark.parametrize("kind", list(LINK_KINDS))


def worker(server: Server, post: Post, holder: str = "node-1") -> MailWorker:
    return make_delivery(server, post, holder, is_link_good=is_valid)


async def link_state(server: Server, mail_id: str) -> LinkState | None:
    mail = await outbox.get_mail(make_context(server), mail_id)
    return await find_link_state(server.db.reads, mail, server.master_key, server.clock.now(), is_valid)


@KINDS
async def test_only_the_newest_link_of_a_purpose_is_sent(box: Box, kind: MailKind) -> None:
    made = []
    for _ in range(3):
        made.append(await box.link_mail(kind))
        box.clock.advance(seconds=61)
    notice, post = await box.mail(), Post()
    await worker(box.server, post).deliver_all_due()
    assert sorted(post.mail_ids) == sorted([made[2], notice])
    assert [await box.state(mail_id) for mail_id in made[:2]] == [(MailState.dead, GONE)] * 2


@KINDS
async def test_a_link_that_was_used_is_not_sent(box: Box, kind: MailKind) -> None:
    mail_id, post = await box.link_mail(kind), Post()
    await box.use_link(mail_id, kind)
    with capture_logs() as lines:
        assert await worker(box.server, post).deliver_all_due() == 1
    assert (post.attempts, await box.state(mail_id)) == (0, (MailState.dead, GONE))
    assert [(line["event"], line["reason"]) for line in lines] == [("mail_given_up", GONE)]


async def test_a_revoked_link_is_not_sent(box: Box) -> None:
    mail_id, post = await box.link_mail(), Post()
    async with box.server.db.transaction() as tx:
        await one_time_tokens.delete_tokens(tx, box.brand.id, box.ann.id)
    await worker(box.server, post).deliver_all_due()
    assert mail_id not in post.mail_ids
    assert await box.state(mail_id) == (MailState.dead, GONE)


async def test_an_expired_lease_is_not_retried_once_the_link_was_used(box: Box, second: Server) -> None:
    mail_id, first, again = await box.link_mail(MailKind.verify_email), Post(), Post()
    is_over = first.hold_up()
    working = asyncio.create_task(worker(box.server, first, "here").deliver_all_due())
    await first.is_asked.wait()
    await use_link(second, box.brand, mail_id, MailKind.verify_email)
    box.clock.advance(seconds=LEASE.total_seconds())
    assert await worker(second, again, "there").deliver_all_due() == 1
    is_over.set()
    assert await working == 0, "it is not theirs any more"
    assert (first.mail_ids, again.attempts) == ([mail_id], 0)
    assert await box.state(mail_id) == (MailState.dead, GONE)


async def test_a_mail_waits_while_the_state_of_its_link_is_unknown(box: Box) -> None:
    async def fail(_tx: Tx, _secret: Secret, _now: datetime) -> bool:
        raise ServiceUnavailable

    link, notice = await box.link_mail(), await box.mail()
    post = Post()
    await box.worker(post, is_link_good=fail).deliver_all_due()
    assert post.mail_ids == [notice]
    assert (await box.state(link))[0] is MailState.waiting
    box.clock.advance(seconds=10)
    await worker(box.server, post).deliver_all_due()
    assert post.mail_ids == [notice, link]


async def test_a_dead_mail_whose_link_was_used_or_replaced_stays_dead(box: Box) -> None:
    ctx, post = box.ctx, Post()
    old = await box.link_mail()
    post.error = DeliveryRefused("550 5.1.1 No such mailbox")
    await worker(box.server, post).deliver_all_due()
    await outbox.retry(ctx, old, is_valid)
    await worker(box.server, post).deliver_all_due()
    box.clock.advance(seconds=61)
    new = await box.link_mail()
    await worker(box.server, post).deliver_all_due()
    with pytest.raises(Conflict, match="used or replaced"):
        await outbox.retry(ctx, old, is_valid)
    assert (await box.state(old))[0] is MailState.dead
    await outbox.retry(ctx, new, is_valid)
    assert (await box.state(new))[0] is MailState.waiting


async def test_link_states(box: Box) -> None:
    notice, old = await box.mail(), await box.link_mail()
    assert (await link_state(box.server, notice), await link_state(box.server, old)) == (None, LinkState.good)
    new = await box.link_mail()
    assert [await link_state(box.server, mail_id) for mail_id in (old, new)] == [
        LinkState.used_or_replaced,
        LinkState.good,
    ]
    box.clock.advance(minutes=10)
    assert [await link_state(box.server, mail_id) for mail_id in (old, new)] == [LinkState.ran_out] * 2
    mail = await outbox.get_mail(box.ctx, new)
    assert [describe_link_state(one, mail) for one in LinkState] == [
        "good until 2026-01-01 12:10:00 UTC",
        "used or replaced",
        "ran out 2026-01-01 12:10:00 UTC",
    ]
