"""Mails whose link is no longer valid are neither sent nor retried."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.errors import Conflict, ServiceUnavailable
from keystead.mail import outbox
from keystead.mail.links import describe_link_state, find_link_state
from keystead.mail.model import LINK_KINDS, LinkState, MailKind, MailState
from keystead.mail.sending import LEASE
from keystead.mail.transport import DeliveryFailed, DeliveryRefused
from keystead.mail.worker import MailWorker
from keystead.users.model import User
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.users.one_time_tokens.store import is_valid
from tests.clocks import ManualClock
from tests.mail.letters import make_link_mail, make_mail, state, use_link
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
async def test_only_the_newest_link_of_a_purpose_is_sent(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, kind: MailKind
) -> None:
    made = []
    for _ in range(3):
        made.append(await make_link_mail(server, brand, ann, kind))
        clock.advance(seconds=61)
    notice, post = await make_mail(server, brand, ann), Post()
    await worker(server, post).deliver_all_due()
    assert sorted(post.mail_ids) == sorted([made[2], notice])
    assert [await state(server, mail_id) for mail_id in made[:2]] == [(MailState.dead, GONE)] * 2


@KINDS
async def test_a_link_that_was_used_is_not_sent(server: Server, brand: ActiveBrand, ann: User, kind: MailKind) -> None:
    mail_id, post = await make_link_mail(server, brand, ann, kind), Post()
    await use_link(server, brand, mail_id, kind)
    with capture_logs() as lines:
        assert await worker(server, post).deliver_all_due() == 1
    assert (post.attempts, await state(server, mail_id)) == (0, (MailState.dead, GONE))
    assert [(line["event"], line["reason"]) for line in lines] == [("mail_given_up", GONE)]


async def test_a_revoked_link_is_not_sent(server: Server, brand: ActiveBrand, ann: User) -> None:
    mail_id, post = await make_link_mail(server, brand, ann), Post()
    async with server.db.transaction() as tx:
        await one_time_tokens.delete_tokens(tx, brand.id, ann.id)
    await worker(server, post).deliver_all_due()
    assert mail_id not in post.mail_ids
    assert await state(server, mail_id) == (MailState.dead, GONE)


async def test_after_an_outage_replaced_links_are_not_sent(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    post, old = Post(), await make_link_mail(server, brand, ann, MailKind.verify_email)
    post.error = DeliveryFailed("421 4.3.2 The service shuts down")
    assert await worker(server, post).deliver_all_due() == 0
    clock.advance(minutes=2)
    new = await make_link_mail(server, brand, ann, MailKind.verify_email)
    post.error = None
    await worker(server, post).deliver_all_due()
    assert post.mail_ids == [new]
    assert await state(server, old) == (MailState.dead, f"{GONE} Before that: 421 4.3.2 The service shuts down")


async def test_two_workers_send_each_valid_link_once(
    server: Server, second: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    made = []
    for _ in range(6):
        made += [await make_link_mail(server, brand, ann, kind) for kind in LINK_KINDS]
        clock.advance(seconds=1)
    post = Post()
    workers = [worker(server, post, "here"), worker(second, post, "there")]
    await asyncio.gather(*(one.deliver_all_due() for one in workers))
    assert sorted(post.mail_ids) == sorted(made[-len(LINK_KINDS) :])
    assert {await state(server, mail_id) for mail_id in made[: -len(LINK_KINDS)]} == {(MailState.dead, GONE)}


async def test_an_expired_lease_is_not_retried_once_the_link_was_used(
    server: Server, second: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    mail_id, first, again = await make_link_mail(server, brand, ann, MailKind.verify_email), Post(), Post()
    is_over = first.hold_up()
    working = asyncio.create_task(worker(server, first, "here").deliver_all_due())
    await first.is_asked.wait()
    await use_link(second, brand, mail_id, MailKind.verify_email)
    clock.advance(seconds=LEASE.total_seconds())
    assert await worker(second, again, "there").deliver_all_due() == 1
    is_over.set()
    assert await working == 0, "it is not theirs any more"
    assert (first.mail_ids, again.attempts) == ([mail_id], 0)
    assert await state(server, mail_id) == (MailState.dead, GONE)


async def test_a_mail_waits_while_the_state_of_its_link_is_unknown(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    async def fail(_tx: Tx, _secret: Secret, _now: datetime) -> bool:
        raise ServiceUnavailable

    link, notice = await make_link_mail(server, brand, ann), await make_mail(server, brand, ann)
    post = Post()
    await make_delivery(server, post, is_link_good=fail).deliver_all_due()
    assert post.mail_ids == [notice]
    assert (await state(server, link))[0] is MailState.waiting
    clock.advance(seconds=10)
    await worker(server, post).deliver_all_due()
    assert post.mail_ids == [notice, link]


async def test_a_dead_mail_whose_link_was_used_or_replaced_stays_dead(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    ctx, post = make_context(server), Post()
    old = await make_link_mail(server, brand, ann)
    post.error = DeliveryRefused("550 5.1.1 No such mailbox")
    await worker(server, post).deliver_all_due()
    await outbox.retry(ctx, old, is_valid)
    await worker(server, post).deliver_all_due()
    clock.advance(seconds=61)
    new = await make_link_mail(server, brand, ann)
    await worker(server, post).deliver_all_due()
    with pytest.raises(Conflict, match="used or replaced"):
        await outbox.retry(ctx, old, is_valid)
    assert (await state(server, old))[0] is MailState.dead
    await outbox.retry(ctx, new, is_valid)
    assert (await state(server, new))[0] is MailState.waiting


async def test_link_states(server: Server, brand: ActiveBrand, ann: User, clock: ManualClock) -> None:
    notice, old = await make_mail(server, brand, ann), await make_link_mail(server, brand, ann)
    assert (await link_state(server, notice), await link_state(server, old)) == (None, LinkState.good)
    new = await make_link_mail(server, brand, ann)
    assert [await link_state(server, mail_id) for mail_id in (old, new)] == [LinkState.used_or_replaced, LinkState.good]
    clock.advance(minutes=10)
    assert [await link_state(server, mail_id) for mail_id in (old, new)] == [LinkState.ran_out] * 2
    mail = await outbox.get_mail(make_context(server), new)
    assert [describe_link_state(one, mail) for one in LinkState] == [
        "good until 2026-01-01 12:10:00 UTC",
        "used or replaced",
        "ran out 2026-01-01 12:10:00 UTC",
    ]
