"""A12, A13: tokens of which a little was changed, and tokens that are too long."""

from __future__ import annotations

import json
import random
import time
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keystead.context import Server
from keystead.web.app import Application
from tests.api import Api, listening
from tests.attacks.forging import Forge
from tests.attacks.operations import ME, assert_token_refused
from tests.attacks.watched import WatchedDatabase
from tests.crypto.tokens import GOOD, flipped, verified

MUTATIONS_PER_EXAMPLE = 100
EXAMPLES = 100
THROUGH_THE_DOOR = 300
QUICK = 0.005
"""Seconds that a refusal may take."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=.+/ \té"


def mutated(token: str, seed: int) -> str:
    """The token with one bit, letter or stretch of it changed; never the token itself."""
    dice = random.Random(seed)
    while True:
        changed = _changed(token, dice)
        if changed != token:
            return changed


def _changed(token: str, dice: random.Random) -> str:
    parts = token.split(".")
    place = dice.randrange(len(token))
    match dice.randrange(8):
        case 0 | 1 | 2 | 3:
            # The bits of the payload and of the signature themselves.
            part = dice.choice((0, 1, 1, 2, 2))
            parts[part] = flipped(parts[part], dice.randrange(len(parts[part]) * 6 // 8 * 8))
            return ".".join(parts)
        case 4:
            return token[:place] + chr(ord(token[place]) ^ (1 << dice.randrange(8))) + token[place + 1 :]
        case 5:
            return token[:place] + dice.choice(_LETTERS) + token[place + 1 :]
        case 6:
            return token[:place] + dice.choice(_LETTERS) + token[place:]
        case _:
            return token[:place] + token[place + dice.randrange(1, 9) :]


@pytest.mark.attack("A12")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 2**64 - 1), min_size=MUTATIONS_PER_EXAMPLE, max_size=MUTATIONS_PER_EXAMPLE))
def test_of_ten_thousand_mutations_none_is_accepted(seeds: list[int]) -> None:
    """And none makes the check raise anything."""
    for seed in seeds:
        assert verified(mutated(GOOD, seed)) is None, seed


@pytest.mark.attack("A12")
def test_without_a_mutation_the_token_is_accepted() -> None:
    """The allowed act beside the ten thousand."""
    assert verified(GOOD) is not None


@pytest.mark.attack("A12")
async def test_mutations_are_refused_at_the_door(api: Api, forge: Forge, watched: WatchedDatabase) -> None:
    """All of them with 401, none with 5xx; and none reaches the database."""
    good = forge.good
    assert (await api.send(ME, token=good)).status == 200
    watched.forget()
    for seed in range(THROUGH_THE_DOOR):
        headers = {b"authorization": mutated(good, seed).encode("latin-1")}
        answer = await api.post(json={"query": ME}, headers=headers)
        assert_token_refused(answer, seed)
    assert watched.asked_besides_the_keyring == []


def _long_tokens(forge: Forge, size: int) -> dict[str, str]:
    start = forge.good
    tokens = {
        "letters": "A" * size,
        "dots": "." * size,
        "parts": ("A." * size)[:size],
        "groups": ("AAAA" * size)[: size - 1] + "=",
        "a good beginning": start + "A" * (size - len(start)),
        "a good payload": f"{start.split('.')[0]}.{'A' * size}.{start.split('.')[2]}",
        "bytes": "\xff" * size,
    }
    if size < 100_000:
        tokens["under our signature"] = forge.with_payload(jti="0" * size)
    return tokens


@pytest.mark.attack("A13")
async def test_long_tokens_are_refused_at_once(server: Server, forge: Forge, watched: WatchedDatabase) -> None:
    """Above 2,048 bytes nothing is read; whatever stands in them."""
    application = Application(server.settings)
    await application.open(server)
    assert (await _timed(application, forge.good))[0] == 200
    watched.forget()
    for size in (2049, 4096, 65_536, 1_048_576, 5_000_000):
        for case, token in _long_tokens(forge, size).items():
            assert len(token) > 2048
            answers = [await _timed(application, f"Bearer {token}") for _ in range(5)]
            assert {status for status, _ in answers} == {401}, (size, case)
            assert min(seconds for _, seconds in answers) < QUICK, (size, case, answers)
    assert watched.asked_besides_the_keyring == []


async def _timed(application: Application, authorization: str) -> tuple[int, float]:
    """The status, and how long the application took for it: no client's time beside."""
    statuses: list[int] = []
    headers = [(b"content-type", b"application/json"), (b"authorization", authorization.encode("latin-1"))]
    scope = {"type": "http", "method": "POST", "path": "/graphql", "headers": headers, "client": ("192.0.2.7", 4711)}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps({"query": ME}).encode(), "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    started = time.thread_time()
    await application(scope, receive, send)
    return statuses[0], time.thread_time() - started


@pytest.mark.attack("A13")
async def test_long_tokens_are_refused_over_http(server: Server, forge: Forge) -> None:
    """The same with a socket between; the connection may be closed on whoever sends megabytes of headers."""
    async with listening(server.settings, server) as url, httpx.AsyncClient() as client:
        good = await client.post(f"{url}/graphql", json={"query": ME}, headers={"authorization": forge.good})
        assert good.status_code == 200
        for size, expected in ((2049, {401}), (30_000, {401}), (65_536, {431}), (5_000_000, {431})):
            headers = {"authorization": "Bearer " + "A" * size}
            try:
                answer = await client.post(f"{url}/graphql", json={"query": ME}, headers=headers)
            except httpx.TransportError:
                assert expected == {431}
            else:
                assert answer.status_code in expected, (size, answer)
