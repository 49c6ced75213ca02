"""The verifier in the hands of the middleware's gate."""

from __future__ import annotations

import pytest

from keystead_client.async_client import AsyncClient
from keystead_client.errors import NetworkError
from keystead_client.gate import Gate
from keystead_client.verify import Verifier
from tests.attacks.forging import Forge
from tests.clocks import ManualClock
from tests.sdk.verifier.passage import InProcess


async def test_a_verifier_judges_while_the_server_is_away(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """The user by id; nobody for a forgery; and an error, not a refusal, once the keys are too old."""
    async with AsyncClient("https://auth.example.com", transport=issuer, retries=0) as server:
        gate = Gate(server, verifier, lambda: clock.now().timestamp())
        token = forge.with_payload(exp=forge.payload["exp"] + 86_400)
        assert await gate.check(token, None) == {"id": forge.payload["sub"]}
        issuer.is_away = True
        clock.advance(seconds=3600)
        assert await gate.check(token, None) == {"id": forge.payload["sub"]}
        assert await gate.check(token[:-4] + "AAAA", None) is None
        clock.advance(seconds=2)
        with pytest.raises(NetworkError):
            await gate.check(token, None)
    assert {request.url.path for request in issuer.asked} == {"/.well-known/jwks.json"}
