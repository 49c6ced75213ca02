"""A server that answers what it is told to, when it is told to; and a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from keystead_client.errors import KeysteadError, Timeout
from keystead_client.tokens import Tokens

ANN = {"id": "1"}
TOKENS = Tokens("a.b.c", "next")


class Hanging:
    """Answers what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.answer: KeysteadError | dict[str, str] = Timeout("no answer", was_sent=True)
        self.tokens = TOKENS

    async def me_with(self, auth_token: str, *, forwarded_for: str | None = None) -> Mapping[str, Any]:
        self.asked += 1
        await self.may_answer.wait()
        if isinstance(self.answer, KeysteadError):
            raise self.answer
        return self.answer

    async def login_with(
        self, email: str, password: str, *, brand: str | None = None, forwarded_for: str | None = None
    ) -> Tokens:
        await self.me_with("")
        return self.tokens

    async def refresh_with(self, refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        return self.tokens

    async def logout_with(self, auth_token: str, *, forwarded_for: str | None = None) -> None:
        raise AssertionError


class Now:
    """Seconds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now
