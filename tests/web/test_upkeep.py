"""Background tasks of a serving process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from keystead.clock import SystemClock
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.db.clock import DatabaseClock
from keystead.db.interface import ConnectionLost, Database
from keystead.db.statements import Statement
from keystead.errors import ServiceUnavailable
from keystead.installation import service as installation
from keystead.mail import outbox
from keystead.mail.model import MailState
from keystead.sessions.store import sessions
from keystead.users import email_addresses
from keystead.users.model import User
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.users.one_time_tokens.model import TokenPurpose
from keystead.users.one_time_tokens.store import one_time_tokens as token_table
from keystead.web import upkeep as upkeep_module
from keystead.web.upkeep import Upkeep
from tests.clocks import ManualClock
from tests.mail.letters import make_link_mail, make_mail
from tests.mail.post import Post, make_delivery
from tests.make import SETTINGS, make_context, make_server, make_session
from tests.smtp_server import SmtpServer

_COUNT_SESSIONS = Statement(select(func.count()).select_from(sessions), unbranded="test")
_COUNT_TOKENS = Statement(select(func.count()).select_from(token_table), unbranded="test")


@pytest.fixture
async def upkeep(db: Database, server: Server, smtp: SmtpServer) -> AsyncIterator[Upkeep]:
    """The background tasks of a node with a mail server, not started. The clock of ``server`` is the machine's."""
    server.clock = SystemClock()
    upkeep = Upkeep(await make_server(db, SystemClock(), settings=replace(SETTINGS, smtp_url=smtp.url)))
    yield upkeep
    await upkeep.stop()


async def test_mail_is_delivered_unless_its_link_was_replaced(
    server: Server, brand: ActiveBrand, ann: User, upkeep: Upkeep, smtp: SmtpServer
) -> None:
    replaced, current = [await make_link_mail(server, brand, ann) for _ in range(2)]
    upkeep.start()
    (mail,) = await smtp.mails(1)
    assert (mail.sender, mail.recipients) == ("no-reply@auth.example.com", ("ann@example.com",))
    assert mail.message["Message-ID"] == f"<{current}@auth.example.com>"
    await upkeep.stop()
    states = [(await outbox.get_mail(make_context(server), mail_id)).state for mail_id in (replaced, current)]
    assert states == [MailState.dead, MailState.delivered]


async def test_a_delivery_in_progress_is_finished_before_stopping(
    server: Server, brand: ActiveBrand, ann: User, upkeep: Upkeep, smtp: SmtpServer
) -> None:
    silence = smtp.withhold("DATA", times=1)
    mail_id = await make_mail(server, brand, ann)
    upkeep.start()
    await smtp.heard("DATA")
    silence.release()
    await upkeep.stop()
    assert (await outbox.get_mail(make_context(server), mail_id)).state is MailState.delivered


async def test_mail_that_the_mail_server_cannot_have_is_released_when_stopping(
    server: Server, brand: ActiveBrand, ann: User, upkeep: Upkeep, smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail server hangs: another node can deliver these mails immediately."""
    monkeypatch.setattr(upkeep_module, "FINISH_SECONDS", 0.01)
    smtp.withhold("RCPT")
    made = [await make_mail(server, brand, ann) for _ in range(6)]
    upkeep.start()
    await smtp.heard("RCPT", 4)
    await upkeep.stop()
    mails = [await outbox.get_mail(make_context(server), mail_id) for mail_id in made]
    assert {(mail.state, mail.attempts) for mail in mails} == {(MailState.waiting, 0)}


async def test_mail_that_may_have_arrived_keeps_its_lease_when_stopping(
    server: Server, brand: ActiveBrand, ann: User, upkeep: Upkeep, smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "FINISH_SECONDS", 0.01)
    smtp.withhold(".")
    for _ in range(6):
        await make_mail(server, brand, ann)
    upkeep.start()
    received = await smtp.mails(4)
    await upkeep.stop()
    states = await outbox.count_states(server.db)
    assert (len(received), states[MailState.sending], states[MailState.waiting]) == (4, 4, 2)


async def test_a_stray_cancellation_ends_no_task(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """CancelledError from what a round awaits is a failure; only stop() stops."""
    monkeypatch.setattr(upkeep_module, "KEYRING_SECONDS", 0)
    upkeep, rounds, is_third = Upkeep(server), 0, asyncio.Event()

    async def stray() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            is_third.set()
        raise asyncio.CancelledError

    monkeypatch.setattr(upkeep, "follow_keyring", stray)
    upkeep.start()
    await asyncio.wait_for(is_third.wait(), 20)
    await upkeep.stop()
    assert all(task.cancelled() for task in upkeep._tasks)


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alternating errors of an outage are one series; any other error is logged with its traceback."""
    away = [ConnectionLost(cause="refused"), ServiceUnavailable(cause="starting up"), ConnectionLost(cause="refused")]
    fault = ValueError("a fault")
    outcomes: list[Exception | None] = [None, *away, fault, fault, None, None, away[0], None]
    monkeypatch.setattr(upkeep_module, "KEYRING_SECONDS", 0)
    upkeep, is_over = Upkeep(server), asyncio.Event()

    async def work() -> None:
        if not outcomes:
            is_over.set()
        elif (error := outcomes.pop(0)) is not None:
            raise error

    monkeypatch.setattr(upkeep, "follow_keyring", work)
    with capture_logs() as lines:
        upkeep.start()
        await asyncio.wait_for(is_over.wait(), 20)
        await upkeep.stop()
    logged = [(line["event"], line.get("cause"), line.get("exc_info")) for line in lines if line.get("work") == "work"]
    recovered = ("upkeep_recovered", None, None)
    refused = ("upkeep_failed", "refused", None)
    assert logged == [refused, ("upkeep_failed", None, fault), recovered, refused, recovered]


async def test_without_a_mail_server_mail_stays_in_the_outbox(server: Server, brand: ActiveBrand, ann: User) -> None:
    mail_id = await make_mail(server, brand, ann)
    upkeep = Upkeep(server)
    upkeep.start()
    assert len(upkeep._tasks) == 5
    await upkeep.stop()
    assert (await outbox.get_mail(make_context(server), mail_id)).state is MailState.waiting


async def test_expired_rows_are_deleted(server: Server, brand: ActiveBrand, ann: User, clock: ManualClock) -> None:
    await make_mail(server, brand, ann)
    await make_delivery(server, Post()).deliver_all_due()
    address = email_addresses.parse("ann@example.com")
    secret = secrets.generate(SecretKind.magic)
    async with server.db.transaction() as tx:
        await one_time_tokens.issue(tx, brand.id, ann.id, TokenPurpose.login, address, secret, clock.now())
    upkeep = Upkeep(server)
    clock.advance(minutes=10)
    await upkeep.sweep()
    assert await count_rows(server) == (1, 1)
    clock.advance(minutes=5)
    await upkeep.sweep()
    assert await count_rows(server) == (1, 0)
    clock.advance(days=30)
    await upkeep.sweep()
    assert await count_rows(server) == (0, 0)


@pytest.mark.parametrize(("seconds", "is_apart"), [(0, False), (-50, False), (70, True), (-70, True)])
async def test_a_clock_offset_above_a_minute_is_logged_once(server: Server, seconds: int, is_apart: bool) -> None:
    machine = ManualClock(SystemClock().now() + timedelta(seconds=seconds))
    server.clock = DatabaseClock(machine)
    upkeep = Upkeep(server)
    with capture_logs() as lines:
        for _ in range(3):
            await upkeep.follow_clock()
        machine.advance(seconds=-seconds)
        await upkeep.follow_clock()
    assert [line["event"] for line in lines] == ["clocks_apart", "clocks_together"] * is_apart
    assert abs(server.clock.now() - SystemClock().now()) < timedelta(seconds=5), "the database's clock is used"


async def test_deletion_and_rotation_use_the_databases_clock(server: Server, brand: ActiveBrand, ann: User) -> None:
    """A process whose offset is wrong by 40 days neither deletes sessions nor rotates keys."""
    server.clock = clock = DatabaseClock()
    await clock.measure(server.db)
    await make_session(server, brand, ann.id)
    kept = await count_sessions(server)
    await installation.rotate(make_context(server))
    keys = await installation.list_keys(make_context(server))
    clock._offset += timedelta(days=40).total_seconds()
    await Upkeep(server).sweep()
    assert await count_sessions(server) == kept
    assert await installation.list_keys(make_context(server)) == keys


async def test_without_a_measured_offset_nothing_is_deleted(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.clock = DatabaseClock()
    taken: list[object] = []
    monkeypatch.setattr(installation, "take_lease", lambda *arguments: taken.append(arguments))
    with capture_logs() as lines:
        await Upkeep(server).sweep()
    assert ([line["event"] for line in lines], taken) == (["upkeep_paused"], [])


async def count_sessions(server: Server) -> int:
    row = await server.db.reads.find(_COUNT_SESSIONS)
    return int(row[0]) if row else 0


async def count_rows(server: Server) -> tuple[int, int]:
    """The numbers of mails and of one-time tokens."""
    row = await server.db.reads.find(_COUNT_TOKENS)
    return sum((await outbox.count_states(server.db)).values()), int(row[0]) if row else 0
