"""Logging in: both contracts, and one answer for every failure."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.authentication import login
from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind, parse
from keystead.errors import BadUserInput, Forbidden, InvalidCredentials
from keystead.policy import SessionKind
from keystead.sessions import access_tokens
from keystead.users import login_store, passwords
from keystead.users import service as users
from keystead.users.model import User, UserChanges
from tests.authentication.observed import events, visitor
from tests.clocks import ManualClock
from tests.make import PASSWORD, change_brand, make_brand, make_context, make_user

EMAIL = "ann@example.com"


async def log_in(server: Server, brand: ActiveBrand, email: str = EMAIL, password: str = PASSWORD) -> None:
    await login.log_in_pair(visitor(server), brand, email, password)


async def test_a_pair_is_an_access_token_and_a_refresh_token(server: Server, brand: ActiveBrand, ann: User) -> None:
    pair = await login.log_in_pair(visitor(server), brand, EMAIL, PASSWORD)
    claims = access_tokens.verify(server, pair.auth_token, server.clock.now())
    assert claims is not None
    assert (claims.user_id, claims.brand_id) == (ann.id, brand.id)
    assert claims.expires_at - claims.issued_at == 3600
    assert parse(pair.refresh_token, SecretKind.refresh)
    (event,) = await events(server, brand, "session.opened")
    assert (event.subject_id, event.session_id, event.details) == (ann.id, claims.session_id, {"kind": "pair"})
    user = await users.get_user(make_context(server), brand.id, ann.id)
    assert user.profile.last_login_at == server.clock.now()


async def test_a_standing_login_is_a_refresh_token(server: Server, brand: ActiveBrand, ann: User) -> None:
    raw = await login.log_in_standing(visitor(server), brand, EMAIL, PASSWORD)
    assert parse(raw, SecretKind.refresh)
    (event,) = await events(server, brand, "session.opened")
    assert event.details == {"kind": "standing"}


@pytest.mark.attack("A38")
@pytest.mark.parametrize("email", ["ANN@example.com", "ann@EXAMPLE.COM", "Ann@Example.Com"])
async def test_the_spelling_of_the_address_does_not_matter(
    server: Server, brand: ActiveBrand, ann: User, email: str
) -> None:
    await log_in(server, brand, email)


async def test_the_audit_log_has_the_reason_of_every_rejection(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    disabled = await make_user(server, brand, "disabled@example.com", password=PASSWORD)
    await users.update_user(make_context(server), brand.id, disabled.id, UserChanges(is_disabled=True))
    await make_user(server, brand, "none@example.com")
    await make_user(server, brand, "pending@example.com", password=PASSWORD, is_verified=False)
    cases = {
        EMAIL: ("wrong password", "wrong_password"),
        "unknown@example.com": (PASSWORD, "unknown_address"),
        "disabled@example.com": (PASSWORD, "disabled"),
        "none@example.com": (PASSWORD, "no_password"),
        "pending@example.com": (PASSWORD, "unknown_address"),
    }
    for email, (password, _) in cases.items():
        with pytest.raises(InvalidCredentials):
            await log_in(server, brand, email, password)
        clock.advance(seconds=1)
    recorded = await events(server, brand, "login.refused")
    assert [event.reason for event in reversed(recorded)] == [reason for _, reason in cases.values()]


async def test_the_log_holds_pseudonyms_of_addresses_only(server: Server, brand: ActiveBrand, ann: User) -> None:
    other = await make_brand(server, "other")
    for where, email in ((brand, EMAIL), (brand, "ANN@example.com"), (brand, "bob@example.com"), (other, EMAIL)):
        with pytest.raises(InvalidCredentials):
            await log_in(server, where, email, "wrong password")
    recorded = await events(server, brand, "login.refused") + await events(server, other, "login.refused")
    assert "example" not in str(recorded)
    names = [event.details["address"] for event in recorded if event.details]
    assert len(names) == 4
    assert len(set(names)) == 3


@pytest.mark.attack("A42")
@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        (EMAIL, "x" * 257, "password"),
        ("not an address", PASSWORD, "email"),
        ("ann@example.com, bob@example.com", PASSWORD, "email"),
        ("ann@example.com\r\nBcc: bob@example.com", PASSWORD, "email"),
    ],
)
async def test_invalid_input_is_rejected_before_hashing(
    server: Server, brand: ActiveBrand, ann: User, email: str, password: str, field: str
) -> None:
    hashed = server.passwords.load.begun
    with pytest.raises(BadUserInput) as refused:
        await log_in(server, brand, email, password)
    assert refused.value.extensions["field"] == field
    assert server.passwords.load.begun == hashed


@pytest.mark.parametrize(
    ("choices", "kind", "feature"),
    [
        ({"preset": "pair"}, SessionKind.standing, "standing"),
        ({"preset": "standing"}, SessionKind.pair, "pair"),
        ({"features": {"password_login": False}}, SessionKind.pair, "password_login"),
        ({"features": {"password_login": False}}, SessionKind.standing, "password_login"),
    ],
)
async def test_a_feature_that_the_brand_lacks_is_forbidden(
    server: Server, choices: dict[str, Any], kind: SessionKind, feature: str
) -> None:
    brand = await make_brand(server, "strict", **choices)
    log_in_by = login.log_in_pair if kind is SessionKind.pair else login.log_in_standing
    hashed = server.passwords.load.begun
    with pytest.raises(Forbidden) as refused:
        await log_in_by(visitor(server), brand, EMAIL, PASSWORD)
    assert server.passwords.load.begun == hashed
    assert refused.value.extensions["feature"] == feature


@pytest.mark.parametrize("new", ["another password", PASSWORD], ids=["changed", "rehashed"])
async def test_a_login_with_a_concurrently_changed_password_is_rejected_and_with_a_rehash_accepted(
    server: Server, brand: ActiveBrand, ann: User, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    """Between the verification and the closing step another request replaces the hash."""
    real, calls = passwords.check_password, 0

    async def overtaken(*arguments: Any, **named: Any) -> bool:
        nonlocal calls
        calls += 1
        is_right = await real(*arguments, **named)
        if calls == 1:
            candidate = await login_store.find_login_of(server.db.reads, brand.id, ann.id)
            assert candidate is not None
            assert candidate.password_hash is not None
            new_hash = await server.passwords.hash(new)
            async with server.db.transaction() as tx:
                await login_store.replace_hash(tx, brand.id, ann.id, candidate.password_hash, new_hash)
        return is_right

    monkeypatch.setattr(passwords, "check_password", overtaken)
    if new == PASSWORD:
        await log_in(server, brand)
    else:
        with pytest.raises(InvalidCredentials):
            await log_in(server, brand)
    assert (calls, len(await events(server, brand, "session.opened"))) == (2, int(new == PASSWORD))


async def test_the_session_that_exceeds_the_limit_is_ended_and_recorded(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    brand = await change_brand(server, brand, {"policy": {"max_sessions": 1}})
    await log_in(server, brand)
    await log_in(server, brand)
    (event,) = await events(server, brand, "session.ended")
    assert (event.reason, event.subject_id) == ("limit", ann.id)
