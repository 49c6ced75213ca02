"""A real SMTP server for the tests: aiosmtpd, on a thread and a free port of its own, told what to answer.

    with SmtpServer() as server:
        server.answer("RCPT", "550 5.1.1 No such mailbox")
        ...
        (mail,) = await server.mails(1)

Tests never sleep: ``mails`` and ``heard`` wait for what the server sees, ``withhold`` lets it fall silent.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

# It logs whole conversations; what the product logs is looked at without them.
logging.getLogger("mail.log").disabled = True

LOOPBACK = "127.0.0.1"
LONGEST_WAIT = 20.0
"""Seconds after which a test that waits for the server has failed."""

Tls = Literal["none", "starttls", "implicit"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """A mail that the server has taken."""

    sender: str
    recipients: tuple[str, ...]
    options: tuple[str, ...]
    """Of MAIL FROM, in capitals: ``SMTPUTF8``, ``SIZE=1234``."""
    content: bytes
    """As sent, dots unstuffed."""
    is_encrypted: bool
    login: str | None

    @property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def text(self) -> str:
        """The plain text."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """The HTML."""
        return self._part("html")

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        content = part.get_content()
        assert isinstance(content, str)
        return content


class Silence:
    """Until it is released, a client waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._over = loop, asyncio.Event()

    def release(self) -> None:
        """The server goes on as usual."""
        self._loop.call_soon_threadsafe(self._over.set)

    async def wait(self) -> None:
        """On the server's own thread."""
        await self._over.wait()


@dataclass(frozen=True, slots=True)
class _Step:
    """What the server does in the place of the usual answer."""

    reply: str | None = None
    is_dropped: bool = False
    silence: Silence | None = None


@dataclass
class SmtpServer:
    """Listens while its ``with`` block lasts.

    Besides SMTP's verbs there are ``"CONNECT"``, the greeting, and ``"."``, the answer to a whole mail: a reply of
    one's own there means that the mail is not taken; dropped or withheld, it is taken and its sender is not told.
    """

    tls: Tls = "none"
    context: ssl.SSLContext | None = None
    """``certificates.Authority.server_context``; needed with TLS."""
    login: tuple[str, str] | None = None
    """User and password; with them, mail is taken from nobody else."""
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    takes_smtputf8: bool = True
    hidden: tuple[str, ...] = ()
    """Extensions that it can do and does not offer, as when somebody on the way strips ``STARTTLS``."""
    received: list[ReceivedMail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    """Verbs, in the order in which they came; one ``CONNECT`` for each connection."""
    port: int = 0
    _steps: dict[str, list[tuple[_Step, int]]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _open: set[SMTP] = field(default_factory=set)

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

    # ------------------------------------------------------------------------------------------ what it is told to do

    def answer(self, verb: str, reply: str, *, times: int = 1_000_000) -> None:
        """Answers ``verb`` with a line of one's own, for example ``451 4.3.0 Try later``."""
        self._plan(verb, _Step(reply=reply), times)

    def drop(self, verb: str, *, times: int = 1_000_000) -> None:
        """Hangs up at ``verb``, without an answer."""
        self._plan(verb, _Step(is_dropped=True), times)

    def withhold(self, verb: str, *, times: int = 1_000_000) -> Silence:
        """Falls silent at ``verb`` until that is released or the client hangs up; then does as usual."""
        silence = Silence(self._loop)
        self._plan(verb, _Step(silence=silence), times)
        return silence

    def behave(self) -> None:
        """Forgets what it was told; who waits for an answer gets it."""
        for step, _ in [entry for steps in self._steps.values() for entry in steps]:
            if step.silence is not None:
                step.silence.release()
        self._steps.clear()

    def hang_up(self) -> None:
        """Closes every connection that is open now, as a server does that has waited long enough."""
        for connection in list(self._open):
            if connection.transport is not None:
                self._loop.call_soon_threadsafe(connection.transport.close)

    # ---------------------------------------------------------------------------------------------- what it has seen

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

    async def nobody_is_connected(self) -> None:
        """Waits until every client has hung up, or has been."""
        await self._once(lambda: not self._open, lambda: None)

    # ------------------------------------------------------------------------------------------------- how it is done

    async def _once(self, is_so: Callable[[], bool], result: Callable[[], T]) -> T:
        def wait() -> T:
            with self._changed:
                assert self._changed.wait_for(is_so, LONGEST_WAIT), f"it did not happen: {self.commands}"
                return result()

        return await asyncio.to_thread(wait)

    def _plan(self, verb: str, step: _Step, times: int) -> None:
        self._steps.setdefault(verb, []).append((step, times))

    def step(self, verb: str) -> _Step | None:
        """What to do at ``verb``, which has just come; None for the usual."""
        self.note(lambda: self.commands.append(verb) if verb != "." else None)
        steps = self._steps.get(verb)
        if not steps:
            return None
        step, left = steps[0]
        steps[0] = (step, left - 1)
        if left <= 1:
            steps.pop(0)
        return step

    def note(self, change: Callable[[], Any]) -> None:
        """Changes what has been seen, and wakes whoever waits for it."""
        with self._changed:
            change()
            self._changed.notify_all()

    def note_open(self, connection: SMTP, is_open: bool) -> None:
        """A client has come, or gone."""
        self.note(lambda: self._open.add(connection) if is_open else self._open.discard(connection))

    def _serve(self, listening: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        implicit = self.context if self.tls == "implicit" else None
        serving = self._loop.create_server(lambda: _Connection(self), LOOPBACK, 0, ssl=implicit)
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


class _Connection(SMTP):
    """One client's, as the server was told to treat it."""

    def __init__(self, told: SmtpServer) -> None:
        self._told = told
        super().__init__(
            _Taking(told),
            hostname="mail.example.com",
            enable_SMTPUTF8=told.takes_smtputf8,
            tls_context=told.context if told.tls == "starttls" else None,
            # The tests look for themselves whether a password came in the clear.
            auth_require_tls=False,
            authenticator=self._check,
            auth_exclude_mechanism=[m for m in ("PLAIN", "LOGIN") if told.login is None or m not in told.mechanisms],
        )
        # Given to the constructor, it warns that passwords are asked for in the clear.
        self._auth_required = told.login is not None
        self._smtp_methods = {verb: self._scripted(verb, method) for verb, method in self._smtp_methods.items()}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """One more that is open."""
        super().connection_made(transport)
        self._told.note_open(self, True)

    def connection_lost(self, error: Exception | None) -> None:
        """One fewer."""
        super().connection_lost(error)
        self._told.note_open(self, False)

    def eof_received(self) -> bool:
        """Never half open: TLS cannot be."""
        super().eof_received()
        return False

    async def obey(self, step: _Step, usual: Callable[[], Any]) -> Any:
        """Does what the step says; ``usual`` is what would have been done."""
        if step.silence is not None:
            await step.silence.wait()
            return await usual()
        assert self.transport is not None
        if step.is_dropped:
            self.transport.close()
            # The rest of what the client says falls on deaf ears.
            await asyncio.get_running_loop().create_future()
        return await self.push(step.reply or "")

    async def _handle_client(self) -> None:
        step = self._told.step("CONNECT")
        if step is None:
            await super()._handle_client()
        else:
            await self.obey(step, super()._handle_client)
            if self.transport is not None:
                self.transport.close()

    def _scripted(self, verb: str, method: Callable[[str | None], Any]) -> Callable[[str | None], Any]:
        async def run(argument: str | None) -> None:
            step = self._told.step(verb)
            if step is None:
                await method(argument)
            else:
                await self.obey(step, lambda: method(argument))

        return run

    def _check(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: LoginPassword
    ) -> AuthResult:
        assert self._told.login is not None
        user, password = (part.encode() for part in self._told.login)
        is_right = (given.login, given.password) == (user, password)
        return AuthResult(success=is_right, handled=False, auth_data=given.login.decode())


class _Taking:
    """Keeps what is sent."""

    def __init__(self, told: SmtpServer) -> None:
        self._told = told

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, lines: list[str]
    ) -> list[str]:
        """Greets, without what is hidden."""
        session.host_name = hostname
        hidden = [*self._told.hidden, *([] if self._told.login else ["AUTH"])]
        return [line for line in lines if line[4:].split(" ")[0] not in hidden]

    async def handle_DATA(self, server: _Connection, session: Session, envelope: Envelope) -> str:
        """The mail is here."""
        step = self._told.step(".")
        if step is not None and step.reply is not None:
            return step.reply
        content, transport = envelope.original_content, server.transport
        assert content is not None
        assert transport is not None
        mail = ReceivedMail(
            sender=envelope.mail_from or "",
            recipients=tuple(envelope.rcpt_tos),
            options=tuple(envelope.mail_options),
            content=content,
            is_encrypted=transport.get_extra_info("sslcontext") is not None,
            login=str(session.auth_data) if session.authenticated else None,
        )
        self._told.note(lambda: self._told.received.append(mail))
        if step is not None:
            await server.obey(step, _nothing)
        return "250 2.0.0 Taken"


async def _nothing() -> None:
    return None
