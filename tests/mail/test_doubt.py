"""Mails that may have arrived: what is done so that they do not arrive twice, or once more at most."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage

import pytest
from structlog.testing import capture_logs

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Tx
from keystead.errors import ServiceUnavailable
from keystead.mail import lease_store, outbox, sending
from keystead.mail.model import Mail, MailState
from keystead.mail.retry_policy import AMBIGUOUS_DELAY
from keystead.mail.sending import CLOCK_SKEW, LEASE, RECORD_BACKOFF, SEND_TIMEOUT
from keystead.mail.transport import DeliveryFailed, DeliveryRefused, DeliveryUncertain
from keystead.mail.worker import MailWorker
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.mail.letters import make_mail
from tests.mail.post import Post, Sent, always_good, compose, make_delivery
from tests.make import make_context, make_server

UNCERTAIN = DeliveryUncertain("the server did not say whether it takes the mail")
AGAIN = "It may have arrived: an earlier attempt was not confirmed."


async def find(server: Server, mail_id: str) -> Mail:
    return await outbox.get_mail(make_context(server), mail_id)


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
async def test_a_mail_that_may_have_arrived_is_tried_once_more_and_then_given_up(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, second: Exception, said: str
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    post.error = UNCERTAIN
    worker = make_delivery(server, post)
    assert await worker.deliver_all_due() == 0
    mail = await find(server, mail_id)
    assert (mail.state, mail.is_doubtful, mail.last_error) == (
        MailState.waiting,
        True,
        f"It may have arrived: {UNCERTAIN}",
    )
    clock.advance(seconds=AMBIGUOUS_DELAY.total_seconds() - 1)
    assert (await worker.deliver_all_due(), post.attempts) == (0, 1)
    clock.advance(seconds=1)
    post.error = second
    assert await worker.deliver_all_due() == 1
    mail = await find(server, mail_id)
    assert (mail.state, mail.last_error, post.attempts) == (MailState.dead, said, 2)


async def test_the_second_try_may_end_well_and_a_mail_put_back_is_without_doubt(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    lucky, unlucky = [await make_mail(server, brand, ann, recipient=f"{name}@example.com") for name in ("bob", "cid")]
    post = Post()
    post.error = UNCERTAIN
    worker = make_delivery(server, post)
    await worker.deliver_all_due()
    clock.advance(hours=1)
    post.error, post.errors_of["cid@example.com"] = None, UNCERTAIN
    assert await worker.deliver_all_due() == 2
    assert [(await find(server, mail_id)).state for mail_id in (lucky, unlucky)] == [
        MailState.delivered,
        MailState.dead,
    ]
    await outbox.retry(make_context(server), unlucky, always_good)
    assert not (await find(server, unlucky)).is_doubtful


async def test_a_moments_trouble_with_the_database_costs_no_second_copy(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    fail_to_record(monkeypatch, len(RECORD_BACKOFF))
    with capture_logs() as lines:
        assert await make_delivery(server, post).deliver_all_due() == 1
    assert [line["event"] for line in lines] == ["mail_delivered"]
    clock.advance(days=1)
    await make_delivery(server, post).deliver_all_due()
    assert post.mail_ids == [mail_id]


async def test_trouble_that_lasts_costs_a_second_copy_and_nothing_else(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlucky, lucky = [await make_mail(server, brand, ann) for _ in range(2)]
    post = Post()
    worker = make_delivery(server, post)
    with monkeypatch.context() as patch, capture_logs() as lines:
        fail_to_record(patch, 100, unlucky)
        assert await worker.deliver_all_due() == 1
    assert [line["mail"] for line in lines if line["event"] == "mail_outcome_not_recorded"] == [unlucky]
    clock.advance(seconds=LEASE.total_seconds())
    await worker.deliver_all_due()
    assert Counter(post.mail_ids) == {unlucky: 2, lucky: 1}


async def test_nothing_is_written_down_any_more_when_the_lease_is_over(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_mail(server, brand, ann)
    rested = []

    async def rest(seconds: float) -> None:
        rested.append(seconds)

    worker = MailWorker(server, [Post()], "node-1", always_good, compose, sleep=rest)
    fail_to_record(monkeypatch, 3, meanwhile=lambda: clock.advance(seconds=LEASE.total_seconds() / 3))
    await worker.deliver_all_due()
    assert rested == list(RECORD_BACKOFF[:2])


async def test_a_mail_is_not_begun_when_its_lease_does_not_suffice(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """Putting it together took so long that another one may take it before it is sent."""
    mail_id, post = await make_mail(server, brand, ann), Post()

    async def composing(of: Server, mail: Mail) -> EmailMessage:
        clock.advance(seconds=(LEASE - CLOCK_SKEW).total_seconds() - SEND_TIMEOUT + 1)
        return await compose(of, mail)

    assert await make_delivery(server, post, composing=composing).deliver_all_due() == 0
    assert (post.attempts, (await find(server, mail_id)).state) == (0, MailState.waiting)


async def test_a_node_whose_clock_is_a_minute_ahead_takes_nothing_that_is_on_its_way(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    await make_mail(server, brand, ann)
    post, hasty = Post(), Post()
    is_over = post.hold_up()
    working = asyncio.create_task(make_delivery(server, post, "here").deliver_all_due())
    await post.is_asked.wait()
    clock.advance(seconds=SEND_TIMEOUT)
    ahead = await make_server(server.db, ManualClock(clock.now() + timedelta(minutes=1)))
    assert (await make_delivery(ahead, hasty, "ahead").deliver_all_due(), hasty.attempts) == (0, 0)
    is_over.set()
    assert await working == 1


@pytest.mark.parametrize("has_it_all", [False, True])
async def test_a_conversation_that_breaks_off_leaves_doubt_only_if_the_mail_was_handed_over(
    server: Server, brand: ActiveBrand, ann: User, monkeypatch: pytest.MonkeyPatch, has_it_all: bool
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    monkeypatch.setattr(sending, "SEND_TIMEOUT", 0.01)
    post.hold_up()
    post.has_it_all = has_it_all
    await make_delivery(server, post).deliver_all_due()
    mail = await find(server, mail_id)
    assert (mail.state, mail.is_doubtful) == (MailState.waiting, has_it_all)


async def test_a_cancellation_that_nobody_asked_for_is_a_failure_like_others(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    stray, other = [await make_mail(server, brand, ann, recipient=f"{name}@example.com") for name in ("bob", "cid")]
    post = Post()

    async def break_off(mail: Sent) -> None:
        if mail.recipient == "bob@example.com":
            raise asyncio.CancelledError

    post.before_taking = break_off
    assert await make_delivery(server, post).deliver_all_due() == 1
    assert post.mail_ids == [other]
    mail = await find(server, stray)
    assert (mail.state, mail.last_error) == (
        MailState.waiting,
        "The connection to the mail server was interrupted.",
    )
