"""One-time tokens: bound to purpose, user, address and brand; the newest only; used once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from keystead.brands import service as brands
from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import Secret, SecretKind, generate
from keystead.users import email_addresses, login_store
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import KINDS, OneTimeToken, TokenPurpose, lifetime_end
from tests.clocks import ManualClock
from tests.make import change_brand, make_brand, make_context, make_user
from tests.races.conftest import is_blocked

ADDRESS = email_addresses.parse("Ann@Example.com")

PURPOSES = pytest.mark.parametrize("purpose", list(TokenPurpose))


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    return await make_user(server, brand, "Ann@example.com")


async def issue(server: Server, user: User, brand: ActiveBrand, purpose: TokenPurpose) -> Secret:
    """A new token of the user's, bound to ``ADDRESS``."""
    secret = generate(KINDS[purpose])
    async with server.db.transaction() as tx:
        await tokens.issue(tx, brand.id, user.id, purpose, ADDRESS, secret, server.clock.now())
    return secret


async def issue_to_login(
    server: Server, brand: ActiveBrand, email: str, purpose: TokenPurpose = TokenPurpose.login
) -> tuple[OneTimeToken | None, Secret]:
    secret = generate(KINDS[purpose])
    address, now = email_addresses.parse(email), server.clock.now()
    async with server.db.transaction() as tx:
        token = await tokens.issue_to_login(tx, brand.id, address.canonical, purpose, secret, now)
    return token, secret


async def consume(server: Server, brand: ActiveBrand, secret: Secret) -> OneTimeToken | None:
    async with server.db.transaction() as tx:
        return await tokens.consume(tx, brand.id, secret, server.clock.now())


async def is_good(server: Server, secret: Secret) -> bool:
    return await tokens.find(server.db.reads, secret, server.clock.now()) is not None


@PURPOSES
async def test_a_token_is_bound_to_user_address_and_brand(
    server: Server, brand: ActiveBrand, ann: User, purpose: TokenPurpose
) -> None:
    secret, now = await issue(server, ann, brand, purpose), server.clock.now()
    found = await tokens.find(server.db.reads, secret, now)
    assert found is not None
    token, owner = found
    assert owner == brand
    assert token == OneTimeToken(
        brand_id=brand.id,
        user_id=ann.id,
        purpose=purpose,
        email=ADDRESS.display,
        email_canonical=ADDRESS.canonical,
        email_skeleton=ADDRESS.skeleton,
        created_at=now,
        expires_at=lifetime_end(purpose, now),
    )
    assert await consume(server, brand, secret) == token


@pytest.mark.attack("A58")
def test_lifetimes() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert {purpose.value: (lifetime_end(purpose, now) - now).total_seconds() / 60 for purpose in TokenPurpose} == {
        "verify": 24 * 60,
        "claim": 10,
        "login": 10,
        "handed_over": 2,
        "reset": 30,
    }


@pytest.mark.race
async def test_a_change_of_the_user_invalidates_the_token_that_others_wait_for(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    secret = await issue(server, ann, brand, TokenPurpose.login)
    async with server.db.transaction() as tx:
        await login_store.bump_epoch(tx, brand.id, ann.id)
        waiting = asyncio.create_task(consume(server, brand, secret))
        assert await is_blocked(waiting)
        # Neither of the two waits for what the other one holds.
        await tokens.delete_tokens(tx, brand.id, ann.id)
    assert await waiting is None


async def test_a_secret_of_another_kind_is_rejected_for_the_purpose(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    async with server.db.transaction() as tx:
        now = server.clock.now()
        for purpose in TokenPurpose:
            for kind in set(SecretKind) - {KINDS[purpose]}:
                with pytest.raises(ValueError, match="is no"):
                    await tokens.issue(tx, brand.id, ann.id, purpose, ADDRESS, generate(kind), now)


@PURPOSES
async def test_is_valid_until_used_replaced_or_expired(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, purpose: TokenPurpose
) -> None:
    older, newer = [await issue(server, ann, brand, purpose) for _ in range(2)]

    async def ask(*secrets: Secret) -> list[bool]:
        return [await tokens.is_valid(server.db.reads, secret, clock.now()) for secret in secrets]

    assert await ask(older, newer, generate(KINDS[purpose])) == [False, True, False]
    await brands.set_disabled(make_context(server), brand.name, True)
    assert await ask(newer) == [True], "the brand may be enabled again before it runs out"
    await brands.set_disabled(make_context(server), brand.name, False)
    used, late = newer, await issue(server, ann, brand, purpose)
    clock.advance(seconds=(lifetime_end(purpose, clock.now()) - clock.now()).total_seconds())
    assert await ask(used, late) == [False, False]
    last = await issue(server, ann, brand, purpose)
    assert await consume(server, brand, last) is not None
    assert await ask(last) == [False]


async def test_issue_to_login_finds_the_canonical_form_and_keeps_the_stored_one(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    token, secret = await issue_to_login(server, brand, "aNN@EXAMPLE.com")
    assert token is not None
    assert (token.user_id, token.email, token.email_canonical) == (ann.id, "Ann@example.com", "ann@example.com")
    assert await consume(server, brand, secret) == token


@pytest.mark.attack("A53")
async def test_no_other_address_gets_a_token(server: Server, brand: ActiveBrand, ann: User) -> None:
    await make_user(server, brand, "waiting@example.com", is_verified=False)
    disabled = await make_user(server, brand, "disabled@example.com")
    await users.update_user(make_context(server), brand.id, disabled.id, UserChanges(is_disabled=True))
    other = await make_brand(server, "other")
    await make_user(server, other, "theirs@example.com")
    # The last one is a look-alike of ann's: mail to it would go to a stranger.
    for email in ("unknown", "waiting", "disabled", "theirs", "\uff41nn"):
        token, secret = await issue_to_login(server, brand, f"{email}@example.com")
        assert token is None
        assert not await is_good(server, secret)


async def test_delete_tokens_of_a_user(server: Server, brand: ActiveBrand, ann: User) -> None:
    bob = await make_user(server, brand, "bob@example.com")
    theirs = await issue(server, bob, brand, TokenPurpose.verify)
    verify, login, reset = [
        await issue(server, ann, brand, purpose)
        for purpose in (TokenPurpose.verify, TokenPurpose.login, TokenPurpose.reset)
    ]
    async with server.db.transaction() as tx:
        await tokens.delete_tokens(tx, brand.id, ann.id, [TokenPurpose.verify, TokenPurpose.claim])
    assert [await is_good(server, secret) for secret in (verify, login, reset)] == [False, True, True]
    async with server.db.transaction() as tx:
        await tokens.delete_tokens(tx, brand.id, ann.id)
    assert [await is_good(server, secret) for secret in (verify, login, reset)] == [False, False, False]
    assert await is_good(server, theirs)


async def test_delete_competing_tokens_for_an_address(server: Server, brand: ActiveBrand, ann: User) -> None:
    bob, other = await make_user(server, brand, "bob@example.com"), await make_brand(server, "other")
    elsewhere = await issue(server, await make_user(server, other), other, TokenPurpose.verify)
    own, competing = [await issue(server, user, brand, TokenPurpose.verify) for user in (ann, bob)]
    _, unrelated = await issue_to_login(server, brand, "bob@example.com")
    async with server.db.transaction() as tx:
        await tokens.delete_competing(tx, brand.id, ann.id, ADDRESS.skeleton)
    good = [await is_good(server, secret) for secret in (own, competing, unrelated, elsewhere)]
    assert good == [True, False, True, True]


async def test_the_sweep_deletes_expired_tokens_in_batches(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    other = await make_brand(server, "other")
    bob = await make_user(server, other, "bob@example.com")
    for brand_of, user in ((brand, ann), (other, bob)):
        await issue(server, user, brand_of, TokenPurpose.login)
    lasting = await issue(server, ann, brand, TokenPurpose.verify)
    swept = []
    for minutes in (0, 11):
        clock.advance(minutes=minutes)
        for _ in range(3):
            async with server.db.transaction() as tx:
                swept.append(await tokens.sweep(tx, clock.now(), 1))
    assert swept == [0, 0, 0, 1, 1, 0]
    assert await is_good(server, lasting)


async def test_the_features_of_the_brand_come_as_they_are_now(server: Server, brand: ActiveBrand, ann: User) -> None:
    secret = await issue(server, ann, brand, TokenPurpose.login)
    await change_brand(server, brand, {"features": {"magic_login": True}})
    found = await tokens.find(server.db.reads, secret, server.clock.now())
    assert found is not None
    assert found[1].features.magic_login
