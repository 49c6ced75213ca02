"""The sweep removes what is over for good, and nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from keystead.context import ActiveBrand, Server
from keystead.db.statements import Statement
from keystead.mail import outbox, service
from keystead.mail.model import MailState
from keystead.mail.store import mail_recipients
from keystead.mail.transport import DeliveryRefused
from tests.clocks import ManualClock
from tests.mail.letters import Box, make_mail
from tests.mail.post import Post
from tests.make import make_brand, make_user

_COUNT_RECIPIENTS = Statement(select(func.count()).select_from(mail_recipients), unbranded="test")


async def sweep(server: Server, limit: int = 100) -> int:
    async with server.db.transaction() as tx:
        return await service.sweep(tx, server.clock.now(), limit)


async def left(server: Server) -> int:
    return sum((await outbox.count_states(server.db)).values())


async def ask(server: Server, brand: ActiveBrand, *keys: bytes) -> None:
    async with server.db.transaction() as tx:
        for key in keys:
            assert await service.may_send(tx, brand.id, key, server.clock.now())


async def recipients(server: Server) -> int:
    row = await server.db.reads.find(_COUNT_RECIPIENTS)
    return int(row[0]) if row else 0


async def test_a_delivered_mail_goes_after_thirty_days(box: Box) -> None:
    await box.mail()
    await box.worker(Post()).deliver_all_due()
    box.clock.advance(days=30)
    assert (await sweep(box.server), await left(box.server)) == (0, 1)
    box.clock.advance(seconds=1)
    assert (await sweep(box.server), await left(box.server)) == (1, 0)


@pytest.mark.parametrize("state", [MailState.dead, MailState.waiting])
async def test_an_undelivered_one_goes_after_ninety(box: Box, state: MailState) -> None:
    await box.mail()
    if state is MailState.dead:
        post = Post()
        post.error = DeliveryRefused("550 no")
        await box.worker(post).deliver_all_due()
    box.clock.advance(days=90)
    assert (await sweep(box.server), (await outbox.count_states(box.server.db))[state]) == (0, 1)
    box.clock.advance(seconds=1)
    assert (await sweep(box.server), await left(box.server)) == (1, 0)


async def test_recipients_are_forgotten_after_a_day(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    other = await make_brand(server, "otherBrand")
    ann_, bob = b"a" * 32, b"b" * 32
    await ask(server, brand, ann_, bob)
    await ask(server, other, ann_)
    clock.advance(hours=23)
    await ask(server, brand, bob)
    clock.advance(hours=1)
    assert (await sweep(server), await recipients(server)) == (0, 3)
    clock.advance(seconds=1)
    assert (await sweep(server), await recipients(server)) == (2, 1)


async def test_a_sweep_goes_in_batches_and_through_every_brand(box: Box) -> None:
    other = await make_brand(box.server, "otherBrand")
    bob = await make_user(box.server, other, "bob@example.com")
    for of in ((box.brand, box.ann), (box.brand, box.ann), (other, bob)):
        await make_mail(box.server, *of)
    await box.worker(Post()).deliver_all_due()
    box.clock.advance(days=31)
    await box.mail()
    assert [await sweep(box.server, 2), await sweep(box.server, 2), await sweep(box.server, 2)] == [2, 1, 0]
    assert await left(box.server) == 1
