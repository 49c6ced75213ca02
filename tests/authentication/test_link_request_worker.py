"""Process requests for mailed links: fair between brands and networks, retried, rate-limited."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs
from prometheus_client import REGISTRY
from sqlalchemy import func, select
from structlog.testing import capture_logs

from keystead.authentication import link_request_worker, magic_link, password_change
from keystead.authentication.link_request_worker import LARGEST_BATCH, RETRY_AFTER, RoundRobin, process_all
from keystead.context import ActiveBrand, Anonymous, RequestDetails, Server
from keystead.crypto import secrets
from keystead.db.interface import Tx
from keystead.db.statements import Statement
from keystead.errors import ServiceUnavailable
from keystead.mail import store
from keystead.mail.model import MailKind, MailState
from keystead.mail.request_store import MOST_OF_SOURCE, mail_requests
from keystead.users.model import User
from keystead.web.upkeep import Upkeep
from tests.attacks.watched import watch
from tests.authentication.mailed import only_token, outbox
from tests.clocks import ManualClock
from tests.make import REQUEST, make_brand, make_context, make_user

pytestmark = pytest.mark.brand(features={"magic_login": True})

EMAIL, NEW_PASSWORD = "ann@example.com", "a quite new and long password"
_COUNT = Statement(select(func.count()).select_from(mail_requests), unbranded="test")


def source(number: int) -> RequestDetails:
    """A request from its own network."""
    address = f"198.51.{number // 256}.{number % 256}"
    return structs.replace(REQUEST, address=address, address_prefix=address)


async def ask(server: Server, brand: ActiveBrand, email: str, request: RequestDetails = REQUEST) -> None:
    ctx = make_context(server, brand, Anonymous(), request=request, brand_is_default=True)
    await password_change.request_reset(ctx, brand, email)


async def flood(server: Server, brand: ActiveBrand, rows: int, networks: int) -> None:
    for number in range(rows):
        await ask(server, brand, f"nil-{number}@example.com", source(number % networks))


async def waiting(server: Server) -> int:
    return int((await server.db.reads.find(_COUNT) or (0,))[0])


async def written(server: Server) -> list[str]:
    """Whom mails were written to; nothing more is decided."""
    return [mail.recipient for mail in await store.list_mails(server.db.reads, None, list(MailState), 100, 0)]


@pytest.mark.attack("A67")
@pytest.mark.parametrize("networks", [1, 150])
async def test_a_flood_delays_no_other_brand_and_no_other_network(
    server: Server, brand: ActiveBrand, ann: User, networks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds before it, a request of another brand is in the first transaction; so is one of another network."""
    other = await make_brand(server, "other")
    await make_user(server, other, "bob@example.com")
    await flood(server, brand, 150, networks)
    await ask(server, other, "bob@example.com")
    if networks == 1:
        await ask(server, brand, EMAIL, source(9999))
    rounds = []
    next_batch = link_request_worker.RoundRobin.next_batch

    async def watched(turns: Any, rows: int) -> Any:
        batch = await next_batch(turns, rows)
        rounds.append({(request.brand_id, request.source) for request in batch})
        return batch

    monkeypatch.setattr(link_request_worker.RoundRobin, "next_batch", watched)
    await process_all(server)
    assert (other.id, REQUEST.address_prefix) in rounds[0]
    assert networks > 1 or (brand.id, source(9999).address_prefix) in rounds[0]
    assert await waiting(server) == 0
    assert "bob@example.com" in await written(server)


async def test_a_thousand_requests_take_few_transactions(server: Server, brand: ActiveBrand) -> None:
    await flood(server, brand, 1000, 10)
    counted = watch(server)
    assert await process_all(server) == 1000
    # A machine that is busy elsewhere takes smaller batches; one for each request would be 1,000.
    assert 1000 // LARGEST_BATCH <= counted.transactions <= 300
    assert await waiting(server) == 0


@pytest.mark.attack("A65")
async def test_requests_of_one_network_over_the_limit_are_dropped_and_logged(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    await flood(server, brand, MOST_OF_SOURCE, 1)
    with capture_logs() as lines:
        await ask(server, brand, "one-more@example.com", source(0))
    assert await waiting(server) == MOST_OF_SOURCE
    (line,) = lines
    assert (line["event"], line["brand"], line["ip_prefix"]) == ("mail_request_dropped", brand.id, "198.51.0.0")
    await ask(server, brand, EMAIL)
    await process_all(server)
    assert await written(server) == [EMAIL]
    await ask(server, brand, "again@example.com", source(0))
    assert await waiting(server) == 1


@pytest.mark.parametrize("error", [ValueError("broken"), ServiceUnavailable(cause="55P03 lock_timeout")])
async def test_a_failing_request_is_logged_once_and_retried(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide, fails = link_request_worker._send_to_login, [True]

    async def failing(tx: Tx, correspondence: Any, asked: Any) -> Any:
        if fails and asked.canonical == "bad@example.com":
            raise error
        return await decide(tx, correspondence, asked)

    monkeypatch.setattr(link_request_worker, "_send_to_login", failing)
    await ask(server, brand, "bad@example.com")
    await ask(server, brand, EMAIL)
    with capture_logs() as lines:
        for _ in range(3):
            await process_all(server)
            clock.advance(seconds=RETRY_AFTER.total_seconds())
    assert [line["event"] for line in lines] == ["mail_request_not_decided"]
    assert lines[0]["exc_info"] is error
    assert (await waiting(server), await written(server)) == (1, [EMAIL])
    fails.clear()
    await process_all(server)
    assert await waiting(server) == 0


async def test_a_request_that_fails_for_an_hour_is_dropped(
    server: Server, brand: ActiveBrand, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: Any) -> Any:
        raise ValueError("broken")

    monkeypatch.setattr(link_request_worker, "_send_to_login", failing)
    await ask(server, brand, EMAIL)
    await process_all(server)
    assert await waiting(server) == 1
    clock.advance(seconds=timedelta(hours=1, seconds=1).total_seconds())
    await process_all(server)
    assert await waiting(server) == 0


async def test_two_workers_process_a_request_once(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    first, second = Upkeep(server), Upkeep(server)
    await ask(server, brand, "nil@example.com")
    await first.resolve_mail_requests()
    await ask(server, brand, EMAIL)
    clock.advance(seconds=1.5)
    await second.resolve_mail_requests()
    assert await waiting(server) == 1
    assert REGISTRY.get_sample_value("keystead_mail_request_age_seconds") == 1.5
    await first.resolve_mail_requests()
    assert await waiting(server) == 0
    await ask(server, brand, "nil@example.com")
    clock.advance(seconds=60)
    await second.resolve_mail_requests()
    assert await waiting(server) == 0


@pytest.mark.attack("A59")
@pytest.mark.parametrize("request_mail", [password_change.request_reset, magic_link.request_magic_link])
async def test_a_request_from_before_a_reset_sends_no_link_after_it(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, request_mail: Any
) -> None:
    ctx = make_context(server, brand, Anonymous(), brand_is_default=True)
    await password_change.request_reset(ctx, brand, EMAIL)
    token = await only_token(server, MailKind.reset_password)
    clock.advance(seconds=61)
    await request_mail(ctx, brand, EMAIL)
    clock.advance(seconds=0.5)
    await password_change.reset_password(ctx, secrets.parse(token), NEW_PASSWORD)
    assert [mail.kind for mail in await outbox(server)] == [MailKind.reset_password, MailKind.password_changed]
    clock.advance(seconds=61)
    await request_mail(ctx, brand, EMAIL)
    assert len(await outbox(server)) == 3


async def test_round_robin_visits_all_networks_before_it_starts_over(server: Server, brand: ActiveBrand) -> None:
    await flood(server, brand, 80, 40)
    turns = RoundRobin(server)
    taken = [{request.source for request in await turns.next_batch(8)} for _ in range(5)]
    assert len(set().union(*taken)) == 40


async def test_the_round_robin_continues_in_the_next_round(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = []

    async def watched(_server: Server, _seconds: float, turns: RoundRobin) -> int:
        rounds.append(turns)
        return 0

    monkeypatch.setattr("keystead.web.upkeep.process_all", watched)
    await flood(server, brand, 1, 1)
    upkeep = Upkeep(server)
    await upkeep.resolve_mail_requests()
    await upkeep.resolve_mail_requests()
    assert rounds == [rounds[0]] * 2


async def test_a_failing_batch_ends_with_the_round(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def fail(_server: Server, requests: list[Any], _size: Any) -> int:
        tried.append(len(requests))
        raise RuntimeError

    await flood(server, brand, 8, 8)
    seconds = count()
    monkeypatch.setattr(link_request_worker, "_process", fail)
    monkeypatch.setattr(link_request_worker, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    await process_all(server, 4)
    assert tried == [8, 1, 1, 1]
