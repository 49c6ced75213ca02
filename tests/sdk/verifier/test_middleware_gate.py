"""The verifier in the middleware, while the server is away."""

from __future__ import annotations

import pytest

from keystead_client._checks import TokenChecks
from keystead_client.async_client import AsyncClient
from keystead_client.errors import NetworkError
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.sdk.verifier.passage import InProcess


async def test_a_verifier_judges_while_the_server_is_away(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """The user by id; nobody for a forgery; and an error, not a refusal, once the keys are too old."""
    async with AsyncClient("https://auth.example.com", transport=issuer, retries=0) as server:
        checks = TokenChecks(server, verifier, lambda: clock.now().timestamp())
        token = forge.with_payload(exp=forge.payload["exp"] + 86_400)
        assert await checks.check(token, None) == {"id": forge.payload["sub"]}
        issuer.is_away = True
        clock.advance(seconds=3600)
        assert await checks.check(token, None) == {"id": forge.payload["sub"]}
        assert await checks.check(token[:-4] + "AAAA", None) is None
        clock.advance(seconds=2)
        with pytest.raises(NetworkError):
            await checks.check(token, None)
    assert {request.url.path for request in issuer.asked} == {"/.well-known/jwks.json"}
