"""What becomes of a mail: delivered, tried again, given up."""

from __future__ import annotations

from datetime import timedelta
from email.message import EmailMessage

from structlog.testing import capture_logs

from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.mail import outbox
from keystead.mail.model import Mail, MailKind, MailState
from keystead.mail.retry_policy import BACKOFF, MOST_ATTEMPTS, backoff, redact
from keystead.mail.transport import DeliveryFailed, DeliveryRefused
from keystead.mail.worker import CONNECTIONS
from keystead.pagination import PageRequest
from keystead.users import service as users
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.mail.letters import make_mail
from tests.mail.post import Post, Sent, always_good, compose, make_delivery
from tests.make import make_context, make_user

AWAY = DeliveryFailed("421 4.3.2 The service shuts down")


async def state(server: Server, mail_id: str) -> tuple[MailState, str | None]:
    mail = await outbox.get_mail(make_context(server), mail_id)
    return mail.state, mail.last_error


async def test_a_mail_is_delivered_once(server: Server, brand: ActiveBrand, ann: User, clock: ManualClock) -> None:
    mail_id, post, counted = await make_mail(server, brand, ann), Post(), list[MailState]()
    worker = make_delivery(server, post, count=counted.append)
    assert (await worker.deliver_all_due(), await worker.deliver_all_due()) == (1, 0)
    clock.advance(days=1)
    assert await worker.deliver_all_due() == 0
    assert post.sent == [Sent(f"<{mail_id}@auth.example.com>", "no-reply@auth.example.com", "ann@example.com")]
    mail = await outbox.get_mail(make_context(server), mail_id)
    assert (mail.state, mail.attempts, mail.delivered_at) == (MailState.delivered, 1, mail.created_at)
    assert counted == [MailState.delivered]


async def test_many_mails_go_in_the_order_of_their_time(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    made = []
    for _ in range(4 * CONNECTIONS + 1):
        made.append(await make_mail(server, brand, ann))
        clock.advance(seconds=1)
    post = Post()
    assert await make_delivery(server, post).deliver_all_due() == len(made)
    assert post.mail_ids == made


async def test_it_is_tried_again_later_and_later_until_it_is_given_up(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    mail_id, post, counted = await make_mail(server, brand, ann), Post(), list[MailState]()
    post.error = AWAY
    worker = make_delivery(server, post, count=counted.append)
    started = clock.now()
    for attempt in range(1, MOST_ATTEMPTS):
        assert await worker.deliver_all_due() == 0
        assert post.attempts == attempt
        assert await state(server, mail_id) == (MailState.waiting, str(AWAY))
        clock.advance(seconds=backoff(attempt).total_seconds() - 1)
        await worker.deliver_all_due()
        assert post.attempts == attempt, "not before its time"
        clock.advance(seconds=1)
    assert timedelta(hours=24) < clock.now() - started < timedelta(hours=25)
    with capture_logs() as lines:
        assert await worker.deliver_all_due() == 1
    assert await state(server, mail_id) == (MailState.dead, str(AWAY))
    assert counted == [*[MailState.waiting] * (MOST_ATTEMPTS - 1), MailState.dead]
    assert [(line["event"], line["mail"], line["kind"], line["reason"]) for line in lines] == [
        ("mail_given_up", mail_id, "password_changed", str(AWAY))
    ]
    clock.advance(days=30)
    assert await worker.deliver_all_due() == 0


def test_the_pauses_grow_to_an_hour() -> None:
    assert [backoff(attempts).total_seconds() for attempts in range(1, 8)] == [10, 60, 300, 900, 3600, 3600, 3600]
    assert sorted(BACKOFF) == list(BACKOFF)


async def test_a_mail_that_was_put_back_has_all_its_attempts_again(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    worker = make_delivery(server, post)
    post.error = DeliveryRefused("550 5.1.1 No such mailbox")
    assert await worker.deliver_all_due() == 1
    await outbox.retry(make_context(server), mail_id, always_good)
    post.error = AWAY
    assert await worker.deliver_all_due() == 0
    mail = await outbox.get_mail(make_context(server), mail_id)
    assert (mail.state, mail.attempts) == (MailState.waiting, 1)


async def test_what_is_refused_for_good_is_not_tried_again(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    post.error = DeliveryRefused("550 5.1.1 <ann@example.com>: No such mailbox")
    with capture_logs() as lines:
        assert await make_delivery(server, post).deliver_all_due() == 1
    assert await state(server, mail_id) == (MailState.dead, "550 5.1.1 <[address]>: No such mailbox")
    assert [line["event"] for line in lines] == ["mail_given_up"]
    assert "ann@" not in str(lines)
    clock.advance(days=1)
    assert await make_delivery(server, post).deliver_all_due() == 0


async def test_a_link_that_has_run_out_is_not_sent(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    expires_at = clock.now() + timedelta(minutes=10)
    late, in_time = [
        await make_mail(server, brand, ann, MailKind.magic_login, expires_at=at)
        for at in (expires_at, expires_at + timedelta(seconds=1))
    ]
    clock.advance(minutes=10)
    post = Post()
    assert await make_delivery(server, post).deliver_all_due() == 2
    assert post.mail_ids == [in_time]
    assert await state(server, late) == (MailState.dead, "The link expired before the mail could be sent.")


async def test_a_link_that_ran_out_between_attempts_tells_what_went_wrong(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    expires_at = clock.now() + timedelta(seconds=10)
    mail_id = await make_mail(server, brand, ann, MailKind.magic_login, expires_at=expires_at)
    post = Post()
    post.error = AWAY
    worker = make_delivery(server, post)
    assert await worker.deliver_all_due() == 0
    clock.advance(seconds=10)
    assert await worker.deliver_all_due() == 1
    said = f"The link expired before the mail could be sent. Before that: {AWAY}"
    assert (await state(server, mail_id), post.attempts) == ((MailState.dead, said), 1)


async def test_what_waited_for_a_mail_server_for_weeks_is_not_sent_unless_asked_for(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    old, post = await make_mail(server, brand, ann), Post()
    clock.advance(days=7, seconds=1)
    assert (await make_delivery(server, post).deliver_all_due(), post.attempts) == (1, 0)
    assert await state(server, old) == (MailState.dead, "It was due for more than 7 days.")
    await outbox.retry(make_context(server), old, always_good)
    assert (await make_delivery(server, post).deliver_all_due(), post.mail_ids) == (1, [old])


async def test_the_failure_of_one_mail_is_its_own(server: Server, brand: ActiveBrand, ann: User) -> None:
    post, unknown = Post(), RuntimeError("a fault of ours, with a secret")
    for name, error in (("bob", AWAY), ("cid", DeliveryRefused("550 no")), ("dan", unknown), ("eve", None)):
        await make_mail(server, brand, ann, recipient=f"{name}@example.com")
        if error is not None:
            post.errors_of[f"{name}@example.com"] = error
    with capture_logs() as lines:
        assert await make_delivery(server, post).deliver_all_due() == 2
    assert [mail.recipient for mail in post.sent] == ["eve@example.com"]
    by_hand = "The mail could not be composed; see the log."
    page = await outbox.list_mails(make_context(server), PageRequest())
    assert {mail.recipient[:3]: (mail.state, mail.last_error) for mail in page.items} == {
        "bob": (MailState.waiting, str(AWAY)),
        "cid": (MailState.dead, "550 no"),
        "dan": (MailState.waiting, by_hand),
        "eve": (MailState.delivered, None),
    }
    assert [line["exc_info"] for line in lines if line["event"] == "mail_not_sent"] == [unknown]


async def test_a_template_that_fails_waits_to_be_mended(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    broken, other = [await make_mail(server, brand, ann, recipient=f"{name}@example.com") for name in ("bob", "eve")]
    is_broken, post = True, Post()

    async def composing(server: Server, mail: Mail) -> EmailMessage:
        if is_broken and mail.id == broken:
            raise ZeroDivisionError
        return await compose(server, mail)

    worker = make_delivery(server, post, composing=composing)
    await worker.deliver_all_due()
    assert post.mail_ids == [other]
    assert (await state(server, broken))[0] is MailState.waiting
    is_broken = False
    clock.advance(seconds=10)
    await worker.deliver_all_due()
    assert post.mail_ids == [other, broken]


async def test_the_mails_of_a_deleted_user_are_gone(server: Server, brand: ActiveBrand, ann: User) -> None:
    await make_mail(server, brand, ann)
    await users.delete_users(make_context(server), brand.id, [ann.id])
    post = Post()
    assert (await make_delivery(server, post).deliver_all_due(), post.attempts) == (0, 0)


async def test_a_user_may_be_deleted_while_their_mail_is_sent(server: Server, brand: ActiveBrand, ann: User) -> None:
    bob = await make_user(server, brand, "bob@example.com")
    gone, kept = [await make_mail(server, brand, user) for user in (ann, bob)]
    post, counted = Post(), list[MailState]()

    async def delete(mail: Sent) -> None:
        if mail.recipient == "ann@example.com":
            await users.delete_users(make_context(server), brand.id, [ann.id])

    post.before_taking = delete
    assert await make_delivery(server, post, count=counted.append).deliver_all_due() == 1
    assert sorted(post.mail_ids) == sorted([gone, kept])
    assert (await state(server, kept), counted) == ((MailState.delivered, None), [MailState.delivered])


def test_what_is_told_of_a_failure_is_one_line_without_secrets() -> None:
    token = secrets.generate(SecretKind.magic).reveal()
    said = redact(f"451 <Ann.O'Hara+x@example.com>\r\n451 saw ?token={token}\x1b[31m\x00 " + "é" * 300)
    assert said.startswith("451 <[address]> 451 saw ?token=[hidden] [31m é")
    assert (len(said), said.isprintable()) == (200, True)
    assert redact(" \n") == "The mail server gave no reason."
