"""How a worker ends: what it has in hand is delivered or goes back, and nothing goes on beside the next round."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Tx
from keystead.errors import ServiceUnavailable
from keystead.mail import lease_store, outbox
from keystead.mail.model import Mail, MailState
from keystead.mail.worker import CONNECTIONS, MailWorker
from keystead.users.model import User
from tests.mail.letters import make_mail
from tests.mail.post import Post, Sent, always_good, compose, make_delivery
from tests.make import make_context


async def find(server: Server, mail_id: str) -> Mail:
    return await outbox.get_mail(make_context(server), mail_id)


async def states(server: Server) -> dict[MailState, int]:
    return {state: number for state, number in (await outbox.count_states(server.db)).items() if number}


async def test_who_finishes_waits_for_the_mails_in_hand_and_takes_no_more(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    first, post = await make_mail(server, brand, ann), Post()
    is_over, worker = post.hold_up(), make_delivery(server, post)
    working = asyncio.create_task(worker.deliver_all_due())
    await post.is_asked.wait()
    second = await make_mail(server, brand, ann)
    finishing = asyncio.create_task(worker.finish(60))
    await asyncio.sleep(0)
    assert not finishing.done()
    is_over.set()
    await finishing
    assert (await working, await worker.deliver_all_due()) == (1, 0)
    assert [(await find(server, mail_id)).state for mail_id in (first, second)] == [
        MailState.delivered,
        MailState.waiting,
    ]


@pytest.mark.parametrize("has_it_all", [False, True])
async def test_who_finishes_does_not_wait_for_ever_and_keeps_only_what_may_have_arrived(
    server: Server, brand: ActiveBrand, ann: User, has_it_all: bool
) -> None:
    """Another node delivers at once what goes back, as if nobody had taken it; the rest when its lease is over."""
    mail_id, post, other = await make_mail(server, brand, ann), Post(), Post()
    post.hold_up()
    post.has_it_all = has_it_all
    worker = make_delivery(server, post)
    working = asyncio.create_task(worker.deliver_all_due())
    await post.is_asked.wait()
    await worker.finish(0.01)
    assert await working == 0
    mail = await find(server, mail_id)
    assert (mail.state, mail.attempts) == ((MailState.sending, 1) if has_it_all else (MailState.waiting, 0))
    assert mail.next_attempt_at == mail.created_at
    await make_delivery(server, other, "node-2").deliver_all_due()
    assert other.mail_ids == ([] if has_it_all else [mail_id])


async def test_only_the_mails_of_who_ends_go_back(server: Server, brand: ActiveBrand, ann: User) -> None:
    mail_id, post, silent = await make_mail(server, brand, ann), Post(), Post()
    is_over = silent.hold_up()
    working = asyncio.create_task(make_delivery(server, silent, "other").deliver_all_due())
    await silent.is_asked.wait()
    await make_delivery(server, post).finish(0)
    assert (await find(server, mail_id)).state is MailState.sending
    is_over.set()
    assert await working == 1


async def test_what_was_taken_while_the_end_came_goes_back(
    server: Server, brand: ActiveBrand, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_id, post, usual = await make_mail(server, brand, ann), Post(), lease_store.lease_due
    is_taken, goes_on = asyncio.Event(), asyncio.Event()

    async def take(tx: Tx, *rest: object) -> list[Mail]:
        taken: list[Mail] = await usual(tx, *rest)  # type: ignore[arg-type]
        is_taken.set()
        await goes_on.wait()
        return taken

    monkeypatch.setattr(lease_store, "lease_due", take)
    worker = make_delivery(server, post)
    working = asyncio.create_task(worker.deliver_all_due())
    await is_taken.wait()
    finishing = asyncio.create_task(worker.finish(0))
    await asyncio.sleep(0)
    goes_on.set()
    await finishing
    assert (await working, post.attempts) == (0, 0)
    mail = await find(server, mail_id)
    assert (mail.state, mail.attempts) == (MailState.waiting, 0)


async def test_a_delivered_mail_of_which_nothing_is_written_does_not_go_back(
    server: Server, brand: ActiveBrand, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()

    async def settle(*_: object, **__: object) -> bool:
        raise ServiceUnavailable(cause="the database went away")

    worker = make_delivery(server, post)
    with monkeypatch.context() as patch:
        patch.setattr(lease_store, "record_outcome", settle)
        await worker.deliver_all_due()
    await worker.finish(0)
    assert (post.mail_ids, (await find(server, mail_id)).state) == ([mail_id], MailState.sending)


async def test_a_database_that_is_away_holds_up_no_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def give_back(*_: object) -> int:
        raise ServiceUnavailable(cause="the database went away")

    monkeypatch.setattr(lease_store, "release", give_back)
    with capture_logs() as lines:
        await make_delivery(server, Post()).finish(0)
    assert [line["event"] for line in lines] == ["mails_not_given_back"]


async def test_nothing_in_hand_means_no_wait(server: Server) -> None:
    await make_delivery(server, Post()).finish(0)


async def test_a_count_that_fails_is_told_and_harms_nothing(server: Server, brand: ActiveBrand, ann: User) -> None:
    for _ in range(2 * CONNECTIONS):
        await make_mail(server, brand, ann)

    def count(_: MailState) -> None:
        raise OSError("the disk is full")

    with capture_logs() as lines:
        assert await make_delivery(server, Post(), count=count).deliver_all_due() == 2 * CONNECTIONS
    assert [line["event"] for line in lines].count("mail_not_counted") == 2 * CONNECTIONS
    assert await states(server) == {MailState.delivered: 2 * CONNECTIONS}


async def test_trouble_with_the_database_leaves_the_other_conversations_alone(
    server: Server, brand: ActiveBrand, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds no next mail ends; a mail that is on its way goes on."""
    post, usual = Post(), lease_store.is_any_due
    is_over = post.hold_up("slow@example.com")
    await make_mail(server, brand, ann, recipient="slow@example.com")
    await make_mail(server, brand, ann)

    async def is_any_due(tx: Tx, now: object) -> bool:
        if post.attempts:
            raise ServiceUnavailable(cause="the database went away")
        return await usual(tx, now)  # type: ignore[arg-type]

    monkeypatch.setattr(lease_store, "is_any_due", is_any_due)
    with capture_logs() as lines:
        working = asyncio.create_task(make_delivery(server, post).deliver_all_due())
        await post.has_taken(1)
        is_over.set()
        assert await working == 2
    (line,) = [line for line in lines if line["event"] == "mails_not_taken"]
    assert (line["cause"], line.get("exc_info")) == ("the database went away", None)


async def test_a_transport_that_fails_to_close_ends_its_own_conversation_only(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    class Rude(Post):
        async def close(self) -> None:
            raise OSError("it hung up first")

    made, post = [await make_mail(server, brand, ann) for _ in range(3)], Rude()
    worker = MailWorker(server, [post, Post()], "node-1", always_good, compose)
    with capture_logs() as lines:
        await worker.deliver_all_due()
    assert {(await find(server, mail_id)).state for mail_id in made} == {MailState.delivered}
    assert "mail_conversation_failed" in {line["event"] for line in lines}


async def test_a_round_that_is_cancelled_leaves_no_conversation_behind(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    post, ended = Post(), asyncio.Event()
    await make_mail(server, brand, ann)

    async def wait(_: Sent) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    post.before_taking = wait
    working = asyncio.create_task(make_delivery(server, post).deliver_all_due())
    await post.is_asked.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()
