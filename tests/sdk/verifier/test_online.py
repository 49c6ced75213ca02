"""The verifier that asks the server."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead.sessions.model import Opened
from keystead_client.errors import NetworkError, NotAuthenticated, ServerError, TokenInvalid, Unauthenticated
from keystead_client.verify import Verifier
from tests.attacks.forging import Forge
from tests.clocks import ManualClock
from tests.make import make_access_token, make_session, make_user
from tests.sdk.verifier.conftest import Make
from tests.sdk.verifier.passage import InProcess, log_out


@pytest.fixture
def online(make: Make) -> Verifier:
    """One that asks ``me``."""
    return make(mode="online")


async def test_a_session_that_was_ended_is_refused_within_a_second(
    online: Verifier, server: Server, opened: Opened, issuer: InProcess, clock: ManualClock
) -> None:
    """By tasks and threads alike."""
    token = make_access_token(server, opened)
    assert (await online.verify_async(token)).session_id == opened.session_id
    await log_out(issuer, token)
    clock.advance(seconds=1)
    with pytest.raises(NotAuthenticated):
        await online.verify_async(token)
    with pytest.raises(NotAuthenticated):
        await asyncio.to_thread(online.verify, token)


async def test_the_server_is_asked_once_a_second_for_each_token(
    online: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """A good answer lasts that long, a bad one not at all."""
    token = forge.good
    for _ in range(5):
        await online.verify_async(token)
        await asyncio.to_thread(online.verify, token)
    assert len(issuer.asked) == 1
    clock.advance(seconds=0.999)
    await online.verify_async(token)
    assert len(issuer.asked) == 1
    clock.advance(seconds=0.001)
    await asyncio.to_thread(online.verify, token)
    assert len(issuer.asked) == 2
    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            await online.verify_async(token[:-4] + "AAAA")
    assert len(issuer.asked) == 4


async def test_another_brand_is_refused_unasked(
    online: Verifier, server: Server, other_brand: ActiveBrand, issuer: InProcess
) -> None:
    """The server itself would take the token: it is good there."""
    eve = await make_user(server, other_brand, "eve@example.com")
    token = make_access_token(server, await make_session(server, other_brand, eve.id))
    with pytest.raises(TokenInvalid):
        await online.verify_async(token)
    with pytest.raises(TokenInvalid):
        await online.verify_async("not a token")
    assert issuer.asked == []


async def test_the_user_of_the_answer_is_the_user_of_the_token(
    online: Verifier, forge: Forge, issuer: InProcess
) -> None:
    """Another answer is not about this token."""
    issuer.answers_instead = httpx.Response(200, json={"data": {"me": {"id": "somebody else"}}})
    with pytest.raises(TokenInvalid):
        await online.verify_async(forge.good)


async def test_who_cannot_ask_cannot_tell(online: Verifier, forge: Forge, issuer: InProcess) -> None:
    """No refusal of the token; redirects are not followed, so the token goes nowhere else."""
    issuer.is_away = True
    with pytest.raises(NetworkError):
        await online.verify_async(forge.good)
    issuer.is_away = False
    for answer in (
        httpx.Response(307, headers={"location": "https://evil.example/graphql"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"data": {"me": None}}),
        httpx.Response(502, text="bad gateway"),
        httpx.Response(200, text=" " * 70_000),
    ):
        issuer.answers_instead = answer
        with pytest.raises(ServerError):
            await online.verify_async(forge.good)
    assert {str(request.url) for request in issuer.asked} == {"https://auth.example.com/graphql"}


async def test_the_endpoint_may_be_another_than_the_issuer(make: Make, forge: Forge, issuer: InProcess) -> None:
    """An address inside the network, while tokens name the one outside."""
    online = make(mode="online", endpoint="http://keystead.internal:8000", allow_http=True)
    token = forge.good
    await online.verify_async(token)
    await online.aclose()
    assert str(issuer.asked[0].url) == "http://keystead.internal:8000/graphql"
    assert issuer.asked[0].headers["authorization"] == f"Bearer {token}"
    assert "keystead-api-key" not in issuer.asked[0].headers


async def test_parallel_callers_of_one_token_ask_once(online: Verifier, forge: Forge, issuer: InProcess) -> None:
    """Tasks and threads; one of them gives up, even the one that began. Another token is another question."""
    issuer.gate = asyncio.Event()
    token, other = forge.good, forge.with_payload(jti="another")
    first = asyncio.create_task(online.verify_async(token))
    await issuer.was_asked.wait()
    tasks = [asyncio.create_task(online.verify_async(text)) for text in [token] * 50 + [other]]
    threads = [asyncio.create_task(asyncio.to_thread(online.verify, token)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    issuer.gate.set()
    outcomes = await asyncio.gather(*tasks, *threads)
    assert {claims.user_id for claims in outcomes} == {forge.payload["sub"]}
    assert len(issuer.asked) == 2


async def test_a_refusal_is_told_to_each_anew(online: Verifier, forge: Forge, issuer: InProcess) -> None:
    """One exception that is raised to many would carry everybody's traceback."""
    issuer.gate = asyncio.Event()
    token = forge.good[:-4] + "AAAA"
    tasks = [asyncio.create_task(online.verify_async(token)) for _ in range(3)]
    await issuer.was_asked.wait()
    issuer.gate.set()
    refusals = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(refusal) for refusal in refusals} == {Unauthenticated}
    assert len({id(refusal) for refusal in refusals}) == 3
    assert {refusal.status for refusal in refusals if isinstance(refusal, Unauthenticated)} == {401}
    assert len(issuer.asked) == 1


async def test_an_answer_is_as_old_as_its_question(
    online: Verifier, server: Server, opened: Opened, issuer: InProcess, clock: ManualClock
) -> None:
    """A session ends while a slow answer is under way. Who comes a second after that question is not given it: neither
    while it is under way, nor when it has come."""
    token = make_access_token(server, opened)
    issuer.holds_answers = asyncio.Event()
    first = asyncio.create_task(online.verify_async(token))
    await issuer.has_answer.wait()
    held, issuer.holds_answers = issuer.holds_answers, None
    await log_out(issuer, token)
    clock.advance(seconds=0.999)
    second = asyncio.create_task(online.verify_async(token))
    await asyncio.sleep(0)
    clock.advance(seconds=0.001)
    third = asyncio.create_task(online.verify_async(token))
    in_thread = asyncio.create_task(asyncio.to_thread(online.verify, token))
    await asyncio.sleep(0)
    held.set()
    assert (await first).session_id == opened.session_id
    assert (await second).session_id == opened.session_id
    for late in (third, in_thread, online.verify_async(token)):
        with pytest.raises(NotAuthenticated):
            await late


async def test_a_clock_that_is_put_back_makes_no_answer_young(
    online: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """The server is asked again."""
    token = forge.good
    await online.verify_async(token)
    clock.advance(seconds=-0.5)
    await online.verify_async(token)
    assert len(issuer.asked) == 2
