"""What becomes of a mail: delivered, tried again, given up."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.message import EmailMessage

import msgspec
import pytest
from structlog.testing import capture_logs

from keystead.context import Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.db.interface import Tx
from keystead.errors import ServiceUnavailable
from keystead.mail import lease_store, outbox, sending, worker
from keystead.mail.model import LinkState, Mail, MailKind, MailState
from keystead.mail.retry_policy import BACKOFF, MOST_ATTEMPTS, backoff, give_up, redact
from keystead.mail.sending import LEASE, SEND_TIMEOUT
from keystead.mail.smtp import LONGEST_DELIVERY
from keystead.mail.transport import DeliveryFailed, DeliveryRefused
from keystead.mail.worker import CONNECTIONS, MailWorker
from keystead.pagination import PageRequest
from keystead.users import service as users
from tests.mail.letters import Box, make_mail
from tests.mail.post import Post, Sent, always_good, compose, make_delivery
from tests.mail.sending import AT, make_letter
from tests.make import make_user

AWAY = DeliveryFailed("421 4.3.2 The service shuts down")


async def test_a_mail_is_delivered_once(box: Box) -> None:
    mail_id, post, counted = await box.mail(), Post(), list[MailState]()
    worker = box.worker(post, count=counted.append)
    assert (await worker.deliver_all_due(), await worker.deliver_all_due()) == (1, 0)
    box.clock.advance(days=1)
    assert await worker.deliver_all_due() == 0
    assert post.sent == [Sent(f"<{mail_id}@auth.example.com>", "no-reply@auth.example.com", "ann@example.com")]
    mail = await outbox.get_mail(box.ctx, mail_id)
    assert (mail.state, mail.attempts, mail.delivered_at) == (MailState.delivered, 1, mail.created_at)
    assert counted == [MailState.delivered]


async def test_many_mails_go_in_the_order_of_their_time(box: Box) -> None:
    made = []
    for _ in range(4 * CONNECTIONS + 1):
        made.append(await box.mail())
        box.clock.advance(seconds=1)
    post = Post()
    assert await box.worker(post).deliver_all_due() == len(made)
    assert post.mail_ids == made


@pytest.mark.attack("A67")
async def test_retries_back_off_until_the_mail_is_given_up(box: Box) -> None:
    mail_id, post, counted = await box.mail(), Post(), list[MailState]()
    post.error = AWAY
    worker = box.worker(post, count=counted.append)
    started = box.clock.now()
    for attempt in range(1, MOST_ATTEMPTS):
        assert await worker.deliver_all_due() == 0
        assert post.attempts == attempt
        assert await box.state(mail_id) == (MailState.waiting, str(AWAY))
        box.clock.advance(seconds=backoff(attempt).total_seconds() - 1)
        await worker.deliver_all_due()
        assert post.attempts == attempt, "not before its time"
        box.clock.advance(seconds=1)
    assert timedelta(hours=24) < box.clock.now() - started < timedelta(hours=25)
    with capture_logs() as lines:
        assert await worker.deliver_all_due() == 1
    assert await box.state(mail_id) == (MailState.dead, str(AWAY))
    assert counted == [*[MailState.waiting] * (MOST_ATTEMPTS - 1), MailState.dead]
    assert [(line["event"], line["mail"], line["kind"], line["reason"]) for line in lines] == [
        ("mail_given_up", mail_id, "password_changed", str(AWAY))
    ]
    box.clock.advance(days=30)
    assert await worker.deliver_all_due() == 0


def test_backoff_grows_to_an_hour() -> None:
    assert [backoff(attempts).total_seconds() for attempts in range(1, 8)] == [10, 60, 300, 900, 3600, 3600, 3600]
    assert sorted(BACKOFF) == list(BACKOFF)


async def test_a_retried_mail_has_all_attempts_again(box: Box) -> None:
    mail_id, post = await box.mail(), Post()
    worker = box.worker(post)
    post.error = DeliveryRefused("550 5.1.1 No such mailbox")
    assert await worker.deliver_all_due() == 1
    await outbox.retry(box.ctx, mail_id, always_good)
    post.error = AWAY
    assert await worker.deliver_all_due() == 0
    mail = await outbox.get_mail(box.ctx, mail_id)
    assert (mail.state, mail.attempts) == (MailState.waiting, 1)


async def test_a_permanent_failure_is_not_retried(box: Box) -> None:
    mail_id, post = await box.mail(), Post()
    post.error = DeliveryRefused("550 5.1.1 <ann@example.com>: No such mailbox")
    with capture_logs() as lines:
        assert await box.worker(post).deliver_all_due() == 1
    assert await box.state(mail_id) == (MailState.dead, "550 5.1.1 <[address]>: No such mailbox")
    assert [line["event"] for line in lines] == ["mail_given_up"]
    assert "ann@" not in str(lines)
    box.clock.advance(days=1)
    assert await box.worker(post).deliver_all_due() == 0


@pytest.mark.attack("A67")
async def test_an_expired_link_is_not_sent(box: Box) -> None:
    expires_at = box.clock.now() + timedelta(minutes=10)
    late, in_time = [
        await box.mail(MailKind.magic_login, expires_at=at) for at in (expires_at, expires_at + timedelta(seconds=1))
    ]
    box.clock.advance(minutes=10)
    post = Post()
    assert await box.worker(post).deliver_all_due() == 2
    assert post.mail_ids == [in_time]
    assert await box.state(late) == (MailState.dead, "The link expired before the mail could be sent.")


async def test_a_stale_mail_is_sent_only_on_retry(box: Box) -> None:
    old, post = await box.mail(), Post()
    box.clock.advance(days=7, seconds=1)
    assert (await box.worker(post).deliver_all_due(), post.attempts) == (1, 0)
    assert await box.state(old) == (MailState.dead, "It was due for more than 7 days.")
    await outbox.retry(box.ctx, old, always_good)
    assert (await box.worker(post).deliver_all_due(), post.mail_ids) == (1, [old])


async def test_one_mail_s_failure_does_not_affect_others(box: Box) -> None:
    post, unknown = Post(), RuntimeError("a fault of ours, with a secret")
    for name, error in (("bob", AWAY), ("cid", DeliveryRefused("550 no")), ("dan", unknown), ("eve", None)):
        await box.mail(recipient=f"{name}@example.com")
        if error is not None:
            post.errors_of[f"{name}@example.com"] = error
    with capture_logs() as lines:
        assert await box.worker(post).deliver_all_due() == 2
    assert [mail.recipient for mail in post.sent] == ["eve@example.com"]
    by_hand = "The mail could not be composed; see the log."
    page = await outbox.list_mails(box.ctx, PageRequest())
    assert {mail.recipient[:3]: (mail.state, mail.last_error) for mail in page.items} == {
        "bob": (MailState.waiting, str(AWAY)),
        "cid": (MailState.dead, "550 no"),
        "dan": (MailState.waiting, by_hand),
        "eve": (MailState.delivered, None),
    }
    assert [line["exc_info"] for line in lines if line["event"] == "mail_not_sent"] == [unknown]


async def test_a_mail_waits_for_its_template_to_be_repaired(box: Box) -> None:
    broken, other = [await box.mail(recipient=f"{name}@example.com") for name in ("bob", "eve")]
    is_broken, post = True, Post()

    async def composing(server: Server, mail: Mail) -> EmailMessage:
        if is_broken and mail.id == broken:
            raise ZeroDivisionError
        return await compose(server, mail)

    worker = box.worker(post, composing=composing)
    await worker.deliver_all_due()
    assert post.mail_ids == [other]
    assert (await box.state(broken))[0] is MailState.waiting
    is_broken = False
    box.clock.advance(seconds=10)
    await worker.deliver_all_due()
    assert post.mail_ids == [other, broken]


async def test_the_mails_of_a_deleted_user_are_gone(box: Box) -> None:
    await box.mail()
    await users.delete_users(box.ctx, box.brand.id, [box.ann.id])
    post = Post()
    assert (await box.worker(post).deliver_all_due(), post.attempts) == (0, 0)


async def test_a_user_may_be_deleted_while_their_mail_is_sent(box: Box) -> None:
    bob = await make_user(box.server, box.brand, "bob@example.com")
    gone, kept = [await make_mail(box.server, box.brand, user) for user in (box.ann, bob)]
    post, counted = Post(), list[MailState]()

    async def delete(mail: Sent) -> None:
        if mail.recipient == "ann@example.com":
            await users.delete_users(box.ctx, box.brand.id, [box.ann.id])

    post.before_taking = delete
    assert await box.worker(post, count=counted.append).deliver_all_due() == 1
    assert sorted(post.mail_ids) == sorted([gone, kept])
    assert (await box.state(kept), counted) == ((MailState.delivered, None), [MailState.delivered])


def test_reasons_are_redacted() -> None:
    token = secrets.generate(SecretKind.magic).reveal()
    said = redact(f"451 <Ann.O'Hara+x@example.com>\r\n451 saw ?token={token}\x1b[31m\x00 " + "é" * 300)
    assert said.startswith("451 <[address]> 451 saw ?token=[hidden] [31m é")
    assert (len(said), said.isprintable()) == (200, True)
    assert redact(" \n") == "The mail server gave no reason."


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy worker looks for mails all the time."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 0)


async def test_a_silent_server_times_out(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    mail_id, post = await box.mail(), Post()
    monkeypatch.setattr(sending, "SEND_TIMEOUT", 0.01)
    post.hold_up()
    assert await box.worker(post).deliver_all_due() == 0
    assert await box.state(mail_id) == (MailState.waiting, "The mail server took longer than 0 s.")


def test_a_lease_outlasts_every_delivery_by_clocks_a_minute_apart() -> None:
    assert SEND_TIMEOUT > LONGEST_DELIVERY
    assert LEASE.total_seconds() >= SEND_TIMEOUT + 2 * 60


async def test_each_sender_sends_one_mail_at_a_time(box: Box) -> None:
    made, posts = [await box.mail() for _ in range(3 * CONNECTIONS)], [Post(), Post()]

    async def look(_: Sent) -> None:
        assert all(post.busy <= 1 for post in posts)
        await asyncio.sleep(0)

    for post in posts:
        post.before_taking = look
    await MailWorker(box.server, posts, "node-1", always_good, compose).deliver_all_due()
    assert sorted(posts[0].mail_ids + posts[1].mail_ids) == sorted(made)
    assert [bool(post.sent) for post in posts] == [True, True]
    assert [post.is_open for post in posts] == [False, False]


async def test_a_silent_recipient_blocks_one_sender_only(box: Box) -> None:
    post = Post()
    is_over = post.hold_up("slow@tarpit.example")
    slow = await box.mail(recipient="slow@tarpit.example")
    working = asyncio.create_task(box.worker(post).deliver_all_due())
    await post.is_asked.wait()
    first = [await box.mail() for _ in range(3 * CONNECTIONS)]
    await post.has_taken(len(first))
    later = await box.mail()
    await post.has_taken(len(first) + 1)
    assert sorted(post.mail_ids) == sorted([*first, later])
    assert (await box.state(slow))[0] is MailState.sending
    assert not working.done()
    is_over.set()
    assert await working == len(first) + 2


async def test_new_mails_go_before_those_that_failed(box: Box) -> None:
    post = Post()
    for number in range(3 * CONNECTIONS):
        await box.mail(recipient=f"{number}@tarpit.example")
    post.error = DeliveryFailed("451 later")
    worker = MailWorker(box.server, [post], "node-1", always_good, compose)
    assert await worker.deliver_all_due() == 0
    box.clock.advance(minutes=1)
    fresh = [await box.mail() for _ in range(2 * CONNECTIONS)]
    post.error = None
    await worker.deliver_all_due()
    assert sorted(post.mail_ids[: len(fresh)]) == sorted(fresh)
    assert len(post.sent) == 5 * CONNECTIONS


async def test_one_sender_is_reserved_for_new_mails(box: Box) -> None:
    post = Post()
    for number in range(2 * CONNECTIONS):
        await box.mail(recipient=f"{number}@tarpit.example")
    post.error = DeliveryFailed("451 later")
    worker = box.worker(post)
    assert await worker.deliver_all_due() == 0
    box.clock.advance(minutes=1)
    post.error = None
    is_over = post.hold_up(*(f"{number}@tarpit.example" for number in range(2 * CONNECTIONS)))
    post.is_asked.clear()
    working = asyncio.create_task(worker.deliver_all_due())
    await post.is_asked.wait()
    fresh = await box.mail()
    await post.has_taken(1)
    assert (post.mail_ids, post.busy) == ([fresh], CONNECTIONS - 1)
    is_over.set()
    assert await working == 2 * CONNECTIONS + 1


async def states(server: Server) -> dict[MailState, int]:
    return {state: number for state, number in (await outbox.count_states(server.db)).items() if number}


async def test_finish_waits_for_mails_being_sent_and_leases_no_more(box: Box) -> None:
    first, post = await box.mail(), Post()
    is_over, worker = post.hold_up(), box.worker(post)
    working = asyncio.create_task(worker.deliver_all_due())
    await post.is_asked.wait()
    second = await box.mail()
    finishing = asyncio.create_task(worker.finish(60))
    await asyncio.sleep(0)
    assert not finishing.done()
    is_over.set()
    await finishing
    assert (await working, await worker.deliver_all_due()) == (1, 0)
    assert [(await box.find(mail_id)).state for mail_id in (first, second)] == [
        MailState.delivered,
        MailState.waiting,
    ]


@pytest.mark.parametrize("has_it_all", [False, True])
async def test_finish_times_out_and_keeps_leases_of_mails_that_may_have_arrived(box: Box, has_it_all: bool) -> None:
    mail_id, post, other = await box.mail(), Post(), Post()
    post.hold_up()
    post.has_it_all = has_it_all
    worker = box.worker(post)
    working = asyncio.create_task(worker.deliver_all_due())
    await post.is_asked.wait()
    await worker.finish(0.01)
    assert await working == 0
    mail = await box.find(mail_id)
    assert (mail.state, mail.attempts) == ((MailState.sending, 1) if has_it_all else (MailState.waiting, 0))
    assert mail.next_attempt_at == mail.created_at
    await box.worker(other, "node-2").deliver_all_due()
    assert other.mail_ids == ([] if has_it_all else [mail_id])


async def test_only_own_leases_are_released(box: Box) -> None:
    mail_id, post, silent = await box.mail(), Post(), Post()
    is_over = silent.hold_up()
    working = asyncio.create_task(box.worker(silent, "other").deliver_all_due())
    await silent.is_asked.wait()
    await box.worker(post).finish(0)
    assert (await box.find(mail_id)).state is MailState.sending
    is_over.set()
    assert await working == 1


async def test_mails_leased_during_shutdown_are_released(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    mail_id, post, usual = await box.mail(), Post(), lease_store.lease_due
    is_taken, may_continue = asyncio.Event(), asyncio.Event()

    async def take(tx: Tx, *rest: object) -> list[Mail]:
        taken: list[Mail] = await usual(tx, *rest)  # type: ignore[arg-type]
        is_taken.set()
        await may_continue.wait()
        return taken

    monkeypatch.setattr(lease_store, "lease_due", take)
    worker = box.worker(post)
    working = asyncio.create_task(worker.deliver_all_due())
    await is_taken.wait()
    finishing = asyncio.create_task(worker.finish(0))
    await asyncio.sleep(0)
    may_continue.set()
    await finishing
    assert (await working, post.attempts) == (0, 0)
    mail = await box.find(mail_id)
    assert (mail.state, mail.attempts) == (MailState.waiting, 0)


async def test_an_unrecorded_delivery_is_not_released(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    mail_id, post = await box.mail(), Post()

    async def settle(*_: object, **__: object) -> bool:
        raise ServiceUnavailable(cause="the database went away")

    worker = box.worker(post)
    with monkeypatch.context() as patch:
        patch.setattr(lease_store, "record_outcome", settle)
        await worker.deliver_all_due()
    await worker.finish(0)
    assert (post.mail_ids, (await box.find(mail_id)).state) == ([mail_id], MailState.sending)


async def test_a_failing_database_does_not_block_shutdown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def give_back(*_: object) -> int:
        raise ServiceUnavailable(cause="the database went away")

    monkeypatch.setattr(lease_store, "release", give_back)
    with capture_logs() as lines:
        await make_delivery(server, Post()).finish(0)
    assert [line["event"] for line in lines] == ["mails_not_given_back"]


async def test_a_failing_counter_is_logged(box: Box) -> None:
    for _ in range(2 * CONNECTIONS):
        await box.mail()

    def count(_: MailState) -> None:
        raise OSError("the disk is full")

    with capture_logs() as lines:
        assert await box.worker(Post(), count=count).deliver_all_due() == 2 * CONNECTIONS
    assert [line["event"] for line in lines].count("mail_not_counted") == 2 * CONNECTIONS
    assert await states(box.server) == {MailState.delivered: 2 * CONNECTIONS}


async def test_a_database_failure_does_not_stop_other_senders(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    post, usual = Post(), lease_store.is_any_due
    is_over = post.hold_up("slow@example.com")
    await box.mail(recipient="slow@example.com")
    await box.mail()

    async def is_any_due(tx: Tx, now: object) -> bool:
        if post.attempts:
            raise ServiceUnavailable(cause="the database went away")
        return await usual(tx, now)  # type: ignore[arg-type]

    monkeypatch.setattr(lease_store, "is_any_due", is_any_due)
    with capture_logs() as lines:
        working = asyncio.create_task(box.worker(post).deliver_all_due())
        await post.has_taken(1)
        is_over.set()
        assert await working == 2
    (line,) = [line for line in lines if line["event"] == "mails_not_taken"]
    assert (line["cause"], line.get("exc_info")) == ("the database went away", None)


async def test_a_failing_transport_stops_its_own_sender_only(box: Box) -> None:
    class Rude(Post):
        async def close(self) -> None:
            raise OSError("it hung up first")

    made, post = [await box.mail() for _ in range(3)], Rude()
    worker = MailWorker(box.server, [post, Post()], "node-1", always_good, compose)
    with capture_logs() as lines:
        await worker.deliver_all_due()
    assert {(await box.find(mail_id)).state for mail_id in made} == {MailState.delivered}
    assert "mail_conversation_failed" in {line["event"] for line in lines}


async def test_cancellation_stops_every_sender(box: Box) -> None:
    post, ended = Post(), asyncio.Event()
    await box.mail()

    async def wait(_: Sent) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    post.before_taking = wait
    working = asyncio.create_task(box.worker(post).deliver_all_due())
    await post.is_asked.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


def test_giving_up_shows_the_last_error() -> None:
    mail = msgspec.structs.replace(make_letter(), last_error="421 away")
    outcome = give_up(mail, LinkState.ran_out, AT)
    assert outcome is not None
    assert outcome.reason == "The link expired before the mail could be sent. Before that: 421 away"
