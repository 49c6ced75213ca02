"""A server that hangs must not hang the application that asks it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, TypeVar

from keystead_client._protocol import limit_retry_wait
from keystead_client._transport import OutageLog
from keystead_client.cookies import set_cookies
from keystead_client.errors import ServerBusy, ServerError, Timeout
from keystead_client.places import Places
from keystead_client.silence import Silence
from keystead_client.tokens import Tokens

T = TypeVar("T")

_INNER: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))

TIMEOUT: Final = 5.0
"""Seconds that one question may take: a browser is waiting, and a worker of the application."""
RETRIES: Final = 1
LONGEST_WAIT: Final = 0.2
"""Seconds before the repetition. A server that asks for more is not asked again while a worker waits for that."""
LOGINS: Final = 16
"""Logins under way at once in one process. Whoever likes can begin them, and each is slow on purpose: without a bound
they would take the connections that the questions about tokens need."""
LOGINS_OF_ONE: Final = 4
"""Of these, from one address: a stranger who tries passwords all the time must not keep all others from logging in."""
_NETWORK: Final = 8
"""Bytes of an IPv6 address that are the same for all whom one line serves; whoever has it chooses the others."""


class AuthServer(Protocol):
    """The part of :class:`keystead_client.client.AsyncClient` that is needed here: nothing of it holds a session."""

    async def login_with(
        self, email: str, password: str, *, brand: str | None = None, forwarded_for: str | None = None
    ) -> Tokens:
        """The tokens of a new session."""

    async def refresh_with(self, refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens."""

    async def me_with(self, auth_token: str, *, forwarded_for: str | None = None) -> Mapping[str, Any]:
        """The user."""

    async def logout_with(self, auth_token: str, *, forwarded_for: str | None = None) -> None:
        """Ends the session."""


class WaryServer:
    """Asks a server that hangs one question at a time; who asks meanwhile is told at once.

    Otherwise each request would wait as long as the first, until all workers of the application wait and its public
    pages are not served either. Logins are apart: nobody who is logged in waits for one.
    """

    def __init__(self, server: AuthServer, clock: Callable[[], float]) -> None:
        self._server = server
        # Of questions about tokens alone: a login does not count, as whoever likes can make it slow.
        self._silence = Silence(clock)
        self._probes = Places(clock)
        self._logins = Places(clock)
        self._outages = OutageLog("Keystead", clock)

    async def login_with(
        self, email: str, password: str, *, brand: str | None = None, forwarded_for: str | None = None
    ) -> Tokens:
        """The tokens of a new session. Raises ``ServerBusy`` where too many log in at this moment."""
        # One at a time while the server is silent: nobody else may be there whose question would end that.
        most = 1 if self._silence.has_begun else LOGINS
        place = self._logins.one_of(most, forwarded_for and _line_of(forwarded_for), LOGINS_OF_ONE)
        with place as is_free, limit_retry_wait(LONGEST_WAIT):
            if not is_free:
                raise ServerBusy("too many logins at once", {"retryAfter": 1})
            with self._outages:
                tokens = await self._server.login_with(email, password, brand=brand, forwarded_for=forwarded_for)
        self._silence.end()
        return _fit_for_cookies(tokens)

    async def refresh_with(self, refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens."""
        return _fit_for_cookies(await self._ask(self._server.refresh_with(refresh_token, forwarded_for=forwarded_for)))

    async def me_with(self, auth_token: str, *, forwarded_for: str | None = None) -> Mapping[str, Any]:
        """The user."""
        return await self._ask(self._server.me_with(auth_token, forwarded_for=forwarded_for))

    async def logout_with(self, auth_token: str, *, forwarded_for: str | None = None) -> None:
        """Ends the session."""
        await self._ask(self._server.logout_with(auth_token, forwarded_for=forwarded_for))

    async def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        if not self._silence.has_begun:
            return await self._heard(question)
        with self._probes.one_of(1) as is_free:
            if is_free and not self._silence.is_in_pause:
                return await self._heard(question)
        question.close()
        raise Timeout("the server does not answer at the moment", was_sent=False)

    async def _heard(self, question: Coroutine[Any, Any, T]) -> T:
        with self._silence.heard(), limit_retry_wait(LONGEST_WAIT), self._outages:
            return await question


def _line_of(address: str) -> str | None:
    """Who is to be counted as one: the address, of IPv6 the /64, as the server does it.

    None for an address that a proxy in front of the application may have, and so all of its users.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.is_loopback or any(found in network for network in _INNER):
        return None
    return str(found) if isinstance(found, ipaddress.IPv4Address) else found.packed[:_NETWORK].hex()


def _fit_for_cookies(tokens: Tokens) -> Tokens:
    """Raises ``ServerError`` for what no cookie can carry: no token of Keystead's looks like that."""
    try:
        set_cookies(tokens)
    except ValueError:
        raise ServerError("the server's answer has tokens that are none") from None
    return tokens
