"""``KeysteadMiddleware`` protects an ASGI application: every path needs a login, except the public ones.

It is pure ASGI: bodies are streamed, and no framework is imported. ``docs/sdk-web.md`` says what each request gets.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

from keystead_client._access_rules import AccessRules, IncomingRequest, OriginRules, PathRules
from keystead_client._checks import RETRIES, TIMEOUT, TokenChecks
from keystead_client._request import RequestEnded, RequestState, current_request
from keystead_client._single_flight import Share, SingleFlight
from keystead_client._transport import LOGGER
from keystead_client.async_client import AsyncClient
from keystead_client.cookies import CookieOptions, without_keystead_headers
from keystead_client.errors import KeysteadError
from keystead_client.verify import Verifier

__all__ = ["KeysteadMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
AppT = TypeVar("AppT")
ClientT = TypeVar("ClientT")

_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class Protected(Generic[AppT, ClientT]):
    """An application with its options, access rules and token checks: what both middlewares have in common.

    :param endpoint: the server; default: ``KEYSTEAD_ENDPOINT``.
    :param public_paths: prefixes of whole path segments, without the prefix under which the application is mounted;
        ``"/"`` is the root page only.
    :param login_path: always public.
    :param refresh_buffer: seconds before expiry at which tokens are refreshed.
    :param cookie_options: names and attributes of the cookies.
    :param brand: accept only users of this brand.
    :param brand_token: accept only users of its brand.
    :param verifier: checks access tokens without a call of the server; needs ``allow_anonymous``, since access tokens
        do not show who is anonymous.
    :param client: instead of one made from ``endpoint``; you close it.
    :param api_paths: prefixes of paths that get 401 instead of a redirect.
    :param allow_anonymous: users without an account count as logged in.
    :param allowed_origins: origins whose pages count as the application's own.
    :param allow_http: the endpoint may be plain http on another computer, over a private network.
    :param timeout: seconds for one call of the server.
    :param clock: the time in seconds since 1970, for tests.
    :raises ValueError: an option is invalid, or contradicts another.
    """

    _client_type: Callable[..., ClientT]
    _share: Share = staticmethod(SingleFlight.run_in_task)

    _adapt: Callable[[Any], Any] = staticmethod(lambda checker: checker)
    """Makes a client or verifier the asynchronous one that ``TokenChecks`` expects."""

    def __init__(
        self,
        app: AppT,
        endpoint: str | None = None,
        public_paths: Sequence[str] = ("/auth",),
        login_path: str = "/auth/login",
        refresh_buffer: float = 60,
        cookie_options: CookieOptions | None = None,
        *,
        brand: str | None = None,
        brand_token: str | None = None,
        verifier: Verifier | None = None,
        client: ClientT | None = None,
        api_paths: Sequence[str] = ("/api",),
        allow_anonymous: bool = False,
        allowed_origins: Sequence[str] = (),
        allow_http: bool = False,
        timeout: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self._rules = AccessRules(
            public=PathRules(public_paths),
            api=PathRules(api_paths),
            origins=OriginRules(allowed_origins),
            login_path=login_path,
            cookie_options=cookie_options or CookieOptions(),
            brand=brand,
            allow_anonymous=allow_anonymous,
            refresh_buffer=refresh_buffer,
            clock=clock,
        )
        if verifier is not None and not allow_anonymous:
            raise ValueError("a `verifier` cannot tell anonymous users from accounts and needs allow_anonymous=True")
        if client is not None:
            ignored = {"endpoint": endpoint, "brand_token": brand_token, "allow_http": allow_http, "timeout": timeout}
            for name in [name for name, value in ignored.items() if value]:
                raise ValueError(f"`{name}` conflicts with `client`; pass it to the client only")
            if brand is not None and getattr(client, "brand", brand) not in (None, brand):
                raise ValueError("`brand` conflicts with `client.brand`; pass it to the client only")
        # KEYSTEAD_API_KEY is for programs. Here users act, and a bad key would lock them out.
        self._own_client = (
            None
            if client
            else self._client_type(
                endpoint,
                brand=brand,
                brand_token=brand_token,
                allow_http=allow_http,
                timeout=TIMEOUT if timeout is None else timeout,
                retries=RETRIES,
                api_key="",
            )
        )
        used = cast(ClientT, client or self._own_client)
        if verifier is None and not getattr(used, "is_of_one_brand", True):
            if client is not None and brand is not None:
                raise ValueError("`brand` needs a client of that brand; pass it to the client")
            LOGGER.warning("Without a brand, users of every brand are accepted. Pass `brand`, or set KEYSTEAD_BRAND.")
        self._checks = TokenChecks(self._adapt(used), verifier and self._adapt(verifier), clock, self._share)


class KeysteadMiddleware(Protected[App, AsyncClient]):
    """ASGI middleware around an application; ``keystead_client.wsgi`` has the same for WSGI."""

    _client_type = AsyncClient

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, partial(self._send_and_close, send))
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"unsupported ASGI scope type {scope['type']!r}")
        scope = {**scope, "headers": without_keystead_headers(scope["headers"])}
        state = RequestState(self._rules, self._checks, _read(scope))
        token = current_request.set(state)
        try:
            await self._serve(scope, receive, partial(_send_with_cookies, state, scope, send), state)
        finally:
            current_request.reset(token)
            state.log_unawaited()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, state: RequestState) -> None:
        try:
            await state.require_access()
            await self.app(scope, receive, send)
            state.require_no_rejection()
        except (RequestEnded, KeysteadError) as error:
            answer = state.answer_to(error)
            if answer is None or state.has_begun:
                raise
            state.take_over()
            if scope["type"] == "websocket":
                # Closed before it is accepted: the browser sees 403.
                await receive()
                code = _POLICY_VIOLATION if isinstance(error, RequestEnded) else _TRY_AGAIN_LATER
                await send({"type": "websocket.close", "code": code, "reason": ""})
            else:
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                await send({"type": "http.response.body", "body": answer.body})

    async def _send_and_close(self, send: Send, message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown."):
            await self._checks.finish()
            if self._own_client is not None:
                await self._own_client.close()
        await send(message)


async def _send_with_cookies(state: RequestState, scope: Scope, send: Send, message: Message) -> None:
    # Drops the 500 of a framework that does not know the middleware's exceptions, and raises them afterwards.
    if message["type"] == "http.response.start" and state.suppress(message["status"]):
        return
    if state.is_suppressed:
        return
    can_respond = "websocket.http.response" in (scope.get("extensions") or ())
    if message["type"] == "websocket.close" and state.set_cookies and can_respond and not state.has_begun:
        # The old tokens are used up: the browser needs the new ones although the WebSocket is refused.
        headers = state.begin([(b"content-length", b"0")], 403)
        await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b""})
        return
    if message["type"] in _STARTS:
        message = {**message, "headers": state.begin(message.get("headers", []), message.get("status"))}
    await send(message)


def _read(scope: Scope) -> IncomingRequest:
    values: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name.lower(), []).append(value.decode("latin-1"))
    client = scope.get("client")
    root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :] or "/"
    return IncomingRequest(
        scheme=scope.get("scheme", "http"),
        host=values.get(b"host", [""])[0],
        header_names=frozenset(values),
        cookies=values.get(b"cookie", []),
        accept=",".join(values.get(b"accept", ())),
        path=path,
        raw_path=scope.get("raw_path"),
        root=root,
        query=scope.get("query_string", b""),
        address=client[0] if client else None,
        origin=",".join(values[b"origin"]) if b"origin" in values else None,
        referer=",".join(values.get(b"referer", ())),
        method=scope.get("method", "GET"),
        is_websocket=scope["type"] == "websocket",
        fetch_site=",".join(values.get(b"sec-fetch-site", ())),
    )
