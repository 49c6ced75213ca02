"""A01-A14: the SDK's verifier rejects the hostile tokens that the server rejects."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from keystead_client.errors import NotAuthenticated, TokenInvalid
from keystead_client.verify import Verifier
from tests.forging import Forge
from tests.hostile_tokens import ATTACKS, hostile_tokens
from tests.sdk.verifier.conftest import Make
from tests.sdk.verifier.passage import InProcess


@pytest.mark.parametrize("attack", ATTACKS)
async def test_hostile_tokens_are_rejected(attack: str, make: Make, forge: Forge, issuer: InProcess) -> None:
    """The only address that is ever requested is the issuer's, and the clock stands still: once."""
    verifier = make(leeway=0)
    await verifier.verify_async(forge.good)
    accepted = []
    for case, token in hostile_tokens(attack, forge).items():
        with suppress(NotAuthenticated):
            await verifier.verify_async(token)
            accepted.append(case)
        with suppress(NotAuthenticated):
            await asyncio.to_thread(verifier.verify, token)
            accepted.append(f"{case}, sync")
    assert accepted == []
    assert [str(request.url) for request in issuer.asked] == ["https://auth.example.com/.well-known/jwks.json"]


def test_what_is_no_text_is_rejected(verifier: Verifier, forge: Forge) -> None:
    for nothing in (None, b"a.b.c", 1, [forge.good], "\ud800" * 50):
        with pytest.raises(TokenInvalid):
            verifier.verify(nothing)  # type: ignore[arg-type]
