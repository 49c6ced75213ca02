"""Audit events: what they say, that they are written with the change, and who sees them."""

from __future__ import annotations

import ast
from datetime import UTC, datetime

import pytest

from keystead.audit import service
from keystead.audit.model import EVENTS
from keystead.context import (
    RESERVED_BRAND_ID,
    Anonymous,
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Principal,
    Profile,
    RequestDetails,
    Server,
    System,
    UserPrincipal,
)
from keystead.pagination import PageRequest
from keystead.permissions import NOTHING, PermissionSet
from keystead.policy import SessionKind
from tests.clocks import ManualClock
from tests.house_rules.source import modules
from tests.make import make_brand, make_context

_PROFILE = Profile(
    email=None,
    username=None,
    is_verified=False,
    is_anonymous=True,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    updated_at=datetime(2026, 1, 1, tzinfo=UTC),
    last_login_at=None,
    roles=(),
    granted=NOTHING,
)
_USER = UserPrincipal("b", "user-1", "session-1", SessionKind.pair, NOTHING, _PROFILE, key_id="key-1")
_KEY = ApiKeyPrincipal("b", "key-2", PermissionSet(["read"]), is_publishable=False)


@pytest.mark.parametrize(
    ("principal", "kind", "actor", "session", "key"),
    [
        (_USER, "user", "user-1", "session-1", "key-1"),
        (_KEY, "api_key", "key-2", None, "key-2"),
        (BrandTokenPrincipal("b", "token-1"), "brand_token", "token-1", None, None),
        (System(), "system", None, None, None),
        (Anonymous(), "anonymous", None, None, None),
    ],
)
async def test_an_event_says_who_acted_and_with_what(
    server: Server, principal: Principal, kind: str, actor: str | None, session: str | None, key: str | None
) -> None:
    event = service.describe(make_context(server, principal=principal), "brand.updated")
    assert (event.actor_kind, event.actor_id, event.session_id, event.key_id) == (kind, actor, session, key)


async def test_an_event_names_its_brand_or_the_installation(server: Server) -> None:
    brand = await make_brand(server)
    here = make_context(server, brand)
    assert service.describe(here, "user.created").brand_id == brand.id
    assert service.describe(here, "key.rotated", brand_id=RESERVED_BRAND_ID).brand_id == RESERVED_BRAND_ID
    assert service.describe(make_context(server), "key.rotated").brand_id == RESERVED_BRAND_ID


async def test_what_was_recorded_is_listed_the_newest_first(server: Server, clock: ManualClock) -> None:
    brand = await make_brand(server)
    ctx = make_context(server, brand)
    clock.advance(seconds=1)
    first = service.describe(
        ctx, "login.refused", outcome="refused", reason="wrong_password", subject_id="u", details={"n": [1, "é"]}
    )
    clock.advance(seconds=1)
    second = service.describe(ctx, "user.created")
    async with server.db.transaction() as tx:
        await service.record(tx, first)
        await service.record(tx, second)
    page = await service.list_events(ctx, brand.id, PageRequest(1, 2), with_total=True)
    assert list(page.items) == [second, first]
    assert page.pagination() == {
        "current_page": 1,
        "per_page": 2,
        "total": 3,
        "last_page": 2,
        "has_more_pages": True,
    }
    rest = await service.list_events(ctx, brand.id, PageRequest(2, 2))
    assert ([event.event for event in rest.items], rest.total) == (["brand.created"], None)


async def test_an_event_is_undone_with_its_change(server: Server) -> None:
    ctx = make_context(server)

    async def change_that_fails() -> None:
        async with server.db.transaction() as tx:
            await service.record(tx, service.describe(ctx, "user.created"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await change_that_fails()
    assert (await service.list_events(ctx, RESERVED_BRAND_ID, PageRequest())).items == []


async def test_an_unknown_event_is_a_mistake_of_ours(server: Server) -> None:
    event = service.describe(make_context(server), "user.teleported")
    with pytest.raises(ValueError, match=r"user\.teleported"):
        await service.record_alone(make_context(server), event)


async def test_a_hostile_user_agent_is_tamed(server: Server) -> None:
    ctx = make_context(server, request=RequestDetails("r", user_agent="a\r\nb\x00\x1b[31m\ud800" + "x" * 500))
    event = service.describe(ctx, "user.created")
    assert event.user_agent is not None
    assert (event.user_agent[:12], len(event.user_agent)) == ("a��b��[31m�x", 200)
    await service.record_alone(ctx, event)
    assert (await service.list_events(ctx, RESERVED_BRAND_ID, PageRequest())).items == [event]


def test_the_code_uses_only_events_that_are_listed() -> None:
    used = {
        argument.value
        for module in modules("src")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "describe"
        for argument in node.args[1:2]
        if isinstance(argument, ast.Constant)
    }
    assert used - EVENTS.keys() == set()
    assert len(used) > 3
