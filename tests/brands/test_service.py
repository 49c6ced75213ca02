"""Brands and their tokens on a real database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keystead.audit import service as audit
from keystead.brands import service
from keystead.context import RESERVED_BRAND_ID, Context, Server
from keystead.crypto.secrets import SecretKind, generate
from keystead.errors import BadUserInput, Conflict, NotFound
from keystead.pagination import PageRequest
from keystead.policy import Features, Preset
from tests.clocks import ManualClock
from tests.make import make_brand, make_brand_token, make_context


@pytest.fixture
def ctx(server: Server) -> Context:
    return make_context(server)


async def events(ctx: Context, brand_id: str) -> list[str]:
    page = await audit.list_events(ctx, brand_id, PageRequest())
    return sorted(event.event for event in page.items)


async def test_a_brand_can_be_found_by_id_and_by_name(ctx: Context) -> None:
    made = await service.create_brand(ctx, "rainbowMakers")
    reads = ctx.db.reads
    assert await service.find_active_by_name(reads, made.id) == made.active()
    assert await service.find_active_by_name(reads, "rainbowMakers") == made.active()
    assert await service.find_active_by_name(reads, made.id) == made.active()
    assert await service.get_brand(ctx, made.id) == made
    assert await service.get_brand_by_name(ctx, "rainbowMakers") == made
    assert (made.preset, made.features, made.schema_version) == (Preset.both, Features(), 1)
    assert await events(ctx, made.id) == ["brand.created"]


@pytest.mark.parametrize("name", ["", "a\0", "\ud800", "a" * 49, "none' OR 1=1 --", "n\u00f6"])
async def test_what_can_be_no_name_is_an_unknown_brand(ctx: Context, name: str) -> None:
    assert await service.find_active_by_name(ctx.db.reads, name) is None
    assert await service.default_brand(ctx.db.reads, name) is None
    with pytest.raises(NotFound):
        await service.issue_token(ctx, name)


async def test_an_unknown_brand_is_not_found(ctx: Context) -> None:
    assert await service.find_active_by_name(ctx.db.reads, RESERVED_BRAND_ID[:-1] + "1") is None
    assert await service.find_active_by_name(ctx.db.reads, "unknown") is None
    with pytest.raises(NotFound):
        await service.get_brand(ctx, "unknown")


@pytest.mark.parametrize("name", ["a", "rainbowMakers", "A-1_b", "x" * 48])
async def test_a_name_that_fits(ctx: Context, name: str) -> None:
    assert (await service.create_brand(ctx, name)).name == name


@pytest.mark.parametrize(
    "name", ["", "1a", "_a", "-a", "a b", "a.b", "a\n", "é", "x" * 49, "ａ", "keystead", "Keystead", "KEYSTEAD"]
)
async def test_a_name_that_does_not_fit(ctx: Context, name: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        await service.create_brand(ctx, name)
    assert refused.value.extensions == {"field": "name"}


async def test_a_name_is_given_once(ctx: Context) -> None:
    await service.create_brand(ctx, "rainbowMakers")
    with pytest.raises(Conflict) as refused:
        await service.create_brand(ctx, "rainbowMakers")
    assert refused.value.extensions == {"field": "name"}
    assert (await service.create_brand(ctx, "rainbowmakers")).name == "rainbowmakers"


async def test_of_two_concurrent_brands_of_a_name_one_is_created(ctx: Context) -> None:
    results = await asyncio.gather(*(service.create_brand(ctx, "same") for _ in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Brand", "Conflict", "Conflict", "Conflict"]


@pytest.mark.parametrize(("preset", "anonymous"), [("pair", False), ("standing", True), ("both", True), (None, True)])
async def test_a_preset_says_which_features_a_brand_begins_with(
    ctx: Context, preset: str | None, anonymous: bool
) -> None:
    made = await service.create_brand(ctx, "b", preset)
    assert (made.preset, made.features) == (preset or "both", Features(anonymous_users=anonymous))


async def test_a_brand_begins_with_the_choices_it_is_given(ctx: Context) -> None:
    made = await service.create_brand(
        ctx, "b", "pair", {"magic_login": True}, {"grace": 0, "default_permissions": ["read"]}
    )
    kept = await service.get_brand(ctx, made.id)
    assert (kept.features.magic_login, kept.policy.grace) == (True, 0)
    assert kept.policy.default_permissions == ("read",)


@pytest.mark.parametrize(
    ("choices", "field"),
    [
        ({"preset": "triple"}, "preset"),
        ({"features": {"teleport": True}}, "features.teleport"),
        ({"features": {"magic_login": "yes"}}, "features.magic_login"),
        ({"features": ["magic_login"]}, "features"),
        ({"policy": {"access_ttl": 3601}}, "policy.access_ttl"),
        ({"policy": {"default_permissions": ["operator"]}}, "policy.default_permissions"),
    ],
)
async def test_a_bad_choice_makes_no_brand(ctx: Context, choices: dict[str, Any], field: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        await service.create_brand(ctx, "b", **choices)
    assert refused.value.extensions == {"field": field}
    assert await service.find_active_by_name(ctx.db.reads, "b") is None


async def test_what_is_changed_is_kept_and_the_rest_stays(ctx: Context, clock: ManualClock) -> None:
    made = await service.create_brand(ctx, "b", None, {"magic_login": True}, {"grace": 5})
    clock.advance(seconds=1)
    changes = {
        "features": {"password_reset": False},
        "policy": {"access_ttl": 600},
        "base_url": "https://login.example.com/",
        "redirect_urls": ["https://app.example.com/a?b=1", "http://localhost:3000/"],
    }
    changed = await service.update_brand(ctx, made.id, changes)
    assert await service.get_brand(ctx, made.id) == changed
    assert changed.features == Features(magic_login=True, password_reset=False)
    assert (changed.policy.access_ttl, changed.policy.grace) == (600, 5)
    assert changed.base_url == "https://login.example.com"
    assert changed.redirect_urls == ("https://app.example.com/a?b=1", "http://localhost:3000/")
    assert changed.updated_at > made.updated_at
    cleared = await service.update_brand(
        ctx, made.id, {"base_url": None, "redirect_urls": None, "features": None, "policy": None}
    )
    assert (cleared.base_url, cleared.redirect_urls, cleared.features) == (None, (), changed.features)
    assert await events(ctx, made.id) == ["brand.created", "brand.updated", "brand.updated"]
    recorded = (await audit.list_events(ctx, made.id, PageRequest())).items
    assert {"changed": changes} in [event.details for event in recorded]


async def test_concurrent_changes_are_all_kept(ctx: Context) -> None:
    made = await service.create_brand(ctx, "b")
    names = Features.__struct_fields__
    await asyncio.gather(*(service.update_brand(ctx, made.id, {"features": {name: False}}) for name in names))
    kept = (await service.get_brand(ctx, made.id)).features
    assert [getattr(kept, name) for name in names] == [False] * len(names)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "other"}, "name"),
        ({"preset": "pair"}, "preset"),
        ({"features": {"nope": True}}, "features.nope"),
        ({"policy": {"grace": "10"}}, "policy.grace"),
        ({"base_url": "javascript:alert(1)"}, "base_url"),
        ({"base_url": "https://a.example/?x"}, "base_url"),
        ({"base_url": "https://a.example/#"}, "base_url"),
        ({"base_url": "//a.example"}, "base_url"),
        ({"base_url": ""}, "base_url"),
        ({"base_url": 7}, "base_url"),
        ({"redirect_urls": ["https://good.example@evil.example/"]}, "redirect_urls"),
        ({"redirect_urls": ["https://good.example\\@evil.example/"]}, "redirect_urls"),
        ({"redirect_urls": ["https://a.example/\n"]}, "redirect_urls"),
        ({"redirect_urls": ["https://a.example:99999/"]}, "redirect_urls"),
        ({"redirect_urls": ["https://[::1"]}, "redirect_urls"),
        ({"redirect_urls": ["https:///path"]}, "redirect_urls"),
        ({"redirect_urls": ["https://bücher.example/"]}, "redirect_urls"),
        ({"redirect_urls": ["https://a.example/#f"]}, "redirect_urls"),
        ({"redirect_urls": ["https://a.example/" + "x" * 2048]}, "redirect_urls"),
        ({"redirect_urls": ["https://a.example/"] * 51}, "redirect_urls"),
        ({"redirect_urls": "https://a.example/"}, "redirect_urls"),
    ],
)
async def test_a_bad_change_changes_nothing(ctx: Context, changes: dict[str, Any], field: str) -> None:
    made = await service.create_brand(ctx, "b")
    with pytest.raises(BadUserInput) as refused:
        await service.update_brand(ctx, made.id, {"features": {"magic_login": True}} | changes)
    assert refused.value.extensions == {"field": field}
    assert await service.get_brand(ctx, made.id) == made


async def test_the_operators_brand_is_there_and_stays_closed_to_strangers(ctx: Context, clock: ManualClock) -> None:
    async with ctx.db.transaction() as tx:
        await service.ensure_reserved(tx, clock.advance(days=1))
    reserved = await service.get_brand_by_name(ctx, "keystead")
    assert (reserved.id, reserved.preset, reserved.features.anonymous_users) == (RESERVED_BRAND_ID, "both", False)
    with pytest.raises(BadUserInput):
        await service.update_brand(ctx, reserved.id, {"features": {"anonymous_users": True}})
    with pytest.raises(BadUserInput):
        await service.set_disabled(ctx, "keystead", True)
    changed = await service.update_brand(ctx, reserved.id, {"policy": {"max_sessions": 5}})
    assert changed.policy.max_sessions == 5


async def test_brands_are_listed_by_page(ctx: Context, clock: ManualClock) -> None:
    for name in ("one", "two", "three"):
        clock.advance(seconds=1)
        await service.create_brand(ctx, name)
    page = await service.list_brands(ctx, PageRequest(1, 3), with_total=True)
    assert [brand.name for brand in page.items] == ["keystead", "one", "two"]
    assert (page.total, page.has_more_pages) == (4, True)
    page = await service.list_brands(ctx, PageRequest(2, 3))
    assert ([brand.name for brand in page.items], page.total) == (["three"], None)


async def test_a_disabled_brand_is_not_found_until_it_is_enabled(server: Server, ctx: Context) -> None:
    brand = await make_brand(server)
    token = await make_brand_token(server, brand)
    assert (await service.set_disabled(ctx, brand.name, True)).is_disabled
    reads = ctx.db.reads
    assert await service.find_active_by_name(reads, brand.id) is None
    assert await service.find_active_by_name(reads, brand.name) is None
    assert await service.find_by_token(reads, token) is None
    assert await service.default_brand(reads, brand.name) is None
    assert await service.default_brand(reads, None) is None
    assert (await service.get_brand(ctx, brand.id)).is_disabled
    await service.set_disabled(ctx, brand.name, False)
    assert await service.find_by_token(reads, token) is not None
    await service.set_disabled(ctx, brand.name, False)
    assert await events(ctx, brand.id) == ["brand.created", "brand.disabled", "brand.enabled", "brand_token.issued"]


async def test_the_default_brand_is_the_configured_one_else_the_only_one(server: Server, ctx: Context) -> None:
    reads = ctx.db.reads
    assert await service.default_brand(reads, None) is None
    one = await make_brand(server, "one")
    assert await service.default_brand(reads, None) == one
    two = await make_brand(server, "two")
    assert await service.default_brand(reads, None) is None
    assert await service.default_brand(reads, "two") == two
    assert await service.default_brand(reads, "three") is None


async def test_a_brand_token_leads_to_its_brand(server: Server, ctx: Context) -> None:
    brand, other = await make_brand(server, "one"), await make_brand(server, "two")
    name, secret = await service.issue_token(ctx, brand.id)
    assert (name, secret.kind) == ("one", SecretKind.brand_token)
    found = await service.find_by_token(ctx.db.reads, secret)
    assert found is not None
    assert found[1] == brand
    theirs = await service.find_by_token(ctx.db.reads, await make_brand_token(server, other))
    assert theirs is not None
    assert theirs[1] == other
    assert await service.find_by_token(ctx.db.reads, generate(SecretKind.brand_token)) is None
    with pytest.raises(NotFound):
        await service.issue_token(ctx, "unknown")


async def test_the_other_tokens_live_on_unless_they_are_revoked(server: Server, ctx: Context) -> None:
    brand, other = await make_brand(server, "one"), await make_brand(server, "two")
    theirs = await make_brand_token(server, other)
    first, second = await make_brand_token(server, brand), await make_brand_token(server, brand)
    assert await service.find_by_token(ctx.db.reads, first) is not None
    _, third = await service.issue_token(ctx, "one", revoke_others=True)
    found = [await service.find_by_token(ctx.db.reads, token) for token in (first, second, third, theirs)]
    assert [one is not None for one in found] == [False, False, True, True]
    assert (await events(ctx, brand.id)).count("brand_token.revoked") == 2


async def test_of_concurrent_revocations_of_other_tokens_one_token_is_left(server: Server, ctx: Context) -> None:
    brand = await make_brand(server)
    issued = await asyncio.gather(*(service.issue_token(ctx, brand.name, revoke_others=True) for _ in range(4)))
    found = [await service.find_by_token(ctx.db.reads, secret) for _, secret in issued]
    assert sum(one is not None for one in found) == 1


async def test_a_change_of_the_schema_is_counted(server: Server, ctx: Context) -> None:
    brand = await make_brand(server)
    async with ctx.db.transaction() as tx:
        assert [await service.bump_schema_version(tx, brand.id) for _ in range(2)] == [2, 3]
    found = await service.find_active_by_name(ctx.db.reads, brand.id)
    assert found is not None
    assert found.schema_version == 3
