"""One browser before several workers of a web application: each of them refreshes by itself, and no one is thrown out.

The workers share nothing but the server, whose grace makes their race harmless (security §3). ``make races`` repeats
the races many times.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead.sessions import access_tokens
from keystead.users.model import User
from tests.authentication.observed import events
from tests.make import change_brand, make_session
from tests.processes.conftest import ROUNDS, Nodes
from tests.processes.web_app import WebApp, started
from tests.sdk.site import AUTH, REFRESH, set_cookies

ASGI = "uvicorn", "tests.processes.shop:app"
THREADS = "tests.processes.wsgi_shop", "threads"
PROCESSES = "tests.processes.wsgi_shop", "processes"
EACH, FORKS = 16, 6
LIFETIME = 3600
# How old an access token is, in seconds; the middleware renews it in its last minute.
DUE, EXPIRED = LIFETIME - 30, LIFETIME + 5

Cookies = dict[str, str]


@pytest.fixture(scope="module")
def apps(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[WebApp]]:
    """Three workers, which speak to two nodes of the server, and one that has a process for each request."""
    folder = tmp_path_factory.mktemp("workers")
    ways = (nodes.here, ASGI), (nodes.there, ASGI), (nodes.here, THREADS), (nodes.there, PROCESSES)
    with ExitStack() as stack:
        apps = [stack.enter_context(started(folder, *words, KEYSTEAD_ENDPOINT=node.url)) for node, words in ways]
        for app in apps:
            app.wait_until_ready("/auth/ready")
        yield apps


@pytest.fixture
def workers(apps: list[WebApp]) -> list[WebApp]:
    """Two that serve in event loops, and one that serves in threads."""
    return apps[:3]


@pytest.fixture
def forking(apps: list[WebApp]) -> WebApp:
    """The one with a process for each request."""
    return apps[3]


@pytest.fixture
async def wires(workers: list[WebApp]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A way to each of them, without a memory for cookies."""
    limits = httpx.Limits(max_connections=EACH, max_keepalive_connections=EACH)
    wires = [httpx.AsyncClient(base_url=app.url, trust_env=False, timeout=30, limits=limits) for app in workers]
    # All connections are made before the race begins.
    await asyncio.gather(*(wire.get("/auth/ready") for wire in wires for _ in range(EACH)))
    yield wires
    for wire in wires:
        await wire.aclose()


async def cookies_of(server: Server, brand: ActiveBrand, ann: User, age: int | None) -> Cookies:
    """What Ann's browser holds: an access token of that age (None: it has forgotten it), and its refresh token."""
    opened = await make_session(server, brand, ann.id)
    cookies = {REFRESH: opened.refresh_token.reveal()}
    if age is not None:
        issued_at = server.clock.now() - timedelta(seconds=age)
        cookies[AUTH] = access_tokens.issue(server, brand.id, ann.id, opened.session_id, LIFETIME, issued_at)
    return cookies


async def ask(wire: httpx.AsyncClient, cookies: Cookies, method: str = "GET", path: str = "/orders") -> httpx.Response:
    """A page that only Ann may see, or another one."""
    wire.cookies.clear()
    sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return await wire.request(method, path, headers={"Cookie": sent, "Accept": "text/html"})


def given(response: httpx.Response) -> Cookies:
    """The cookies that a response sets."""
    return {name: header.partition("=")[2].partition(";")[0] for name, header in set_cookies(response).items()}


async def race(wires: list[httpx.AsyncClient], cookies: Cookies) -> list[httpx.Response]:
    """Many requests of one browser at all workers; the responses as they came in."""
    asking: list[Any] = [ask(wire, cookies) for wire in wires for _ in range(EACH)]
    random.shuffle(asking)
    return [await response for response in asyncio.as_completed(asking)]


@pytest.mark.race
@pytest.mark.attack("A104")
@pytest.mark.parametrize("age", [DUE, EXPIRED, None], ids=["due", "expired", "gone"])
async def test_every_cookie_set_of_a_refresh_race_is_valid(
    wires: list[httpx.AsyncClient], server: Server, brand: ActiveBrand, ann: User, age: int | None
) -> None:
    for number in range(1, ROUNDS + 1):
        old = await cookies_of(server, brand, ann, age)
        responses = await race(wires, old)
        assert [(response.status_code, response.json()) for response in responses] == [(200, ann.id)] * len(responses)
        kept = [given(response) for response in responses]
        assert len({cookies[AUTH] for cookies in kept}) == len(wires), "each worker has asked once"
        (refresh_token,) = {cookies[REFRESH] for cookies in kept}
        assert refresh_token != old[REFRESH]
        # A browser keeps what comes last; one that was busy elsewhere, what came first; a mixture, if it is unlucky.
        mixture = {AUTH: kept[0][AUTH], REFRESH: kept[-1][REFRESH]}
        for cookies in (kept[0], kept[-1], mixture, *{tuple(each.items()): each for each in kept}.values()):
            after = await asyncio.gather(*(ask(wire, cookies) for wire in wires))
            assert {(response.status_code, len(set_cookies(response))) for response in after} == {(200, 0)}
        # The next race starts from there.
        again = await race(wires, {REFRESH: refresh_token})
        assert {response.status_code for response in again} == {200}
        if number == 1:
            assert len(await events(server, brand, "session.refreshed")) == 2, "one rotation for each race"
    assert await events(server, brand, "session.reuse_detected") == []


@pytest.mark.race
@pytest.mark.attack("A104")
async def test_forked_processes_refresh_to_the_same_tokens(
    forking: WebApp, server: Server, brand: ActiveBrand, ann: User
) -> None:
    async with httpx.AsyncClient(base_url=forking.url, trust_env=False, timeout=30) as wire:
        for _ in range(ROUNDS):
            old = await cookies_of(server, brand, ann, EXPIRED)
            responses = await asyncio.gather(*(ask(wire, old) for _ in range(FORKS)))
            assert {response.status_code for response in responses} == {200}
            kept = [given(response) for response in responses]
            assert len({cookies[AUTH] for cookies in kept}) == FORKS, "no process knows the others"
            assert len({cookies[REFRESH] for cookies in kept}) == 1
            assert (await ask(wire, kept[-1])).status_code == 200
    assert await events(server, brand, "session.reuse_detected") == []


@pytest.mark.race
@pytest.mark.attack("A104")
@pytest.mark.parametrize("policy", [{}, {"grace": 0}], ids=["within the grace", "within the lost-response window"])
async def test_a_browser_that_missed_its_new_cookies_stays_signed_in_with_the_old_ones(
    wires: list[httpx.AsyncClient], server: Server, brand: ActiveBrand, ann: User, policy: dict[str, int]
) -> None:
    await change_brand(server, brand, {"policy": policy})
    for _ in range(ROUNDS):
        old = await cookies_of(server, brand, ann, EXPIRED)
        first, *others = random.sample(wires, len(wires))
        lost = await ask(first, old)
        assert lost.status_code == 200
        again = await asyncio.gather(*(ask(wire, old) for wire in (first, *others)))
        assert {response.status_code for response in again} == {200}
        assert {given(response)[REFRESH] for response in (lost, *again)} == {given(lost)[REFRESH]}
        for response in again:
            assert (await ask(others[0], given(response))).status_code == 200
    assert await events(server, brand, "session.reuse_detected") == []


@pytest.mark.race
async def test_a_browser_that_disconnects_and_retries_stays_signed_in(
    wires: list[httpx.AsyncClient], workers: list[WebApp], server: Server, brand: ActiveBrand, ann: User
) -> None:
    await change_brand(server, brand, {"policy": {"grace": 0}})
    for _ in range(ROUNDS):
        old = await cookies_of(server, brand, ann, EXPIRED)
        await asyncio.gather(*(hang_up(app, old) for app in workers[:2]))
        responses = await asyncio.gather(*(ask(wire, old) for wire in wires))
        assert {response.status_code for response in responses} == {200}
        assert (await ask(wires[0], given(responses[-1]))).status_code == 200
    assert await events(server, brand, "session.reuse_detected") == []


@pytest.mark.race
@pytest.mark.attack("A104")
async def test_a_logout_beats_concurrent_refreshes(
    wires: list[httpx.AsyncClient], forking: WebApp, server: Server, brand: ActiveBrand, ann: User
) -> None:
    """Whichever cookies reach the browser last, they are good for nothing; a worker without a memory says so."""
    async with httpx.AsyncClient(base_url=forking.url, trust_env=False, timeout=30) as judge:
        for _ in range(ROUNDS):
            old = await cookies_of(server, brand, ann, DUE)
            racing = asyncio.create_task(race(wires, old))
            assert (await ask(wires[0], old, "POST", "/auth/logout")).json() is True
            responses = await racing
            assert {response.status_code for response in responses} <= {200, 303}
            kept = {tuple(given(response).items()) for response in responses}
            for cookies in ({AUTH: "", REFRESH: ""}, old, *(dict(each) for each in kept if each)):
                assert (await ask(judge, cookies)).status_code == 303


async def test_without_the_grace_period_the_race_ends_the_session(
    wires: list[httpx.AsyncClient], server: Server, brand: ActiveBrand, ann: User
) -> None:
    """Without it, the worker that comes second holds a token that was used: the session is over, and all say so."""
    await change_brand(server, brand, {"policy": {"grace": 0, "lost_window": 0}})
    old = await cookies_of(server, brand, ann, EXPIRED)
    first, second, third = wires
    new = given(await ask(first, old))
    refused = await ask(second, old)
    assert refused.status_code == 303
    assert given(refused) == {AUTH: "", REFRESH: ""}
    assert (await ask(third, new)).status_code == 303
    assert len(await events(server, brand, "session.reuse_detected")) == 1


async def hang_up(app: WebApp, cookies: Cookies) -> None:
    """Sends a request and goes away without waiting for what is answered."""
    _, writer = await asyncio.open_connection("127.0.0.1", app.port)
    sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
    writer.write(f"GET /orders HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\nCookie: {sent}\r\n\r\n".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
