"""What a session has begun ends with it, also when both happen at one moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keystead.authentication import password_change, proof
from keystead.authentication.correspondence import open_correspondence
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.errors import InvalidCredentials
from keystead.users.model import User
from keystead.users.one_time_tokens import service as tokens
from tests.authentication.claimants import NEW, can_log_in, claim, claimed, newest_token, reader
from tests.authentication.conftest import PASSWORD
from tests.authentication.observing import is_alive
from tests.make import make_caller, make_session
from tests.races.conftest import is_held_up, outcome

EVE = "eve@example.org"


async def while_another_proves(server: Server, brand: ActiveBrand, work: Any) -> Any:
    """What becomes of ``work``, which is begun while the transaction that proves the newest claim is still open."""
    secret, ctx = secrets.parse(await newest_token(server), SecretKind.verify), reader(server)
    assert secret is not None
    correspondence = await open_correspondence(ctx, brand)
    async with server.db.transaction() as tx:
        token = await tokens.consume(tx, brand.id, secret, correspondence.now)
        assert token is not None
        assert await proof.prove(tx, correspondence, token, proof.describe_proof(ctx, token)) is not None
        task = asyncio.create_task(outcome(work))
        assert await is_held_up(task)
    return await task


@pytest.mark.race
async def test_a_session_that_a_proof_is_ending_claims_nothing_any_more(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    mine, evil = await make_session(server, brand, ann.id), await make_session(server, brand, ann.id)
    await claim(server, mine, NEW, PASSWORD)
    refused = await while_another_proves(server, brand, claim(server, evil, EVE, PASSWORD))
    assert isinstance(refused, InvalidCredentials)
    assert not await is_alive(server, evil)
    assert await claimed(server, ann.id) is None


@pytest.mark.race
async def test_a_session_that_a_proof_is_ending_sets_no_password_any_more(
    server: Server, brand: ActiveBrand, ann: User
) -> None:
    mine, evil = await make_session(server, brand, ann.id), await make_session(server, brand, ann.id)
    await claim(server, mine, NEW, PASSWORD)
    ctx = await make_caller(server, evil)
    change = password_change.change_password(ctx, "what the thief wants", PASSWORD)
    assert isinstance(await while_another_proves(server, brand, change), InvalidCredentials)
    assert await can_log_in(server, brand, NEW, PASSWORD)
