"""The issuer's public keys (RFC 7517): fetched, parsed, cached."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from keystead_client._endpoint import require_private_way, split
from keystead_client._protocol import Reply
from keystead_client._single_flight import RecentTokens, SingleFlight
from keystead_client._transport import AsyncClients, Bounds, open_client, send, send_async
from keystead_client.errors import KeysteadError, NetworkError, ServerError, copy_of

Transport = httpx.BaseTransport | httpx.AsyncBaseTransport
"""How requests are sent instead of over TCP: by tests, or through a proxy of one's own."""

LARGEST: Final = 64 * 1024
"""Bytes. A document of three keys has 700, the answer of ``me`` 100."""


def require_origin(name: str, url: str, *, allow_http: bool = False) -> str:
    """The URL without slashes at its end: https, or http on this very computer, or by ``allow_http``.

    :raises ValueError: for any other: what comes in clear text comes from whomever.
    """
    parts = split(url)
    if parts.scheme not in ("https", "http"):
        raise ValueError(f"{name}: an https URL")
    require_private_way(name, url, allow_http)
    origin = url.rstrip("/")
    # Letter by letter, as tokens name it. An empty query, which urlsplit does not tell, would make it nobody's.
    is_whole = origin.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    if not is_whole or not parts.hostname or "@" in origin or origin.endswith(":"):
        raise ValueError(f"{name}: scheme, host and port only, as in https://id.example.com")
    return origin


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    def build(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request."""
        return client.build_request(self.method, self.url, headers=self.headers, content=self.body)


class Questions:
    """Asks, from threads and from event loops; connections are kept for the next question."""

    def __init__(self, transport: Transport | None, timeout: float) -> None:
        self._transport = transport
        self._bounds = Bounds(timeout, LARGEST)
        self._client: httpx.Client | None = None
        self._async_clients = AsyncClients(
            transport if isinstance(transport, httpx.AsyncBaseTransport) else None, self._bounds
        )

    def ask(self, question: Ask) -> Reply:
        """The answer, whatever its status.

        :raises NetworkError: when nobody answers; Timeout: not in time.
        :raises ServerError: when the answer is too large, or compressed.
        """
        if self._transport is not None and not isinstance(self._transport, httpx.BaseTransport):
            raise ValueError("transport: verify() needs a synchronous one; verify_async() takes this one")
        if self._client is None:
            self._client = open_client(self._transport, self._bounds)
        return send(self._client, question.build(self._client), self._bounds)

    async def ask_async(self, question: Ask) -> Reply:
        """As :meth:`ask`. A transport that is synchronous alone is used in a thread."""
        if self._transport is not None and not isinstance(self._transport, httpx.AsyncBaseTransport):
            return await asyncio.to_thread(self.ask, question)
        client = self._async_clients.here
        return await send_async(client, question.build(client), self._bounds)

    def close(self) -> None:
        """Closes what threads have opened."""
        client, self._client = self._client, None
        if client:
            client.close()

    async def aclose(self) -> None:
        """Closes that, and what was opened on this event loop."""
        self.close()
        await self._async_clients.close()


ALGORITHM: Final = "ES256"
MOST_KEYS: Final = 32
"""Keys that are looked at; an installation publishes three at most at a time."""


def require_joserfc() -> None:
    """:raises ImportError: when the extra is not installed; says how to install it."""
    try:
        importlib.import_module("joserfc")
    except ImportError:
        raise ImportError(
            "offline verification needs joserfc: pip install keystead-client[verify]", name="joserfc"
        ) from None


def keys_in(document: bytes) -> dict[str, Any]:
    """The keys on P-256 by their name. Others are passed over (RFC 7517 §5): they could not check our tokens.

    :raises ServerError: when it is no document of keys, or holds none for us.
    """
    try:
        listed = json.loads(document)["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        listed = None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ServerError("what the issuer sent is no document of keys")
    keys = {jwk["kid"]: key for jwk in listed if (key := _key(jwk)) is not None}
    if not keys:
        raise ServerError("the issuer's document holds no key for access tokens")
    return keys


def _key(jwk: Any) -> Any | None:
    """The key, if it is one for ES256 and is named by its own thumbprint (RFC 7638), as this server names keys.

    The thumbprint makes the name mean the key: no other key can ever come under a name that is known.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey

    if not isinstance(jwk, dict) or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or "d" in jwk:
        return None
    if jwk.get("alg", ALGORITHM) != ALGORITHM or jwk.get("use", "sig") != "sig":
        return None
    try:
        key = ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
        return key if key.thumbprint() == jwk.get("kid") else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def is_signed(token: str, key: Any) -> bool:
    """Whether ``key`` made the signature of ``token``, by ES256 and nothing else."""
    from joserfc.errors import JoseError
    from joserfc.jws import deserialize_compact

    try:
        deserialize_compact(token, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError, TypeError, RecursionError):
        return False
    return True


AT_MOST_EVERY: Final = 10.0
"""Seconds between two fetches for unknown names, and after one that failed."""
AT_FIRST_EVERY: Final = 1.0
"""Seconds between two attempts while there are no keys at all: nothing can be verified then."""
JUST_NOW: Final = 1.0
"""Seconds: keys that were asked for so shortly before a token came are all the keys that can have signed it."""
MOST_ABSENT: Final = 4096
"""Names that are remembered not to be a key's, least recently used out first."""
MOST_DOUBTFUL: Final = 1024
"""Names that came between two fetches and wait for the next, the first ones. Fewer than those that are known to be
absent, so that a flood does not have all of these forgotten at once."""
_BROKEN_OFF: Final = "the fetch of the issuer's keys was broken off"


@dataclass(frozen=True, slots=True)
class _State:
    """All that is known at one moment; replaced as a whole, so that threads read it without a lock."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    fetched_at: float | None = None
    attempted_at: float | None = None
    failure: KeysteadError | None = None


class PublishedKeys:
    """The keys of one issuer by name (``kid``). Safe to share between tasks and threads."""

    def __init__(
        self,
        issuer: str,
        questions: Questions,
        *,
        ttl: float,
        max_stale: float,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        # What a cache on the way has kept would be older than it seems here.
        headers = {"accept": "application/json, */*;q=0.5", "cache-control": "no-cache"}
        self._question = Ask("GET", f"{issuer}/.well-known/jwks.json", headers)
        self._questions = questions
        self._ttl, self._max_stale = ttl, max_stale
        # So early that the next keys are there before those that are known are too old.
        self._renewed_from = ttl - min(timeout, ttl / 2)
        self._patience = 2 * timeout
        self._clock = clock
        self._state = _State()
        self._absent = RecentTokens(MOST_ABSENT)
        # When a token of that name came first.
        self._doubtful: dict[str, float] = {}
        self._flights: SingleFlight[None] = SingleFlight()

    def find(self, kid: str) -> Any | None:
        """The key of that name, or None when the issuer does not publish it.

        :raises NetworkError: when it is not known, and the issuer cannot be asked, or not yet again.
        :raises ServerError: the same, when it answered something else.
        """
        arrived_at = self._clock()
        if self._must_wait(kid):
            # What came of a fetch stands in the state; that it took too long does not, and is said there, too.
            with suppress(KeysteadError):
                self._flights.run(None, lambda: self._fetch(kid), self._patience)
        return self._known(kid, arrived_at)

    async def find_async(self, kid: str) -> Any | None:
        """As :meth:`find`."""
        arrived_at = self._clock()
        if self._must_wait(kid):
            with suppress(KeysteadError):
                await self._flights.run_async(None, lambda: self._fetch_async(kid), self._patience)
        return self._known(kid, arrived_at)

    def _must_wait(self, kid: str) -> bool:
        """Whether a fetch is due, or one is under way and what is known is not enough."""
        now = self._clock()
        if not self._flights.is_flying(None):
            return self._is_due(kid, now)
        # An issuer that is away is waited for by one caller at a time.
        is_good_for_now = self._is_younger(self._ttl, now) or self._state.failure is not None
        return not (is_good_for_now and self._is_usable(now) and kid in self._state.keys)

    def _is_due(self, kid: str, now: float) -> bool:
        is_fresh = self._is_younger(self._renewed_from, now)
        if self._is_usable(now) and is_fresh and kid in self._state.keys:
            return False
        attempted_at = self._state.attempted_at
        if attempted_at is None:
            return True
        pause = AT_MOST_EVERY if self._is_usable(now) else AT_FIRST_EVERY
        has_paused = not 0 <= now - attempted_at < pause
        return has_paused or (self._state.failure is None and not is_fresh)

    def _is_usable(self, now: float) -> bool:
        fetched_at = self._state.fetched_at
        return fetched_at is not None and abs(now - fetched_at) <= self._max_stale

    def _is_younger(self, seconds: float, now: float) -> bool:
        # A clock that was put back makes no key young.
        fetched_at = self._state.fetched_at
        return fetched_at is not None and 0 <= now - fetched_at < seconds

    def _fetch(self, kid: str) -> None:
        begun = self._begin(kid)
        if begun is None:
            return
        outcome: Mapping[str, Any] | KeysteadError = NetworkError(_BROKEN_OFF, was_sent=True)
        try:
            outcome = _keys(self._questions.ask(self._question))
        except KeysteadError as error:
            outcome = error
        finally:
            self._note(begun, outcome)

    async def _fetch_async(self, kid: str) -> None:
        begun = self._begin(kid)
        if begun is None:
            return
        outcome: Mapping[str, Any] | KeysteadError = NetworkError(_BROKEN_OFF, was_sent=True)
        try:
            outcome = _keys(await self._questions.ask_async(self._question))
        except KeysteadError as error:
            outcome = error
        finally:
            self._note(begun, outcome)

    def _begin(self, kid: str) -> _State | None:
        """The state in which a fetch begins; None where another has landed since it was found due."""
        now = self._clock()
        if not self._is_due(kid, now):
            return None
        begun = self._state = replace(self._state, attempted_at=now)
        return begun

    def _note(self, begun: _State, outcome: Mapping[str, Any] | KeysteadError) -> None:
        # A fetch that was given up changes nothing: a later one may have landed with newer keys.
        if self._state is not begun:
            return
        if isinstance(outcome, KeysteadError):
            self._state = replace(begun, failure=outcome)
        else:
            for kid in begun.keys.keys() - outcome.keys():
                self._absent.add(kid)
            # As old as the question, not as the answer.
            self._state = _State(outcome, begun.attempted_at, begun.attempted_at, None)
            self._settle(self._state)

    def _settle(self, state: _State) -> None:
        """What came before the issuer was asked, and is not among its keys, is no key's name."""
        doubtful, self._doubtful = self._doubtful, {}
        # Other threads may still be adding to it. What is lost so is doubtful when it comes again.
        for kid, arrived_at in list(doubtful.items()):
            if kid not in state.keys and _is_told(state.fetched_at or 0.0, arrived_at):
                self._absent.add(kid)

    def _known(self, kid: str, arrived_at: float) -> Any | None:
        is_usable, state = self._is_usable(self._clock()), self._state
        key = state.keys.get(kid) if is_usable else None
        if key is None and state.failure:
            raise copy_of(state.failure)
        if key is None and not is_usable:
            raise NetworkError("the issuer's keys are still being fetched", was_sent=True)
        if key is None:
            self._require_absence(kid, state.fetched_at or 0.0, arrived_at)
        return key

    def _require_absence(self, kid: str, fetched_at: float, arrived_at: float) -> None:
        """:raises NetworkError: where the key may have been published since the issuer was asked."""
        if _is_told(fetched_at, arrived_at):
            self._absent.add(kid)
        elif kid not in self._absent:
            if len(self._doubtful) < MOST_DOUBTFUL:
                self._doubtful.setdefault(kid, arrived_at)
            raise NetworkError("the key of the token is unknown, and the issuer was asked a moment ago", was_sent=False)


def _is_told(fetched_at: float, arrived_at: float) -> bool:
    """Whether the keys of that moment are all that can have signed a token which came then."""
    return fetched_at > arrived_at - JUST_NOW


def _keys(reply: Reply) -> Mapping[str, Any]:
    if reply.status != 200:
        raise ServerError(f"the issuer answered {reply.status} instead of its keys")
    return keys_in(reply.body)
