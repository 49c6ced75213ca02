"""Several workers on one database: each mail is delivered once, and not forgotten when its worker dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage

import pytest
from sqlalchemy import bindparam, update
from structlog.testing import capture_logs

from keystead.context import Server
from keystead.db.interface import Tx
from keystead.db.statements import Statement
from keystead.errors import ServiceUnavailable
from keystead.mail import lease_store, outbox, sending
from keystead.mail.model import Mail, MailState
from keystead.mail.retry_policy import AMBIGUOUS_DELAY, MOST_ATTEMPTS
from keystead.mail.sending import CLOCK_SKEW, LEASE, RECORD_BACKOFF, SEND_TIMEOUT
from keystead.mail.store import mails
from keystead.mail.transport import DeliveryFailed, DeliveryRefused, DeliveryUncertain
from keystead.mail.worker import MailWorker
from tests.clocks import ManualClock
from tests.mail.letters import Box, make_mail
from tests.mail.post import Post, Sent, always_good, compose, make_delivery
from tests.make import make_brand, make_server, make_user

_SET_KIND = Statement(
    update(mails).where(mails.c.id == bindparam("mail_id")).values(kind="of_next_year"), unbranded="test"
)


async def take(server: Server, holder: str, limit: int = 10) -> list[Mail]:
    now = server.clock.now()
    return await server.db.run(lambda tx: lease_store.lease_due(tx, holder, now, now + LEASE, limit))


async def record(server: Server, mail: Mail, holder: str, *, brand_id: str | None = None) -> bool:
    now = server.clock.now()
    async with server.db.transaction() as tx:
        of = brand_id or mail.brand_id
        return await lease_store.record_outcome(tx, of, mail, holder, MailState.delivered, now, now, None)


async def test_two_workers_deliver_each_mail_once(box: Box, second: Server) -> None:
    made = [await box.mail() for _ in range(50)]
    post, both_are_there = Post(), asyncio.Barrier(2)

    async def work(node: Server, holder: str) -> None:
        await both_are_there.wait()
        await make_delivery(node, post, holder).deliver_all_due()

    await asyncio.gather(work(box.server, "here"), work(second, "there"))
    assert Counter(post.mail_ids) == Counter(made)
    assert {(await box.find(mail_id)).attempts for mail_id in made} == {1}


async def test_a_mail_of_a_dead_worker_is_delivered_by_another_when_its_lease_is_over(box: Box, second: Server) -> None:
    mail_id = await box.mail()
    living = Post()
    assert [mail.id for mail in await take(box.server, "dead")] == [mail_id]
    other = make_delivery(second, living, "living")
    box.clock.advance(seconds=LEASE.total_seconds() - 1)
    assert (await other.deliver_all_due(), living.attempts) == (0, 0)
    assert (await box.find(mail_id)).state is MailState.sending
    box.clock.advance(seconds=1)
    assert (await other.deliver_all_due(), living.mail_ids) == (1, [mail_id])
    mail = await box.find(mail_id)
    assert (mail.state, mail.attempts) == (MailState.delivered, 2)


@pytest.mark.parametrize("error", [None, DeliveryFailed("451 later")], ids=["delivered", "failed"])
async def test_an_outcome_after_the_lease_is_ignored(box: Box, second: Server, error: Exception | None) -> None:
    mail_id = await box.mail()
    stale, fresh, counted = Post(), Post(), list[MailState]()
    stale.error = error
    is_over = stale.hold_up()
    late = asyncio.create_task(box.worker(stale, "late", count=counted.append).deliver_all_due())
    await stale.is_asked.wait()
    box.clock.advance(seconds=LEASE.total_seconds())
    still_sending = fresh.hold_up()
    other = asyncio.create_task(make_delivery(second, fresh, "other").deliver_all_due())
    await fresh.is_asked.wait()
    is_over.set()
    assert (await late, counted) == (0, [])
    assert (await box.find(mail_id)).state is MailState.sending
    still_sending.set()
    assert await other == 1
    assert (await box.find(mail_id)).state is MailState.delivered


async def test_two_leases_of_one_holder_are_told_apart(box: Box) -> None:
    await box.mail()
    (first,) = await take(box.server, "here")
    box.clock.advance(seconds=LEASE.total_seconds())
    (again,) = await take(box.server, "here")
    assert [await record(box.server, mail, "here") for mail in (first, again, again)] == [False, True, False]


async def test_only_the_holder_records_an_outcome(box: Box) -> None:
    other = await make_brand(box.server, "otherBrand")
    await box.mail()
    (mail,) = await take(box.server, "here")
    assert not await record(box.server, mail, "there")
    assert not await record(box.server, mail, "here", brand_id=other.id)
    assert await record(box.server, mail, "here")


# SQLite has one writer at a time.
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_rows_locked_by_another_worker_are_skipped(box: Box, second: Server) -> None:
    made = sorted([await box.mail() for _ in range(3)])
    now = box.server.clock.now()
    async with box.server.db.transaction() as tx:
        first = await lease_store.lease_due(tx, "here", now, now + LEASE, 2)
        rest = await asyncio.wait_for(take(second, "there"), 5)
    assert [mail.id for mail in (*first, *rest)] == made


async def test_a_limit_is_kept(box: Box) -> None:
    made = sorted([await box.mail() for _ in range(5)])
    taken = [await take(box.server, "here", 2) for _ in range(4)]
    assert [[mail.id for mail in batch] for batch in taken] == [made[:2], made[2:4], made[4:], []]
    assert {(mail.state, mail.attempts) for batch in taken for mail in batch} == {(MailState.sending, 1)}


async def test_mails_of_every_brand_are_delivered(box: Box) -> None:
    other = await make_brand(box.server, "otherBrand")
    bob = await make_user(box.server, other, "bob@example.com")
    made = [await make_mail(box.server, *of) for of in ((box.brand, box.ann), (other, bob))]
    post = Post()
    assert await box.worker(post).deliver_all_due() == 2
    assert sorted(post.mail_ids) == sorted(made)


async def test_a_mail_that_ends_the_process_each_time_is_given_up(box: Box) -> None:
    mail_id, post = await box.mail(), Post()
    for _ in range(MOST_ATTEMPTS):
        assert len(await take(box.server, "dies")) == 1
        box.clock.advance(seconds=LEASE.total_seconds())
    assert (await box.worker(post).deliver_all_due(), post.attempts) == (1, 0)
    mail = await box.find(mail_id)
    assert (mail.state, mail.last_error) == (MailState.dead, "Too many attempts were interrupted.")


async def test_a_mail_of_a_newer_release_is_left_to_it(box: Box) -> None:
    later, known = [await box.mail() for _ in range(2)]
    async with box.server.db.transaction() as tx:
        await tx.execute(_SET_KIND, mail_id=later)
    post = Post()
    await box.worker(post).deliver_all_due()
    assert post.mail_ids == [known]


UNCERTAIN = DeliveryUncertain("the server did not say whether it takes the mail")
AGAIN = "It may have arrived: an earlier attempt was not confirmed."


def fail_to_record(
    monkeypatch: pytest.MonkeyPatch, times: int, only: str | None = None, meanwhile: Callable[[], object] = int
) -> None:
    """The database is away so many times when an outcome is to be written; of one mail, where one is named."""
    usual: Callable[..., Awaitable[bool]] = lease_store.record_outcome
    left = times

    async def settle(tx: Tx, brand_id: str, mail: Mail, *rest: object, **choices: object) -> bool:
        nonlocal left
        if left and only in (None, mail.id):
            left -= 1
            meanwhile()
            raise ServiceUnavailable(cause="the database went away")
        return await usual(tx, brand_id, mail, *rest, **choices)

    monkeypatch.setattr(lease_store, "record_outcome", settle)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (UNCERTAIN, f"It may have arrived: {UNCERTAIN}"),
        (DeliveryFailed("421 away"), f"{AGAIN} 421 away"),
        (DeliveryRefused("550 no such mailbox"), f"{AGAIN} 550 no such mailbox"),
    ],
    ids=["uncertain", "failed", "refused"],
)
async def test_an_ambiguous_delivery_is_retried_once(box: Box, second: Exception, said: str) -> None:
    mail_id, post = await box.mail(), Post()
    post.error = UNCERTAIN
    worker = box.worker(post)
    assert await worker.deliver_all_due() == 0
    mail = await box.find(mail_id)
    assert (mail.state, mail.is_doubtful, mail.last_error) == (
        MailState.waiting,
        True,
        f"It may have arrived: {UNCERTAIN}",
    )
    box.clock.advance(seconds=AMBIGUOUS_DELAY.total_seconds() - 1)
    assert (await worker.deliver_all_due(), post.attempts) == (0, 1)
    box.clock.advance(seconds=1)
    post.error = second
    assert await worker.deliver_all_due() == 1
    mail = await box.find(mail_id)
    assert (mail.state, mail.last_error, post.attempts) == (MailState.dead, said, 2)


async def test_the_second_try_may_end_well_and_a_mail_put_back_is_without_doubt(box: Box) -> None:
    lucky, unlucky = [await box.mail(recipient=f"{name}@example.com") for name in ("bob", "cid")]
    post = Post()
    post.error = UNCERTAIN
    worker = box.worker(post)
    await worker.deliver_all_due()
    box.clock.advance(hours=1)
    post.error, post.errors_of["cid@example.com"] = None, UNCERTAIN
    assert await worker.deliver_all_due() == 2
    assert [(await box.find(mail_id)).state for mail_id in (lucky, unlucky)] == [
        MailState.delivered,
        MailState.dead,
    ]
    await outbox.retry(box.ctx, unlucky, always_good)
    assert not (await box.find(unlucky)).is_doubtful


async def test_recording_is_retried(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    mail_id, post = await box.mail(), Post()
    fail_to_record(monkeypatch, len(RECORD_BACKOFF))
    with capture_logs() as lines:
        assert await box.worker(post).deliver_all_due() == 1
    assert [line["event"] for line in lines] == ["mail_delivered"]
    box.clock.advance(days=1)
    await box.worker(post).deliver_all_due()
    assert post.mail_ids == [mail_id]


async def test_an_unrecorded_outcome_costs_a_second_copy(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    unlucky, lucky = [await box.mail() for _ in range(2)]
    post = Post()
    worker = box.worker(post)
    with monkeypatch.context() as patch, capture_logs() as lines:
        fail_to_record(patch, 100, unlucky)
        assert await worker.deliver_all_due() == 1
    assert [line["mail"] for line in lines if line["event"] == "mail_outcome_not_recorded"] == [unlucky]
    box.clock.advance(seconds=LEASE.total_seconds())
    await worker.deliver_all_due()
    assert Counter(post.mail_ids) == {unlucky: 2, lucky: 1}


async def test_recording_ends_with_the_lease(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    await box.mail()
    rested = []

    async def rest(seconds: float) -> None:
        rested.append(seconds)

    worker = MailWorker(box.server, [Post()], "node-1", always_good, compose, sleep=rest)
    fail_to_record(monkeypatch, 3, meanwhile=lambda: box.clock.advance(seconds=LEASE.total_seconds() / 3))
    await worker.deliver_all_due()
    assert rested == list(RECORD_BACKOFF[:2])


async def test_a_mail_is_not_sent_when_its_lease_is_too_short(box: Box) -> None:
    mail_id, post = await box.mail(), Post()

    async def composing(of: Server, mail: Mail) -> EmailMessage:
        box.clock.advance(seconds=(LEASE - CLOCK_SKEW).total_seconds() - SEND_TIMEOUT + 1)
        return await compose(of, mail)

    assert await box.worker(post, composing=composing).deliver_all_due() == 0
    assert (post.attempts, (await box.find(mail_id)).state) == (0, MailState.waiting)


async def test_a_clock_a_minute_ahead_expires_no_lease(box: Box) -> None:
    await box.mail()
    post, hasty = Post(), Post()
    is_over = post.hold_up()
    working = asyncio.create_task(box.worker(post, "here").deliver_all_due())
    await post.is_asked.wait()
    box.clock.advance(seconds=SEND_TIMEOUT)
    ahead = await make_server(box.server.db, ManualClock(box.clock.now() + timedelta(minutes=1)))
    assert (await make_delivery(ahead, hasty, "ahead").deliver_all_due(), hasty.attempts) == (0, 0)
    is_over.set()
    assert await working == 1


@pytest.mark.parametrize("has_it_all", [False, True])
async def test_an_interrupted_attempt_is_ambiguous_after_the_transfer(
    box: Box, monkeypatch: pytest.MonkeyPatch, has_it_all: bool
) -> None:
    mail_id, post = await box.mail(), Post()
    monkeypatch.setattr(sending, "SEND_TIMEOUT", 0.01)
    post.hold_up()
    post.has_it_all = has_it_all
    await box.worker(post).deliver_all_due()
    mail = await box.find(mail_id)
    assert (mail.state, mail.is_doubtful) == (MailState.waiting, has_it_all)


async def test_a_stray_cancellation_is_a_temporary_failure(box: Box) -> None:
    stray, other = [await box.mail(recipient=f"{name}@example.com") for name in ("bob", "cid")]
    post = Post()

    async def break_off(mail: Sent) -> None:
        if mail.recipient == "bob@example.com":
            raise asyncio.CancelledError

    post.before_taking = break_off
    assert await box.worker(post).deliver_all_due() == 1
    assert post.mail_ids == [other]
    mail = await box.find(stray)
    assert (mail.state, mail.last_error) == (
        MailState.waiting,
        "The connection to the mail server was interrupted.",
    )
