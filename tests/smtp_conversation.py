"""One conversation of the tests' SMTP server, which does as its script says. ``smtp_server`` is what tests import."""

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
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

# It logs whole conversations; what the product logs is looked at without them.
logging.getLogger("mail.log").disabled = True


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
        """Let the server continue."""
        self._loop.call_soon_threadsafe(self._over.set)

    async def wait(self) -> None:
        """On the server's own thread."""
        await self._over.wait()


@dataclass(slots=True)
class Step:
    """What the server does in the place of the usual answer, and how often."""

    times: int
    reply: str | None = None
    is_dropped: bool = False
    silence: Silence | None = None


@dataclass
class Script:
    """What a server can do, what it was told, and what it has seen: shared by its conversations."""

    context: ssl.SSLContext | None = None
    """``certificates.Authority.server_context``; needed with TLS."""
    login: tuple[str, str] | None = None
    """User and password that are required."""
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    takes_smtputf8: bool = True
    offers_starttls: bool = False
    hidden: tuple[str, ...] = ()
    """Extensions that are not offered, as when an attacker strips ``STARTTLS``."""
    received: list[ReceivedMail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    """Verbs, in the order in which they came; one ``CONNECT`` for each connection."""
    steps: dict[str, list[Step]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    open: set[SMTP] = field(default_factory=set)

    def step(self, verb: str) -> Step | None:
        """What to do at ``verb``, which has just come; None for the usual."""
        self.note(lambda: self.commands.append(verb) if verb != "." else None)
        steps = self.steps.get(verb)
        if not steps:
            return None
        steps[0].times -= 1
        return steps[0] if steps[0].times else steps.pop(0)

    def note(self, change: Callable[[], Any]) -> None:
        """Record a change and wake waiting tests."""
        with self.changed:
            change()
            self.changed.notify_all()

    def note_open(self, connection: SMTP, is_open: bool) -> None:
        """A client has come, or gone."""
        self.note(lambda: self.open.add(connection) if is_open else self.open.discard(connection))


class Connection(SMTP):
    """One client's, as the server was told to treat it."""

    def __init__(self, told: Script) -> None:
        self._told = told
        super().__init__(
            _Taking(told),
            hostname="mail.example.com",
            enable_SMTPUTF8=told.takes_smtputf8,
            tls_context=told.context if told.offers_starttls else None,
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

    async def obey(self, step: Step, usual: Callable[[], Any]) -> Any:
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

    def __init__(self, told: Script) -> None:
        self._told = told

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, lines: list[str]
    ) -> list[str]:
        """Greets, without what is hidden."""
        session.host_name = hostname
        hidden = [*self._told.hidden, *([] if self._told.login else ["AUTH"])]
        return [line for line in lines if line[4:].split(" ")[0] not in hidden]

    async def handle_DATA(self, server: Connection, session: Session, envelope: Envelope) -> str:
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
