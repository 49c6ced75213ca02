"""Several workers on one database: each mail is delivered once, and not forgotten when its worker dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import bindparam, update

from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.db.statements import Statement
from keystead.mail import lease_store, outbox
from keystead.mail.model import Mail, MailState
from keystead.mail.retry_policy import MOST_ATTEMPTS
from keystead.mail.sending import LEASE
from keystead.mail.store import mails
from keystead.mail.transport import DeliveryFailed
from keystead.mail.worker import CONNECTIONS
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.mail.letters import make_mail
from tests.mail.post import Post, make_delivery
from tests.make import make_brand, make_context, make_server, make_user

_SET_KIND = Statement(
    update(mails).where(mails.c.id == bindparam("mail_id")).values(kind="of_next_year"), unbranded="test"
)


@pytest.fixture
async def second(server: Server, database_url: str, clock: ManualClock) -> AsyncIterator[Server]:
    """Another node on the same database."""
    database = open_database(database_url)
    await database.open()
    yield await make_server(database, clock)
    await database.close()


async def find(server: Server, mail_id: str) -> Mail:
    return await outbox.get_mail(make_context(server), mail_id)


async def take(server: Server, holder: str, limit: int = 10) -> list[Mail]:
    now = server.clock.now()
    return await server.db.run(lambda tx: lease_store.lease_due(tx, holder, now, now + LEASE, limit))


async def settle(server: Server, mail: Mail, holder: str, *, brand_id: str | None = None) -> bool:
    now = server.clock.now()
    async with server.db.transaction() as tx:
        of = brand_id or mail.brand_id
        return await lease_store.record_outcome(tx, of, mail, holder, MailState.delivered, now, now, None)


async def test_two_workers_deliver_each_mail_once(
    server: Server, second: Server, brand: ActiveBrand, ann: User
) -> None:
    made = [await make_mail(server, brand, ann) for _ in range(50)]
    post, both_are_there = Post(), asyncio.Barrier(2)

    async def work(node: Server, holder: str) -> None:
        await both_are_there.wait()
        await make_delivery(node, post, holder).deliver_all_due()

    await asyncio.gather(work(server, "here"), work(second, "there"))
    assert Counter(post.mail_ids) == Counter(made)
    assert {(await find(server, mail_id)).attempts for mail_id in made} == {1}


async def test_both_of_two_workers_have_something_to_do(
    server: Server, second: Server, brand: ActiveBrand, ann: User
) -> None:
    """While one waits for the mail server, the other goes on."""
    made = [await make_mail(server, brand, ann) for _ in range(3 * CONNECTIONS)]
    slow, quick = Post(), Post()
    is_over = slow.hold_up()
    working = asyncio.create_task(make_delivery(server, slow, "here").deliver_all_due())
    await slow.is_asked.wait()
    await make_delivery(second, quick, "there").deliver_all_due()
    assert len(quick.sent) == 2 * CONNECTIONS
    is_over.set()
    assert await working == CONNECTIONS
    assert sorted(slow.mail_ids + quick.mail_ids) == sorted(made)


async def test_a_mail_of_a_dead_worker_is_delivered_by_another_when_its_lease_is_over(
    server: Server, second: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    mail_id = await make_mail(server, brand, ann)
    living = Post()
    assert [mail.id for mail in await take(server, "dead")] == [mail_id]
    other = make_delivery(second, living, "living")
    clock.advance(seconds=LEASE.total_seconds() - 1)
    assert (await other.deliver_all_due(), living.attempts) == (0, 0)
    assert (await find(server, mail_id)).state is MailState.sending
    clock.advance(seconds=1)
    assert (await other.deliver_all_due(), living.mail_ids) == (1, [mail_id])
    mail = await find(server, mail_id)
    assert (mail.state, mail.attempts) == (MailState.delivered, 2)


@pytest.mark.parametrize("error", [None, DeliveryFailed("451 later")], ids=["delivered", "failed"])
async def test_what_a_worker_says_after_its_lease_counts_no_more(
    server: Server, second: Server, brand: ActiveBrand, ann: User, clock: ManualClock, error: Exception | None
) -> None:
    mail_id = await make_mail(server, brand, ann)
    stale, fresh, counted = Post(), Post(), list[MailState]()
    stale.error = error
    is_over = stale.hold_up()
    late = asyncio.create_task(make_delivery(server, stale, "late", count=counted.append).deliver_all_due())
    await stale.is_asked.wait()
    clock.advance(seconds=LEASE.total_seconds())
    still_sending = fresh.hold_up()
    other = asyncio.create_task(make_delivery(second, fresh, "other").deliver_all_due())
    await fresh.is_asked.wait()
    is_over.set()
    assert (await late, counted) == (0, [])
    assert (await find(server, mail_id)).state is MailState.sending
    still_sending.set()
    assert await other == 1
    assert (await find(server, mail_id)).state is MailState.delivered


async def test_two_leases_of_one_holder_are_told_apart(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    await make_mail(server, brand, ann)
    (first,) = await take(server, "here")
    clock.advance(seconds=LEASE.total_seconds())
    (again,) = await take(server, "here")
    assert [await settle(server, mail, "here") for mail in (first, again, again)] == [False, True, False]


async def test_a_mail_is_settled_by_its_holder_and_in_its_brand_alone(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    other = await make_brand(server, "otherBrand")
    await make_mail(server, brand, ann)
    (mail,) = await take(server, "here")
    assert not await settle(server, mail, "there")
    assert not await settle(server, mail, "here", brand_id=other.id)
    assert await settle(server, mail, "here")


# SQLite has one writer at a time: nobody can be taking beside it.
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_nobody_waits_for_what_another_one_is_just_taking(
    server: Server, second: Server, brand: ActiveBrand, ann: User
) -> None:
    made = sorted([await make_mail(server, brand, ann) for _ in range(3)])
    now = server.clock.now()
    async with server.db.transaction() as tx:
        first = await lease_store.lease_due(tx, "here", now, now + LEASE, 2)
        rest = await asyncio.wait_for(take(second, "there"), 5)
    assert [mail.id for mail in (*first, *rest)] == made


async def test_a_limit_is_kept(server: Server, brand: ActiveBrand, ann: User) -> None:
    made = sorted([await make_mail(server, brand, ann) for _ in range(5)])
    taken = [await take(server, "here", 2) for _ in range(4)]
    assert [[mail.id for mail in batch] for batch in taken] == [made[:2], made[2:4], made[4:], []]
    assert {(mail.state, mail.attempts) for batch in taken for mail in batch} == {(MailState.sending, 1)}


async def test_mails_of_every_brand_are_delivered(server: Server, brand: ActiveBrand, ann: User) -> None:
    other = await make_brand(server, "otherBrand")
    bob = await make_user(server, other, "bob@example.com")
    made = [await make_mail(server, *of) for of in ((brand, ann), (other, bob))]
    post = Post()
    assert await make_delivery(server, post).deliver_all_due() == 2
    assert sorted(post.mail_ids) == sorted(made)


async def test_a_mail_that_ends_the_process_each_time_is_given_up(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    mail_id, post = await make_mail(server, brand, ann), Post()
    for _ in range(MOST_ATTEMPTS):
        assert len(await take(server, "somebody who dies")) == 1
        clock.advance(seconds=LEASE.total_seconds())
    assert (await make_delivery(server, post).deliver_all_due(), post.attempts) == (1, 0)
    mail = await find(server, mail_id)
    assert (mail.state, mail.last_error) == (MailState.dead, "Too many attempts were interrupted.")


async def test_a_mail_of_a_newer_release_is_left_to_it(server: Server, brand: ActiveBrand, ann: User) -> None:
    later, known = [await make_mail(server, brand, ann) for _ in range(2)]
    async with server.db.transaction() as tx:
        await tx.execute(_SET_KIND, mail_id=later)
    post = Post()
    await make_delivery(server, post).deliver_all_due()
    assert post.mail_ids == [known]
