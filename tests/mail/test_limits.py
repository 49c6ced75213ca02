"""Rate limits per recipient: one mail a minute and five an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Tx
from keystead.ids import new_id
from keystead.mail import links, service
from keystead.mail.model import LIMITED, MailKind, NewMail
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.races.conftest import is_blocked


def key_of(server: Server, brand: ActiveBrand, canonical: str = "ann@example.com") -> bytes:
    return links.recipient_key(server.master_key, brand.id, canonical)


def mail(server: Server, brand: ActiveBrand, user: User, kind: MailKind, canonical: str) -> NewMail:
    mail_id = new_id(server.clock.now())
    return NewMail(mail_id, kind, user.id, "Ann@example.com", key_of(server, brand, canonical))


async def ask(
    server: Server,
    brand: ActiveBrand,
    user: User,
    kind: MailKind = MailKind.magic_login,
    canonical: str = "ann@example.com",
    *,
    is_limited: bool = True,
    then: Callable[[], Awaitable[None]] | None = None,
) -> bool:
    """Write a mail if the limits allow it; return whether. ``then`` runs before the commit."""
    now, new = server.clock.now(), mail(server, brand, user, kind, canonical)

    async def write(tx: Tx) -> bool:
        may = await service.may_send(tx, brand.id, new.recipient_key, now, is_limited=is_limited)
        did = await service.enqueue(tx, brand.id, new, now, is_wanted=may, is_limited=is_limited)
        if then is not None:
            await then()
        return did

    return await server.db.run(write)


async def answer(server: Server, brand: ActiveBrand) -> None:
    async with server.db.transaction() as tx:
        await service.note_answered(tx, brand.id, key_of(server, brand), server.clock.now())


@pytest.mark.attack("A65")
async def test_one_a_minute(server: Server, brand: ActiveBrand, ann: User, clock: ManualClock) -> None:
    sent = []
    for seconds in (0, 1, 58, 1, 59, 1):
        clock.advance(seconds=seconds)
        sent.append(await ask(server, brand, ann))
    assert sent == [True, False, False, True, False, True]


@pytest.mark.attack("A65")
async def test_five_an_hour(server: Server, brand: ActiveBrand, ann: User, clock: ManualClock) -> None:
    sent = [await ask(server, brand, ann)]
    for _ in range(59):
        clock.advance(minutes=1)
        sent.append(await ask(server, brand, ann))
    assert sent == [True] * 5 + [False] * 55
    clock.advance(minutes=1)
    assert await ask(server, brand, ann), "the first of the five is an hour old"
    clock.advance(seconds=59)
    assert not await ask(server, brand, ann), "the second is not"
    clock.advance(seconds=1)
    assert await ask(server, brand, ann)


async def test_all_limited_kinds_count_together(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    for kind in sorted(LIMITED):
        assert await ask(server, brand, ann, kind)
        assert not await ask(server, brand, ann)
        clock.advance(hours=1)


async def test_notices_do_not_count(server: Server, brand: ActiveBrand, ann: User) -> None:
    now = server.clock.now()
    async with server.db.transaction() as tx:
        for kind in set(MailKind) - LIMITED:
            await service.enqueue(tx, brand.id, mail(server, brand, ann, kind, "ann@example.com"), now)
    assert await ask(server, brand, ann)


async def test_a_used_link_clears_earlier_mails_alone(server: Server, brand: ActiveBrand, ann: User) -> None:
    await answer(server, brand)
    assert await ask(server, brand, ann)
    assert not await ask(server, brand, ann)


@pytest.mark.race
@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_concurrent_requests_are_counted_one_after_the_other(
    server: Server, brand: ActiveBrand, ann: User, ending: str
) -> None:
    has_asked, may_end = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        has_asked.set()
        await may_end.wait()
        if ending == "rollback":
            raise RuntimeError("undone")

    first = asyncio.create_task(ask(server, brand, ann, then=hold))
    await has_asked.wait()
    second = asyncio.create_task(ask(server, brand, ann))
    assert await is_blocked(second)
    may_end.set()
    await asyncio.wait({first, second})
    assert second.result() is (ending == "rollback")
    assert (first.exception() is None) is (ending == "commit")
