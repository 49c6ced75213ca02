"""The issuer's public keys (RFC 7517), from ``<issuer>/.well-known/jwks.json``: fetched, parsed, cached.

- Fetched again from 5 s before they are ``ttl`` (60 s) old, by one caller while the others use the cached keys; from
  ``ttl`` on all wait for that fetch.
- Fetched again for an unknown ``kid``, at most every 10 s; in between, an unknown ``kid`` is refused.
- While the issuer cannot be reached, cached keys are used for up to ``max_stale`` (1 h); it is asked every 10 s.

One fetch at a time, across tasks, event loops and threads; only a blocking call on an event loop that is fetching
fetches by itself. joserfc comes with the extra ``keystead-client[verify]``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final

import httpx

from keystead_client._endpoint import split_url
from keystead_client._protocol import Reply
from keystead_client._single_flight import Share, SingleFlight, Work, run_sync
from keystead_client._transport import Bounds, LoopConnections, ThreadConnections, send, send_async
from keystead_client.errors import KeysteadError, NetworkError, ServerError

ALGORITHM: Final = "ES256"
RETRY_AFTER: Final = 10.0
"""Seconds between two fetches for unknown keys, and after a failed one."""
_FIRST_RETRY_AFTER: Final = 1.0
"""Seconds between two attempts while there are no usable keys at all."""
_MOST_KEYS: Final = 32
"""Keys of a document; an installation publishes at most three."""
_LARGEST: Final = 64 * 1024
"""Bytes of a document; one of three keys has 700."""
_HEADERS: Final = {"accept": "application/json, */*;q=0.5", "cache-control": "no-cache"}
_Get = Work[Reply]


@dataclass(frozen=True, slots=True)
class _State:
    """What is known; replaced as a whole, so that threads read it without a lock."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    fetched_at: float = -inf
    attempted_at: float = -inf
    failure: KeysteadError | None = None


class PublishedKeys:
    """The keys of one issuer by name (``kid``). Thread-safe."""

    def __init__(
        self,
        issuer: str,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
        *,
        ttl: float,
        max_stale: float,
        clock: Callable[[], float],
        timeout: float = 5.0,
    ) -> None:
        try:
            importlib.import_module("joserfc")
        except ImportError:
            message = "offline verification needs joserfc: pip install keystead-client[verify]"
            raise ImportError(message, name="joserfc") from None
        self._url = f"{issuer}/.well-known/jwks.json"
        self._transport = transport
        self._bounds = Bounds(timeout, _LARGEST)
        self._threads = ThreadConnections(
            transport if isinstance(transport, httpx.BaseTransport) else None, self._bounds
        )
        self._loops = LoopConnections(
            transport if isinstance(transport, httpx.AsyncBaseTransport) else None, self._bounds
        )
        self._ttl, self._max_stale = ttl, max_stale
        # So early that the next keys arrive before the cached ones are too old.
        self._renew_at = ttl - min(timeout, ttl / 2)
        self._clock = clock
        self._state = _State()
        self._flights: SingleFlight[None] = SingleFlight(patience=2 * timeout)

    def find(self, kid: str) -> Any | None:
        """The key of that name; None if the issuer does not publish it, as far as is known.

        :raises NetworkError: the issuer cannot be reached, and no cached key is recent enough.
        :raises ServerError: the same; its answer holds no keys.
        """
        return run_sync(self._find(kid, SingleFlight.run_in_thread, self._get))

    async def find_async(self, kid: str) -> Any | None:
        """As :meth:`find`."""
        return await self._find(kid, SingleFlight.run_in_task, self._get_async)

    def close(self) -> None:
        """Close the connections of threads; a later fetch opens new ones."""
        self._threads.close()

    async def aclose(self) -> None:
        """Close those, and the connections of this event loop."""
        self.close()
        await self._loops.close()

    async def _find(self, kid: str, share: Share, get: _Get) -> Any | None:
        if self._must_wait(kid):
            # The state holds the outcome of a fetch, its failure too.
            with suppress(KeysteadError):
                await share(self._flights, "", lambda: self._fetch(kid, get))
        is_usable, state = self._is_usable(self._clock()), self._state
        key = state.keys.get(kid) if is_usable else None
        if key is None and state.failure:
            raise copy(state.failure)
        if key is None and not is_usable:
            raise NetworkError("the issuer's keys are still being fetched", was_sent=True)
        return key

    def _must_wait(self, kid: str) -> bool:
        """Whether a fetch is due, or is in progress and the cached keys are not enough."""
        now = self._clock()
        if not self._flights.is_flying(""):
            return self._is_due(kid, now)
        # Only one caller at a time waits for an issuer that does not answer.
        is_good_for_now = self._is_younger(self._ttl, now) or self._state.failure is not None
        return not (is_good_for_now and self._is_usable(now) and kid in self._state.keys)

    def _is_due(self, kid: str, now: float) -> bool:
        is_usable, is_fresh = self._is_usable(now), self._is_younger(self._renew_at, now)
        if is_usable and is_fresh and kid in self._state.keys:
            return False
        has_paused = not 0 <= now - self._state.attempted_at < (RETRY_AFTER if is_usable else _FIRST_RETRY_AFTER)
        return has_paused or (self._state.failure is None and not is_fresh)

    def _is_usable(self, now: float) -> bool:
        return abs(now - self._state.fetched_at) <= self._max_stale

    def _is_younger(self, seconds: float, now: float) -> bool:
        # `0 <=`: a clock that was set back makes no key young.
        return 0 <= now - self._state.fetched_at < seconds

    async def _fetch(self, kid: str, get: _Get) -> None:
        now = self._clock()
        if not self._is_due(kid, now):
            return  # another fetch has completed since
        started = self._state = replace(self._state, attempted_at=now)
        try:
            # The keys are as old as the request, not as the answer.
            fetched = _State(_keys_of(await get()), now, now)
        except KeysteadError as error:
            fetched = replace(started, failure=error)
        # The outcome of a fetch that was given up is dropped: a later one may have brought newer keys.
        if self._state is started:
            self._state = fetched

    async def _get(self) -> Reply:
        """Never suspends."""
        if self._transport is not None and not isinstance(self._transport, httpx.BaseTransport):
            raise ValueError("transport: verify() needs a synchronous one; verify_async() takes this one")
        client = self._threads.client
        return send(client, client.build_request("GET", self._url, headers=_HEADERS), self._bounds)

    async def _get_async(self) -> Reply:
        # A transport that is only synchronous is used in a thread.
        if self._transport is not None and not isinstance(self._transport, httpx.AsyncBaseTransport):
            return await asyncio.to_thread(run_sync, self._get())
        client = self._loops.client
        return await send_async(client, client.build_request("GET", self._url, headers=_HEADERS), self._bounds)


def require_origin(name: str, url: str, allow_http: bool) -> str:
    """The URL without a trailing slash: https, or http on this computer, or any http with ``allow_http``.

    :raises ValueError: any other URL, or one with more than scheme, host and port.
    """
    parts = split_url(name, url, allow_http)
    origin = url.rstrip("/")
    # Tokens name it character by character. urlsplit drops an empty query without a trace.
    is_whole = origin.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    if not is_whole or "@" in origin or origin.endswith(":"):
        raise ValueError(f"{name}: scheme, host and port only, as in https://id.example.com")
    return origin


def is_signed(token: str, key: Any) -> bool:
    """Whether ``key`` made the signature of ``token``, by ES256 and nothing else."""
    from joserfc.errors import JoseError
    from joserfc.jws import deserialize_compact

    try:
        deserialize_compact(token, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError, TypeError, RecursionError):
        return False
    return True


def _keys_of(reply: Reply) -> dict[str, Any]:
    """The P-256 keys of a document by name. Other keys are ignored (RFC 7517 §5).

    :raises ServerError: the answer is no document of keys, or holds no usable one.
    """
    if reply.status != 200:
        raise ServerError(f"the issuer answered {reply.status} instead of its keys")
    try:
        listed = json.loads(reply.body)["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        listed = None
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise ServerError("the issuer's answer is no document of keys")
    keys = {jwk["kid"]: key for jwk in listed if (key := _key_of(jwk)) is not None}
    if not keys:
        raise ServerError("the issuer's document holds no key for access tokens")
    return keys


def _key_of(jwk: Any) -> Any | None:
    """The key, if it is for ES256 and named by its own thumbprint (RFC 7638), as the server names keys.

    The thumbprint binds the name to the key: no other key can ever appear under a known name.
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
