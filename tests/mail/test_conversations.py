"""A worker and its mail server: how many conversations, how long, and how they end."""

from __future__ import annotations

import asyncio

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail import delivery, outbox
from keystead.mail.delivery import BATCH, CONVERSATIONS, LEASE, SEND_WITHIN, Delivery
from keystead.mail.model import MailState
from keystead.users.model import User
from tests.mail.letters import make_mail
from tests.mail.post import Post, Sent, always_good, compose, make_delivery
from tests.make import make_context


async def state(server: Server, mail_id: str) -> tuple[MailState, str | None]:
    mail = await outbox.get_mail(make_context(server), mail_id)
    return mail.state, mail.last_error


async def test_a_silent_server_is_left_after_a_while(
    server: Server, brand: ActiveBrand, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    monkeypatch.setattr(delivery, "SEND_WITHIN", 0.01)
    post.hold_up()
    assert await make_delivery(server, post).deliver_due() == 0
    assert await state(server, mail_id) == (MailState.waiting, "The mail server took longer than 0 s.")


def test_a_lease_outlasts_every_delivery() -> None:
    assert LEASE.total_seconds() / 2 >= BATCH / CONVERSATIONS * SEND_WITHIN


async def test_each_conversation_carries_one_mail_at_a_time_and_ends_with_the_last(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    made, posts = [await make_mail(server, brand, ann) for _ in range(BATCH + 3)], [Post(), Post()]

    async def look(_: Sent) -> None:
        assert all(post.busy <= 1 for post in posts)
        await asyncio.sleep(0)

    for post in posts:
        post.before_taking = look
    await Delivery(server, posts, "node-1", always_good, compose).deliver_all_due()
    assert sorted(posts[0].mail_ids + posts[1].mail_ids) == sorted(made)
    assert [bool(post.sent) for post in posts] == [True, True]
    assert [post.is_open for post in posts] == [False, False]


async def test_who_finishes_waits_for_the_mails_in_hand_and_takes_no_more(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    first, post = await make_mail(server, brand, ann), Post()
    is_over, worker = post.hold_up(), make_delivery(server, post)
    working = asyncio.create_task(worker.deliver_due())
    await post.is_asked.wait()
    second = await make_mail(server, brand, ann)
    finishing = asyncio.create_task(worker.finish(60))
    await asyncio.sleep(0)
    assert not finishing.done()
    is_over.set()
    await finishing
    assert (await working, await worker.deliver_due()) == (1, 0)
    assert [(await state(server, mail_id))[0] for mail_id in (first, second)] == [
        MailState.delivered,
        MailState.waiting,
    ]


async def test_who_finishes_does_not_wait_for_ever(server: Server, brand: ActiveBrand, ann: User) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    post.hold_up()
    worker = make_delivery(server, post)
    working = asyncio.create_task(worker.deliver_due())
    await post.is_asked.wait()
    await worker.finish(0.01)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert (await state(server, mail_id))[0] is MailState.sending, "another node delivers it when the lease is over"


async def test_nothing_in_hand_means_no_wait(server: Server) -> None:
    await make_delivery(server, Post()).finish(0)
