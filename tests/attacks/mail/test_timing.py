"""A67: a request for mail does the same, and takes as long, for a registered and an unknown address."""

from __future__ import annotations

import os
import random
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from keystead.authentication.link_request_worker import process_all
from keystead.context import Server
from keystead.db.statements import Statement
from keystead.mail.request_store import mail_requests
from keystead.mail.store import mail_recipients, mails
from keystead.users.one_time_tokens.store import one_time_tokens
from tests.api import Answer, Api
from tests.attacks.mail_operations import (
    CLAIM,
    CLAIM_MAGICALLY,
    REQUEST_LOGIN,
    REQUEST_RESET,
    RESEND,
    claim,
    make_mailing_brand,
    sign_up,
)
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import make_brand_token, make_user

TAKEN, FREE = "ann@example.com", "nil@example.com"
IS_LONG = int(os.environ.get("KEYSTEAD_RACE_ROUNDS", "3")) > 3
"""``make races``: more samples, closer bounds, both databases."""
SAMPLES, BOUND = (200, 0.05) if IS_LONG else (80, 0.08)
"""Samples per address and round; deviation of the AUC from 0.5. Both bounds are 1.7 standard deviations of the null
hypothesis, sqrt((2n + 1) / 12n²): one in ten rounds is outside by chance."""
ROUNDS = 4
"""A difference in timing is outside in all of them; chance is once in 10,000 runs."""
DATABASES = ["sqlite", "postgres"] if IS_LONG else ["sqlite"]

Ask = Callable[[str], Awaitable[Answer]]
Made = Callable[[Api, str], Awaitable[Ask]]


async def _stranger(text: str, api: Api, _: str) -> Ask:
    async def ask(email: str) -> Answer:
        return await api.send(text, {"email": email})

    return ask


async def _claiming(text: str, api: Api, brand_token: str) -> Ask:
    _, token = await sign_up(api, brand_token)

    async def ask(email: str) -> Answer:
        return await api.send(text, {"new": email}, token=token)

    return ask


async def _resending(api: Api, brand_token: str) -> Ask:
    tokens = {}
    for email in (TAKEN, FREE):
        tokens[email] = (await sign_up(api, brand_token))[1]
        assert (await claim(api, tokens[email], email)).data

    async def ask(email: str) -> Answer:
        return await api.send(RESEND, token=tokens[email])

    return ask


OPERATIONS: dict[str, Made] = {
    "requestMagicLogin": lambda api, token: _stranger(REQUEST_LOGIN, api, token),
    "requestPasswordReset": lambda api, token: _stranger(REQUEST_RESET, api, token),
    "changeAndValidateEmail": lambda api, token: _claiming(CLAIM, api, token),
    "changeEmailMagically": lambda api, token: _claiming(CLAIM_MAGICALLY, api, token),
    "resendVerificationMail": _resending,
}
EACH = pytest.mark.parametrize("made", OPERATIONS.values(), ids=OPERATIONS)


@pytest.fixture
async def brand_token(server: Server) -> str:
    """A token of a brand in which TAKEN is registered."""
    brand = await make_mailing_brand(server)
    await make_user(server, brand, TAKEN)
    return (await make_brand_token(server, brand)).reveal()


async def _rows(server: Server) -> list[int]:
    tables = (mail_requests, mails, mail_recipients, one_time_tokens)
    counts = [Statement(select(func.count()).select_from(table), unbranded="test") for table in tables]
    return [int((await server.db.reads.find(count) or (0,))[0]) for count in counts]


def _outline(watched: WatchedDatabase) -> list[tuple[str, dict[str, Any]]]:
    """Each statement with the types and sizes of its values."""

    def kind(value: object) -> object:
        return (type(value), len(value)) if isinstance(value, str | bytes | tuple | list | dict) else type(value)

    return [(asked.text, {name: kind(value) for name, value in asked.values.items()}) for asked in watched.asked]


@pytest.mark.attack("A67")
@EACH
async def test_statements_and_rows_do_not_depend_on_the_address(
    api: Api, server: Server, brand_token: str, watched: WatchedDatabase, clock: ManualClock, made: Made
) -> None:
    ask = await made(api, brand_token)
    seen = []
    for email in (TAKEN, FREE, TAKEN, FREE):
        before = await _rows(server)
        watched.forget()
        answer = await ask(email)
        seen.append((answer.body, answer.status, _outline(watched)))
        written = [after - earlier for after, earlier in zip(await _rows(server), before, strict=True)]
        assert written in ([1, 0, 0, 0], [0, 0, 0, 0]), "a user's own older request makes room"
        clock.advance(seconds=61)
    # The first claim finds none before it.
    assert seen[2] == seen[3]
    assert seen[0][:2] == seen[1][:2] == seen[2][:2]
    texts = [[text for text, _ in outline] for _, _, outline in seen]
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.race
@pytest.mark.attack("A67")
@pytest.mark.parametrize("database_kind", DATABASES, indirect=True)
@EACH
async def test_timing_does_not_depend_on_the_address(api: Api, brand_token: str, made: Made) -> None:
    ask = await made(api, brand_token)
    for email in (TAKEN, FREE) * 5:
        await ask(email)
    found = []
    for _ in range(ROUNDS):
        took: dict[str, list[float]] = {TAKEN: [], FREE: []}
        for number in range(SAMPLES):
            if number % 50 == 0:  # so that none is dropped
                await process_all(api.server)
            for email in random.sample((TAKEN, FREE), 2):
                started = time.perf_counter()
                await ask(email)
                took[email].append(time.perf_counter() - started)
        found.append(_area_under_curve(took[TAKEN], took[FREE]))
        if abs(found[-1] - 0.5) <= BOUND:
            return
    pytest.fail(f"the time tells whether the address is a login: {found}")


def _area_under_curve(ones: list[float], others: list[float]) -> float:
    """Probability that a sample of ``ones`` exceeds one of ``others``; ties count half."""
    others = sorted(others)
    wins = sum(bisect_left(others, one) + bisect_right(others, one) for one in ones)
    return wins / (2 * len(ones) * len(others))
