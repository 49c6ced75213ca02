"""A real SMTP server for the tests: aiosmtpd on a thread and a free port, with scripted replies.

    with SmtpServer() as server:
        server.answer("RCPT", "550 5.1.1 No such mailbox")
        ...
        (mail,) = await server.mails(1)

Tests never sleep: ``mails`` and ``heard`` wait for what the server sees, ``withhold`` lets it fall silent.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from tests.certificates import Authority
from tests.smtp_conversation import Connection, ReceivedMail, Script, Silence, Step

__all__ = ["ReceivedMail", "Silence", "SmtpServer", "SmtpServers"]

LOOPBACK = "127.0.0.1"
ALWAYS = 1_000_000
LONGEST_WAIT = 20.0
"""Seconds after which a test that waits for the server has failed."""

Tls = Literal["none", "starttls", "implicit"]
T = TypeVar("T")


@dataclass
class SmtpServer(Script):
    """Listens while its ``with`` block lasts.

    Besides SMTP's verbs there are ``"CONNECT"``, the greeting, and ``"."``, the answer to a whole mail: a reply of
    one's own there means that the mail is not taken; dropped or withheld, it is taken and its sender is not told.
    """

    tls: Tls = "none"
    port: int = 0
    _silences: list[Silence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.offers_starttls = self.tls == "starttls"

    def __enter__(self) -> SmtpServer:
        self._loop = asyncio.new_event_loop()
        listening: threading.Event = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(listening,), daemon=True)
        self._thread.start()
        assert listening.wait(LONGEST_WAIT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST_WAIT)

    # -------------------------------------------------------------------------------------------------------- script

    def answer(self, verb: str, reply: str, *, times: int = ALWAYS) -> None:
        """Reply to ``verb`` with this line, for example ``451 4.3.0 Try later``."""
        self._plan(verb, Step(times, reply=reply))

    def drop(self, verb: str, *, times: int = ALWAYS) -> None:
        """Hang up at ``verb`` without a reply."""
        self._plan(verb, Step(times, is_dropped=True))

    def withhold(self, verb: str, *, times: int = ALWAYS) -> Silence:
        """Does not reply to ``verb`` until released or disconnected."""
        silence = Silence(self._loop)
        self._silences.append(silence)
        self._plan(verb, Step(times, silence=silence))
        return silence

    def behave(self) -> None:
        """Clear the script and release waiting clients."""
        self.steps.clear()
        for silence in self._silences:
            silence.release()

    def hang_up(self) -> None:
        """Close every open connection, as after an idle timeout."""
        for connection in list(self.open):
            if connection.transport is not None:
                self._loop.call_soon_threadsafe(connection.transport.close)

    # ------------------------------------------------------------------------------------------------------- recorded

    @property
    def url(self) -> str:
        """For ``KEYSTEAD_SMTP_URL``, with the login."""
        user = f"{quote(self.login[0], safe='')}:{quote(self.login[1], safe='')}@" if self.login else ""
        return f"{'smtps' if self.tls == 'implicit' else 'smtp'}://{user}{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """How many there have been."""
        return self.commands.count("CONNECT")

    async def mails(self, count: int) -> list[ReceivedMail]:
        """What has been taken, once it is at least so many."""
        return await self._once(lambda: len(self.received) >= count, lambda: list(self.received))

    async def heard(self, verb: str, times: int = 1) -> list[str]:
        """Every verb so far, once this one has come so often."""
        return await self._once(lambda: self.commands.count(verb) >= times, lambda: list(self.commands))

    async def no_connection_is_open(self) -> None:
        """Wait until every connection is closed."""
        await self._once(lambda: not self.open, lambda: None)

    # ------------------------------------------------------------------------------------------------------- internal

    async def _once(self, is_so: Callable[[], bool], result: Callable[[], T]) -> T:
        def wait() -> T:
            with self.changed:
                assert self.changed.wait_for(is_so, LONGEST_WAIT), f"it did not happen: {self.commands}"
                return result()

        return await asyncio.to_thread(wait)

    def _plan(self, verb: str, step: Step) -> None:
        self.steps.setdefault(verb, []).append(step)

    def _serve(self, listening: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        implicit = self.context if self.tls == "implicit" else None
        serving = self._loop.create_server(lambda: Connection(self), LOOPBACK, 0, ssl=implicit)
        listener = self._loop.run_until_complete(serving)
        self.port = listener.sockets[0].getsockname()[1]
        listening.set()
        self._loop.run_forever()
        listener.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class SmtpServers:
    """Starts servers with certificates of one authority, and stops them in the end."""

    def __init__(self, stack: ExitStack, authority: Authority) -> None:
        self._stack, self._authority = stack, authority

    def __call__(self, tls: Tls = "none", name: str = LOOPBACK, **wishes: Any) -> SmtpServer:
        """Another server; ``wishes`` are fields of :class:`SmtpServer`, ``name`` is that in its certificate."""
        context = None if tls == "none" else self._authority.server_context(name)
        return self._stack.enter_context(SmtpServer(tls=tls, context=context, **wishes))
