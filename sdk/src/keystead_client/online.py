"""Whether the server itself takes an access token at this moment: the question is ``me``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keystead_client.calls import user_of
from keystead_client.claims import Claims, Unverified, refused
from keystead_client.documents import me
from keystead_client.flow import Question, Reply
from keystead_client.flow import read as read_reply
from keystead_client.questions import Ask, Questions
from keystead_client.remembered import Remembered
from keystead_client.single_flight import SingleFlight

LASTS: Final = 1.0
"""Seconds for which a good answer is good: a page that asks ten times asks the server once."""
MOST_TOKENS: Final = 4096
"""Tokens whose answers are remembered, least recently used out first."""


class OnlineCheck:
    """Asks the server, and remembers for a second that a token was good; never that it was not.

    Who comes with the same token within that second waits for the same answer.
    """

    def __init__(self, url: str, questions: Questions, timeout: float, clock: Callable[[], float]) -> None:
        self._url = url
        self._questions = questions
        self._clock = clock
        self._good = Remembered(MOST_TOKENS)
        self._patience = 2 * timeout
        self._flights: SingleFlight[float] = SingleFlight()

    def require(self, token: str, unverified: Unverified, claims: Claims) -> None:
        """:raises KeysteadError: what the server says against it, or that it cannot be asked."""
        arrived_at = self._clock()
        if self._is_remembered(token, arrived_at):
            return
        while True:
            asked_at = self._flights.run(token, lambda: self._ask(token, claims), self._patience)
            if self._is_about(arrived_at, asked_at):
                return

    async def require_async(self, token: str, unverified: Unverified, claims: Claims) -> None:
        """As :meth:`require`."""
        arrived_at = self._clock()
        if self._is_remembered(token, arrived_at):
            return
        while True:
            asked_at = await self._flights.run_async(token, lambda: self._ask_async(token, claims), self._patience)
            if self._is_about(arrived_at, asked_at):
                return

    def _ask(self, token: str, claims: Claims) -> float:
        asked_at = self._clock()
        return self._note(token, claims, self._questions.ask(self._question(token)), asked_at)

    async def _ask_async(self, token: str, claims: Claims) -> float:
        asked_at = self._clock()
        return self._note(token, claims, await self._questions.ask_async(self._question(token)), asked_at)

    def _question(self, token: str) -> Ask:
        # The user's token alone: with an API key beside it, the answer would not be about the token.
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "accept": "application/json"}
        return Ask("POST", self._url, headers, Question(me(("id",))).body())

    def _is_remembered(self, token: str, arrived_at: float) -> bool:
        asked_at = self._good.added_at(token)
        # A clock that was put back makes no answer young.
        return asked_at is not None and asked_at <= arrived_at and self._is_about(arrived_at, asked_at)

    @staticmethod
    def _is_about(arrived_at: float, asked_at: float) -> bool:
        """Whether an answer holds for a token that came then: somebody may have asked, slowly, long before."""
        return arrived_at - asked_at < LASTS

    def _note(self, token: str, claims: Claims, reply: Reply, asked_at: float) -> float:
        """The server has checked the signature; that it speaks of the same user shows that it read the same token."""
        if user_of(read_reply(reply)).get("id") != claims.user_id:
            raise refused()
        # As old as the question, not as the answer.
        self._good.add(token, asked_at)
        return asked_at
