"""Two servers with one outbox and a real mail server: each mail arrives once, and a crash loses none."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import bindparam, select, update

from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.db.statements import Statement
from keystead.mail import outbox
from keystead.mail.model import MailState
from keystead.mail.store import mails
from keystead.users.model import User
from tests.databases import PostgresTemplate
from tests.mail.letters import make_mail
from tests.make import make_brand, make_context, make_user
from tests.processes.node import Node, make_colleague, running
from tests.smtp_server import ReceivedMail, SmtpServer

MANY = 30
_HOLDERS = Statement(select(mails.c.holder).where(mails.c.state == MailState.sending.value), unbranded="test")
# What five minutes would do, too.
_END_LEASES = Statement(
    update(mails).where(mails.c.holder == bindparam("of")).values(held_until=mails.c.created_at), unbranded="test"
)


class Nodes(NamedTuple):
    """Two server processes on one database, with one mail server."""

    here: Node
    there: Node
    database_url: str


@pytest.fixture
def nodes(postgres_template: PostgresTemplate, smtp: SmtpServer, tmp_path: Path) -> Iterator[Nodes]:
    """Of this test alone: one of them may be killed."""
    url = postgres_template.copy()
    with ExitStack() as stack:
        stack.callback(postgres_template.drop, url)
        here, there = (stack.enter_context(running(tmp_path, url, KEYSTEAD_SMTP_URL=smtp.url)) for _ in range(2))
        yield Nodes(here, there, url)


@pytest.fixture
async def server(nodes: Nodes) -> AsyncIterator[Server]:
    """A node in this process, which writes mails and delivers none."""
    db = open_database(nodes.database_url)
    await db.open()
    yield await make_colleague(db)
    await db.close()


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand."""
    return await make_brand(server)


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """A user of it."""
    return await make_user(server, brand)


async def until_delivered(server: Server, count: int) -> None:
    """Waits until the outbox says so of that many mails."""
    async with asyncio.timeout(30):
        while (await outbox.count_states(server.db))[MailState.delivered] < count:
            pass


def message_ids(received: list[ReceivedMail]) -> Counter[str]:
    return Counter(str(mail.message["Message-ID"]) for mail in received)


async def test_each_mail_is_delivered_once(
    nodes: Nodes, server: Server, brand: ActiveBrand, ann: User, smtp: SmtpServer
) -> None:
    made = await asyncio.gather(*(make_mail(server, brand, ann) for _ in range(MANY)))
    await smtp.mails(MANY)
    await until_delivered(server, MANY)
    assert message_ids(smtp.received) == Counter(f"<{mail_id}@auth.example.com>" for mail_id in made)
    for node in nodes[:2]:
        node.terminate()
        assert node.wait() == 0
        told = [line["event"] for line in node.log_lines()]
        assert {"mail_postponed", "mail_given_up", "upkeep_failed"}.isdisjoint(told)
    assert len(smtp.received) == MANY


async def test_a_mail_leased_by_a_killed_node_is_delivered_by_the_other(
    nodes: Nodes, server: Server, brand: ActiveBrand, ann: User, smtp: SmtpServer
) -> None:
    """The mail server has taken the mail, and the node dies before it hears of it: the one case of two deliveries."""
    # It is the first node that is to have the mail in hand.
    nodes.there.process.send_signal(signal.SIGSTOP)
    silence = smtp.withhold(".", times=1)
    mail_id = await make_mail(server, brand, ann)
    await smtp.mails(1)
    ((holder,),) = await server.db.reads.list(_HOLDERS)
    nodes.here.kill()
    silence.release()
    nodes.there.process.send_signal(signal.SIGCONT)
    later = await make_mail(server, brand, ann)
    await smtp.mails(2)
    assert (await outbox.get_mail(make_context(server), mail_id)).state is MailState.sending, "its lease is not over"
    async with server.db.transaction() as tx:
        assert await tx.execute(_END_LEASES, of=holder) == 1
    await smtp.mails(3)
    await until_delivered(server, 2)
    assert message_ids(smtp.received) == {f"<{mail_id}@auth.example.com>": 2, f"<{later}@auth.example.com>": 1}
    first, again = (mail for mail in smtp.received if mail_id in str(mail.message["Message-ID"]))
    assert first.content == again.content, "word for word"


async def test_a_stopping_node_delivers_the_mails_it_has_leased(
    nodes: Nodes, server: Server, brand: ActiveBrand, ann: User, smtp: SmtpServer
) -> None:
    silence = smtp.withhold("DATA", times=1)
    mail_id = await make_mail(server, brand, ann)
    await smtp.heard("DATA")
    for node in nodes[:2]:
        node.terminate()
    silence.release()
    assert [node.wait() for node in nodes[:2]] == [0, 0]
    assert (await outbox.get_mail(make_context(server), mail_id)).state is MailState.delivered
    assert message_ids(smtp.received) == {f"<{mail_id}@auth.example.com>": 1}
