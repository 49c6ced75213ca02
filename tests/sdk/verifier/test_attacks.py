"""A01-A11 again: what is forged for the server's door is tried on a verifier's, with the same tokens."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand
from keystead.db.interface import Database
from keystead_client.errors import TokenInvalid
from keystead_client.verify import Verifier
from tests.attacks import test_access_token_claims as claims
from tests.attacks import test_access_token_forgery as forgeries
from tests.attacks.forging import Forge
from tests.attacks.operations import ME, assert_token_refused
from tests.attacks.test_access_token_fuzz import mutated
from tests.attacks.watched import WatchedDatabase
from tests.sdk.verifier.conftest import Make
from tests.sdk.verifier.passage import Door, InProcess


@pytest.fixture
async def door(make: Make, forge: Forge) -> Door:
    """An offline verifier's. Whatever is refused below is refused for what was changed in it."""
    door = Door(make())
    assert (await door.send(ME, token=forge.good)).data
    return door


@pytest.fixture
def watched(db: Database) -> WatchedDatabase:
    """What the attacks ask to have been left alone."""
    return WatchedDatabase(db)


@pytest.mark.attack("A01")
async def test_unsigned_tokens_are_refused(door: Door, forge: Forge) -> None:
    """No "none"."""
    await forgeries.test_unsigned_tokens_are_refused(door, forge)


@pytest.mark.attack("A02")
async def test_the_public_key_is_no_hmac_secret(door: Door, forge: Forge) -> None:
    """It is even the verifier's only one."""
    await forgeries.test_the_public_key_is_no_hmac_secret(door, forge)


@pytest.mark.attack("A03")
async def test_the_keys_of_others_sign_nothing(door: Door, forge: Forge) -> None:
    """Whatever the header says."""
    await forgeries.test_the_keys_of_others_sign_nothing(door, forge)


@pytest.mark.attack("A04")
async def test_header_extensions_are_refused(door: Door, forge: Forge) -> None:
    """Even under the issuer's own signature."""
    await forgeries.test_header_extensions_are_refused_even_under_our_signature(door, forge)


@pytest.mark.attack("A05")
async def test_keys_that_a_token_brings_along_are_neither_believed_nor_fetched(
    door: Door, forge: Forge, issuer: InProcess, watched: WatchedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one address that is ever asked is the issuer's."""
    await forgeries.test_keys_that_a_token_brings_along_are_neither_believed_nor_fetched(
        door, forge, watched, monkeypatch
    )
    assert {str(request.url) for request in issuer.asked} == {"https://auth.example.com/.well-known/jwks.json"}


@pytest.mark.attack("A06")
async def test_a_hostile_kid_is_looked_up_nowhere(
    door: Door, forge: Forge, issuer: InProcess, watched: WatchedDatabase
) -> None:
    """The clock stands still: not even the issuer is asked again."""
    await claims.test_a_hostile_kid_is_looked_up_nowhere(door, forge, watched)
    assert len(issuer.asked) == 1


@pytest.mark.attack("A07")
async def test_only_our_type_is_an_access_token(door: Door, forge: Forge) -> None:
    """One way to write it."""
    await forgeries.test_only_our_type_is_an_access_token(door, forge)


@pytest.mark.attack("A08")
async def test_every_claim_must_be_there_and_none_beside_them(door: Door, forge: Forge) -> None:
    """Each once."""
    await claims.test_every_claim_must_be_there_and_none_beside_them(door, forge)


@pytest.mark.attack("A08")
async def test_another_issuer_is_not_ours(door: Door, forge: Forge) -> None:
    """Letter for letter."""
    await claims.test_another_issuer_is_not_ours(door, forge)


@pytest.mark.attack("A09")
@pytest.mark.parametrize("name", ["exp", "iat"])
async def test_times_are_whole_numbers(door: Door, forge: Forge, name: str) -> None:
    """Of the type int, and of a size that is a time."""
    await claims.test_times_are_whole_numbers(door, forge, name)


@pytest.mark.attack("A09")
async def test_a_token_lives_after_it_was_issued(make: Make, forge: Forge) -> None:
    """Expiry follows issue; without leeway, which would forgive nine seconds."""
    await claims.test_a_token_lives_after_it_was_issued(Door(make(leeway=0)), forge)


@pytest.mark.attack("A10")
async def test_the_audience_is_one_brand(
    door: Door, forge: Forge, brand: ActiveBrand, other_brand: ActiveBrand
) -> None:
    """And it is the verifier's."""
    await claims.test_the_audience_is_one_brand(door, forge, brand, other_brand)


@pytest.mark.attack("A11")
async def test_a_token_has_one_spelling(door: Door, forge: Forge) -> None:
    """RFC 4648 §3.5."""
    await forgeries.test_a_token_has_one_spelling(door, forge)


@pytest.mark.attack("A12")
async def test_mutations_are_refused(verifier: Verifier, forge: Forge) -> None:
    """A bit, a letter, a stretch of it: each is another token, and none makes the check raise anything else."""
    good = forge.good
    await verifier.verify_async(good)
    for seed in range(2000):
        with pytest.raises(TokenInvalid):
            await verifier.verify_async(mutated(good, seed))
    await verifier.verify_async(good)


@pytest.mark.attack("A13")
async def test_a_token_of_any_length_is_refused_by_its_length(verifier: Verifier, forge: Forge) -> None:
    """Beyond 2048 characters it is not looked at; nor is what is no text."""
    door = Door(verifier)
    for token in (forge.with_payload(jti="j" * 2000), "a." * 1024 + "a", "A" * 10_000_000, "\ud800" * 50, "é.é.é"):
        assert_token_refused(await door.send(ME, token=token), token[:40])
    for nothing in (None, b"a.b.c", 1, [forge.good]):
        with pytest.raises(TokenInvalid):
            verifier.verify(nothing)  # type: ignore[arg-type]
