"""The rules of one-time tokens, held by every operation that a mailed link leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from keystead.authentication import email_verification, magic_link, password_change
from keystead.brands import service as brands
from keystead.context import ActiveBrand, Context, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import Secret, SecretKind, generate
from keystead.errors import Forbidden, TokenInvalid
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import KINDS, TokenPurpose, lifetime_end
from tests.authentication.email_changes import set_columns
from tests.authentication.observed import events, visitor
from tests.clocks import ManualClock
from tests.make import change_brand, make_brand, make_context, make_user
from tests.races.conftest import outcome

pytestmark = pytest.mark.brand(features={"magic_login": True, "email_verification": False})

ADDRESS = email_addresses.parse("ann@example.com")
NEW_PASSWORD = "a fresh secret sentence"


class Operation(NamedTuple):
    purpose: TokenPurpose
    use: Callable[[Context, Secret | None], Awaitable[Any]]
    features: tuple[str, ...] = ()

    @property
    def kind(self) -> SecretKind:
        return KINDS[self.purpose]


OPERATIONS = {
    "verify": Operation(TokenPurpose.verify, email_verification.verify_email),
    "redeem": Operation(TokenPurpose.login, lambda ctx, secret: magic_link.redeem(ctx, secret, None), ("magic_login",)),
    "redeem change": Operation(
        TokenPurpose.claim, lambda ctx, secret: magic_link.redeem(ctx, secret, None), ("magic_login",)
    ),
    "redeem handed over": Operation(
        TokenPurpose.handed_over, lambda ctx, secret: magic_link.redeem(ctx, secret, None), ("magic_login",)
    ),
    "hand over": Operation(TokenPurpose.login, magic_link.hand_over, ("magic_login",)),
    "reset": Operation(
        TokenPurpose.reset,
        lambda ctx, secret: password_change.reset_password(ctx, secret, NEW_PASSWORD),
        ("password_reset", "password_login"),
    ),
}


@pytest.fixture(params=list(OPERATIONS))
def operation(request: pytest.FixtureRequest) -> Operation:
    return OPERATIONS[request.param]


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """A user whose login address is not verified: every kind of link does something for her."""
    return await make_user(server, brand, is_verified=False)


async def issue(server: Server, user: User, brand: ActiveBrand, purpose: TokenPurpose) -> Secret:
    secret = generate(KINDS[purpose])
    async with server.db.transaction() as tx:
        assert await tokens.issue(tx, brand.id, user.id, purpose, ADDRESS, secret, server.clock.now())
    return secret


async def is_valid(server: Server, secret: Secret) -> bool:
    return await tokens.is_valid(server.db.reads, secret, server.clock.now())


@pytest.mark.attack("A55")
@pytest.mark.attack("A58")
async def test_a_link_works_until_it_expires_and_for_one_of_ten_concurrent_callers(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock, operation: Operation
) -> None:
    secret, end = await issue(server, ann, brand, operation.purpose), lifetime_end(operation.purpose, clock.now())
    clock.advance(seconds=(end - clock.now()).total_seconds())
    with pytest.raises(TokenInvalid):
        await operation.use(visitor(server), secret)
    clock.advance(seconds=-1)
    results = await asyncio.gather(*(outcome(operation.use(visitor(server), secret)) for _ in range(10)))
    assert sum(isinstance(result, TokenInvalid) for result in results) == 9
    assert not any(isinstance(result, Exception) and not isinstance(result, TokenInvalid) for result in results)
    with pytest.raises(TokenInvalid):
        await operation.use(visitor(server), secret)


@pytest.mark.attack("A59")
async def test_only_the_newest_link_works(server: Server, brand: ActiveBrand, ann: User, operation: Operation) -> None:
    older, newer = [await issue(server, ann, brand, operation.purpose) for _ in range(2)]
    with pytest.raises(TokenInvalid):
        await operation.use(visitor(server), older)
    await operation.use(visitor(server), newer)


@pytest.mark.attack("A56")
async def test_every_other_secret_is_rejected_and_stays_valid(
    server: Server, brand: ActiveBrand, ann: User, operation: Operation
) -> None:
    others = [await issue(server, ann, brand, purpose) for purpose in TokenPurpose if KINDS[purpose] != operation.kind]
    made_up = [generate(kind) for kind in SecretKind]
    text = others[0].reveal()
    malformed = [text[:-1], text[:-1] + "é", "", "x", "\0", operation.kind.prefix + text[6:], "x" * 1_000_000]
    for secret in [*others, *made_up, *(secrets.parse(raw) for raw in malformed)]:
        with pytest.raises(TokenInvalid):
            await operation.use(visitor(server), secret)
    assert all([await is_valid(server, secret) for secret in others])
    assert await events(server, brand, "user.email_proved") == []


async def test_a_token_of_another_brand_is_rejected_and_stays_valid(
    server: Server, brand: ActiveBrand, ann: User, operation: Operation
) -> None:
    off = {feature: False for feature in operation.features if feature != "password_login"}
    others = [await make_brand(server, "other"), await make_brand(server, "without", features=off)]
    secret = await issue(server, ann, brand, operation.purpose)
    for other in others:
        with pytest.raises(TokenInvalid):
            await operation.use(visitor(server, other), secret)
    await operation.use(visitor(server, brand), secret)


async def test_a_feature_that_is_switched_off_is_named_for_any_token_which_stays_valid(
    server: Server, brand: ActiveBrand, ann: User, operation: Operation
) -> None:
    secret = await issue(server, ann, brand, operation.purpose)
    for feature in operation.features:
        await change_brand(server, brand, {"features": {feature: False}})
        for presented in (secret, generate(operation.kind), None):
            with pytest.raises(Forbidden) as refused:
                await operation.use(visitor(server), presented)
            assert refused.value.extensions["feature"] == feature
        await change_brand(server, brand, {"features": {feature: True}})
    await operation.use(visitor(server), secret)


@pytest.mark.parametrize("ending", ["disabled", "deleted", "brand disabled", "address changed"])
async def test_a_link_of_a_user_who_may_not_use_it_is_rejected(
    server: Server, brand: ActiveBrand, ann: User, operation: Operation, ending: str
) -> None:
    secret, ctx = await issue(server, ann, brand, operation.purpose), make_context(server)
    match ending:
        case "disabled":
            await users.update_user(ctx, brand.id, ann.id, UserChanges(is_disabled=True))
        case "deleted":
            await users.delete_users(ctx, brand.id, [ann.id])
        case "brand disabled":
            await brands.set_disabled(ctx, brand.name, True)
        case _:
            new = dict.fromkeys(("email", "email_canonical", "email_skeleton"), "new@example.com")
            await set_columns(server, ann.id, **new)
            if operation.use is magic_link.hand_over:
                # Whatever was mailed is handed over; the app's token is rejected when it is redeemed.
                secret = await magic_link.hand_over(visitor(server), secret)
                with pytest.raises(TokenInvalid):
                    await magic_link.redeem(visitor(server), secret, None)
                return
    with pytest.raises(TokenInvalid):
        await operation.use(visitor(server), secret)
    assert await events(server, brand, "session.opened") == []
