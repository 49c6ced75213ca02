"""A worker and its mail server: how many conversations, how long, and which mails they carry first."""

from __future__ import annotations

import asyncio

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail import outbox, sending, worker
from keystead.mail.model import MailState
from keystead.mail.sending import LEASE, SEND_TIMEOUT
from keystead.mail.smtp import LONGEST_DELIVERY
from keystead.mail.transport import DeliveryFailed
from keystead.mail.worker import CONNECTIONS, MailWorker
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.mail.letters import make_mail
from tests.mail.post import Post, Sent, always_good, compose, make_delivery
from tests.make import make_context


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy worker looks for mails all the time."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 0)


async def state(server: Server, mail_id: str) -> tuple[MailState, str | None]:
    mail = await outbox.get_mail(make_context(server), mail_id)
    return mail.state, mail.last_error


async def test_a_silent_server_is_left_after_a_while(
    server: Server, brand: ActiveBrand, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    monkeypatch.setattr(sending, "SEND_TIMEOUT", 0.01)
    post.hold_up()
    assert await make_delivery(server, post).deliver_all_due() == 0
    assert await state(server, mail_id) == (MailState.waiting, "The mail server took longer than 0 s.")


def test_a_lease_outlasts_every_delivery_by_clocks_a_minute_apart() -> None:
    assert SEND_TIMEOUT > LONGEST_DELIVERY
    assert LEASE.total_seconds() >= SEND_TIMEOUT + 2 * 60


async def test_each_conversation_carries_one_mail_at_a_time_and_ends_with_the_last(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    made, posts = [await make_mail(server, brand, ann) for _ in range(3 * CONNECTIONS)], [Post(), Post()]

    async def look(_: Sent) -> None:
        assert all(post.busy <= 1 for post in posts)
        await asyncio.sleep(0)

    for post in posts:
        post.before_taking = look
    await MailWorker(server, posts, "node-1", always_good, compose).deliver_all_due()
    assert sorted(posts[0].mail_ids + posts[1].mail_ids) == sorted(made)
    assert [bool(post.sent) for post in posts] == [True, True]
    assert [post.is_open for post in posts] == [False, False]


async def test_a_silent_recipient_holds_up_one_conversation_only(server: Server, brand: ActiveBrand, ann: User) -> None:
    """The others carry all that comes meanwhile, and take their leave when there is nothing more."""
    post = Post()
    is_over = post.hold_up("slow@tarpit.example")
    slow = await make_mail(server, brand, ann, recipient="slow@tarpit.example")
    working = asyncio.create_task(make_delivery(server, post).deliver_all_due())
    await post.is_asked.wait()
    first = [await make_mail(server, brand, ann) for _ in range(3 * CONNECTIONS)]
    await post.has_taken(len(first))
    later = await make_mail(server, brand, ann)
    await post.has_taken(len(first) + 1)
    assert sorted(post.mail_ids) == sorted([*first, later])
    assert (await state(server, slow))[0] is MailState.sending
    assert not working.done()
    is_over.set()
    assert await working == len(first) + 2


async def test_new_mails_go_before_those_that_failed(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    post = Post()
    for number in range(3 * CONNECTIONS):
        await make_mail(server, brand, ann, recipient=f"{number}@tarpit.example")
    post.error = DeliveryFailed("451 later")
    worker = MailWorker(server, [post], "node-1", always_good, compose)
    assert await worker.deliver_all_due() == 0
    clock.advance(minutes=1)
    fresh = [await make_mail(server, brand, ann) for _ in range(2 * CONNECTIONS)]
    post.error = None
    await worker.deliver_all_due()
    assert sorted(post.mail_ids[: len(fresh)]) == sorted(fresh)
    assert len(post.sent) == 5 * CONNECTIONS


async def test_one_conversation_is_kept_for_new_mails(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """However many recipients are silent again and again."""
    post = Post()
    for number in range(2 * CONNECTIONS):
        await make_mail(server, brand, ann, recipient=f"{number}@tarpit.example")
    post.error = DeliveryFailed("451 later")
    worker = make_delivery(server, post)
    assert await worker.deliver_all_due() == 0
    clock.advance(minutes=1)
    post.error = None
    is_over = post.hold_up(*(f"{number}@tarpit.example" for number in range(2 * CONNECTIONS)))
    post.is_asked.clear()
    working = asyncio.create_task(worker.deliver_all_due())
    await post.is_asked.wait()
    fresh = await make_mail(server, brand, ann)
    await post.has_taken(1)
    assert (post.mail_ids, post.busy) == ([fresh], CONNECTIONS - 1)
    is_over.set()
    assert await working == 2 * CONNECTIONS + 1
