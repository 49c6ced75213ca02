"""Denied operations: the first is written immediately, a flood as a count, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from keystead.audit import denials, service
from keystead.audit.denials import Denials
from keystead.audit.model import AuditEvent
from keystead.context import (
    ActiveBrand,
    Anonymous,
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Context,
    Server,
    System,
)
from keystead.db.interface import Database, Tx
from keystead.errors import Forbidden, ServiceUnavailable
from keystead.ids import new_id
from keystead.pagination import PageRequest
from keystead.permissions import NOTHING
from keystead.settings import Settings
from keystead.web.bootstrap import open_server
from tests.api import make_api
from tests.clocks import ManualClock
from tests.make import (
    make_access_token,
    make_api_key,
    make_brand,
    make_context,
    make_session,
    make_user,
)

ADMIN = Forbidden(permission="admin")


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_brand(server)


@pytest.fixture
def noted(server: Server) -> Denials:
    made = Denials(server.db, server.clock)
    server.denials = made
    return made


def key(server: Server, brand: ActiveBrand) -> Context:
    """A request by a new API key."""
    return make_context(server, brand, ApiKeyPrincipal(brand.id, new_id(server.clock.now()), NOTHING, False))


async def recorded(server: Server, brand: ActiveBrand) -> list[AuditEvent]:
    page = await service.list_events(make_context(server), brand.id, PageRequest(per_page=100))
    return [event for event in reversed(page.items) if event.event == denials.EVENT]


async def times(server: Server, brand: ActiveBrand) -> list[int | None]:
    return [(event.details or {}).get("times") for event in await recorded(server, brand)]


async def test_a_denied_field_is_recorded_with_actor_operation_and_permission(
    server: Server, brand: ActiveBrand, noted: Denials, clock: ManualClock
) -> None:
    api = await make_api(server)
    user = await make_user(server, brand)
    opened = await make_session(server, brand, user.id)
    made, secret = await make_api_key(server, brand, "read")
    token = make_access_token(server, opened)
    text = "{ hidden: userList { data { id } } health { data { up } } }"
    answer = await api.send(text, token=token, key=secret.reveal())
    assert answer.code == "FORBIDDEN"
    await noted.written()
    (event,) = await recorded(server, brand)
    assert (event.outcome, event.actor_kind, event.actor_id) == ("refused", "user", user.id)
    assert (event.session_id, event.key_id) == (opened.session_id, made.id)
    assert event.request_id == answer.extensions["referenceId"]
    assert event.details == {"permission": "admin", "operation": "userList"}
    clock.advance(seconds=1)
    claim = 'mutation { changeEmailMagically(newEmail: "ann@example.org") }'
    assert (await api.send(claim, token=token)).code == "FORBIDDEN"
    await noted.written()
    assert (await recorded(server, brand))[-1].details == {
        "feature": "magic_login",
        "operation": "changeEmailMagically",
    }


async def test_anonymous_callers_and_brand_tokens_are_not_recorded(
    server: Server, brand: ActiveBrand, noted: Denials
) -> None:
    for principal in (Anonymous(), BrandTokenPrincipal(brand.id, "token"), System()):
        noted.note(make_context(server, brand, principal), "userList", ADMIN)
    await noted.written()
    assert await recorded(server, brand) == []


async def test_repeats_within_a_minute_are_one_count(
    server: Server, brand: ActiveBrand, noted: Denials, clock: ManualClock
) -> None:
    ctx = key(server, brand)
    for _ in range(41):
        noted.note(ctx, "userList", ADMIN)
        clock.advance(seconds=1)
    await noted.written()
    assert await times(server, brand) == [None]
    clock.advance(seconds=19)
    noted.note(ctx, "userById", ADMIN)
    await noted.written()
    assert await times(server, brand) == [None, 41]
    assert (await recorded(server, brand))[-1].details == {"permission": "admin", "operation": "userById", "times": 41}


async def test_the_count_is_written_after_the_flood(
    server: Server, brand: ActiveBrand, noted: Denials, clock: ManualClock
) -> None:
    ctx = key(server, brand)
    noted.note(ctx, "userList", ADMIN)
    for _ in range(3):
        clock.advance(seconds=1)
        noted.note(ctx, "userList", ADMIN)
    noted.count()
    await noted.written()
    assert await times(server, brand) == [None]
    for expected in ([None, 3], [None, 3], [None, 3, None]):
        clock.advance(seconds=60)
        noted.count()
        if len(expected) == 3:
            noted.note(ctx, "userList", ADMIN)
        await noted.written()
        assert await times(server, brand) == expected


async def test_a_clock_set_back_delays_nothing(
    server: Server, brand: ActiveBrand, noted: Denials, clock: ManualClock
) -> None:
    ctx = key(server, brand)
    noted.note(ctx, "userList", ADMIN)
    clock.advance(hours=-1)
    noted.note(ctx, "userList", ADMIN)
    await noted.written()
    assert sorted(await times(server, brand), key=str) == [1, None]


async def test_actors_and_permissions_are_counted_separately(
    server: Server, brand: ActiveBrand, noted: Denials
) -> None:
    other = await make_brand(server, "other")
    mine = key(server, brand)
    for ctx in (mine, key(server, brand), key(server, other)):
        for permission in ("admin", "read"):
            noted.note(ctx, "userList", Forbidden(permission=permission))
    await noted.written()
    assert await times(server, brand) == [None] * 4
    assert await times(server, other) == [None] * 2


async def test_close_writes_the_counts(server: Server, brand: ActiveBrand, noted: Denials) -> None:
    ctx = key(server, brand)
    for _ in range(3):
        noted.note(ctx, "userList", ADMIN)
    await noted.close()
    assert sorted(await times(server, brand), key=str) == [2, None]


async def test_one_actor_has_a_limited_number_of_kinds(server: Server, brand: ActiveBrand, noted: Denials) -> None:
    ctx = key(server, brand)
    for number in range(denials.MOST_OF_ONE + 50):
        noted.note(ctx, "thingList", Forbidden(permission=f"thing{number}:read"))
    assert len(noted._kinds) == denials.MOST_OF_ONE + 1
    await noted.close()
    assert sorted(await times(server, brand), key=str) == [49] + [None] * (denials.MOST_OF_ONE + 1)


async def test_the_number_of_kinds_is_limited(
    server: Server, brand: ActiveBrand, noted: Denials, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    monkeypatch.setattr(denials, "MOST_KINDS", 10)
    monkeypatch.setattr(denials, "MOST_WAITING", 5)
    for _ in range(50):
        noted.note(key(server, brand), "userList", ADMIN)
    assert (len(noted._kinds), len(noted._waiting), noted._lost) == (10, 5, 45)
    await noted.written()
    for _ in range(2):
        clock.advance(minutes=1)
        noted.count()
    assert (len(noted._kinds), len(noted._of_actor), noted._lost) == (0, 0, 0)
    assert await times(server, brand) == [None] * 5


class Unwilling:
    """A database whose transactions fail, or never end."""

    def __init__(self, db: Database, run: Callable[[], Awaitable[None]]) -> None:
        self._db = db
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def run(self, _work: Callable[[Tx], Awaitable[None]]) -> None:
        await self._run()


async def test_the_request_neither_waits_nor_fails(server: Server, brand: ActiveBrand) -> None:
    async def fail() -> None:
        raise ServiceUnavailable(cause="no database")

    user = await make_user(server, brand)
    token = make_access_token(server, await make_session(server, brand, user.id))
    api = await make_api(server)
    hour_glass = asyncio.Event()
    for run in (fail, hour_glass.wait):
        noted = Denials(Unwilling(server.db, run), server.clock)  # type: ignore[arg-type]
        server.denials = noted
        assert (await api.send("{ userList { data { id } } }", token=token)).code == "FORBIDDEN"
        hour_glass.set()
        await noted.written()


async def test_a_server_writes_its_counts_at_shutdown(tmp_path: Path, clock: ManualClock) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/keystead.db")
    async with open_server(settings, clock=clock) as server:
        brand = await make_brand(server)
        ctx = key(server, brand)
        assert server.denials is not None
        for _ in range(2):
            server.denials.note(ctx, "userList", ADMIN)
    async with open_server(settings, clock=clock) as server:
        assert sorted(await times(server, brand), key=str) == [1, None]


async def test_allowed_operations_are_not_recorded(server: Server, brand: ActiveBrand, noted: Denials) -> None:
    user = await make_user(server, brand, permissions=("admin",))
    token = make_access_token(server, await make_session(server, brand, user.id))
    assert (await (await make_api(server)).send("{ userList { data { id } } }", token=token)).data
    await noted.close()
    assert await recorded(server, brand) == []
