"""``KeysteadMiddleware`` protects an ASGI application: only who is logged in gets past it, except on the public paths.

It is pure ASGI: bodies stream, background work runs on, and no framework is imported. What it decides, in this order:

1. The path is public: the application answers; the server is asked nothing until the application wants to know.
2. The access token is good for a while: it is checked (at the server, or by the verifier), and the application answers.
3. It is not: the refresh token is exchanged, once for all requests that bring it; the new cookies go out with the
   response.
4. The server says that the session is over: the cookies are deleted, a browser goes to the login page, a program gets
   401.
5. Nobody can tell: the cookies stay, the answer is 503.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from keystead_client.asgi import (
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    App,
    Message,
    Receive,
    Scope,
    Send,
    refuse_websocket,
    send_answer,
    visit_of,
)
from keystead_client.async_client import AsyncClient
from keystead_client.browser import Browser, current_browser
from keystead_client.choosing import options_of_own, require_no_contradiction, warn_of_every_brand
from keystead_client.cookies import CookieOptions
from keystead_client.ended import ForeignRequest, RedirectToLogin, RequestEnded
from keystead_client.errors import KeysteadError
from keystead_client.gate import Gate, Verifies
from keystead_client.headers import without_keystead_headers
from keystead_client.protection import Protection, Visit
from keystead_client.wary import AuthServer

__all__ = ["KeysteadMiddleware"]

_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class KeysteadMiddleware:
    """Wraps an ASGI application.

    ``public_paths`` and ``api_paths`` are prefixes of whole segments, without the prefix under which the application is
    mounted; ``"/"`` is the root page alone, and ``login_path`` is always public. ``refresh_buffer`` is in seconds: a
    token that lives shorter than that is refreshed. ``client`` replaces the one that is made from ``endpoint`` (or
    ``KEYSTEAD_ENDPOINT``), and is then closed by whoever made it. ``allow_http`` is for an endpoint that is reached in
    plain text by a way nobody else is on; one question to it may take ``timeout`` seconds. ``allow_anonymous``: users
    without an account are logged in, too; a ``verifier`` cannot tell them apart, and so needs it. ``allowed_origins``
    are those of pages that may post and open WebSockets besides the application's own. ``clock`` tells seconds since
    1970. Raises ``ValueError`` for paths and origins that are none, and for other options that cannot be meant.
    """

    def __init__(
        self,
        app: App,
        endpoint: str | None = None,
        public_paths: Sequence[str] = ("/auth",),
        login_path: str = "/auth/login",
        refresh_buffer: float = 60,
        cookie_options: CookieOptions | None = None,
        *,
        brand: str | None = None,
        brand_token: str | None = None,
        verifier: Verifies | None = None,
        client: AuthServer | None = None,
        api_paths: Sequence[str] = ("/api",),
        allow_anonymous: bool = False,
        allowed_origins: Sequence[str] = (),
        allow_http: bool = False,
        timeout: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        is_verified = verifier is not None
        self._own_client: AsyncClient | None = None
        if client is None:
            own = options_of_own(brand, brand_token, timeout, allow_http=allow_http)
            client = self._own_client = AsyncClient(endpoint, **own)
        else:
            others = {"endpoint": endpoint, "brand_token": brand_token, "allow_http": allow_http, "timeout": timeout}
            require_no_contradiction(client, brand, is_verified=is_verified, **others)
        warn_of_every_brand(client, is_verified=is_verified)
        self._protection = Protection(
            Gate(client, verifier, clock),
            public_paths=public_paths,
            login_path=login_path,
            api_paths=api_paths,
            refresh_buffer=refresh_buffer,
            cookie_options=cookie_options,
            brand=brand,
            clock=clock,
            allow_anonymous=allow_anonymous,
            allowed_origins=allowed_origins,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI hands it over."""
        if scope["type"] not in ("lifespan", "http", "websocket"):
            raise RuntimeError(f"nobody can tell who is logged in over {scope['type']!r}: it is let through to nobody")
        if scope["type"] == "lifespan":
            await self.app(scope, receive, partial(self._send_and_close, send))
            return
        scope = {**scope, "headers": without_keystead_headers(scope["headers"])}
        visit = visit_of(scope)
        browser = self._protection.browser(visit)
        token = current_browser.set(browser)
        try:
            can_refuse = "websocket.http.response" in (scope.get("extensions") or ())
            sending = partial(_send_with_cookies, browser, send, can_refuse)
            await self._serve(scope, receive, sending, visit, browser)
        finally:
            current_browser.reset(token)
            browser.unawaited.tell()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, visit: Visit, browser: Browser) -> None:
        try:
            if browser.is_foreign and browser.has_tokens:
                raise ForeignRequest
            if browser.is_protected and await browser.user() is None:
                raise RedirectToLogin(browser.location_of_login(None))
            await self.app(scope, receive, send)
            if browser.is_withheld and browser.refusal is not None:
                raise browser.refusal
        except RequestEnded as ended:
            if browser.has_begun_to_answer:
                raise
            browser.answer_instead()
            await self._send_away(scope, receive, send, visit, ended)
        except KeysteadError as error:
            # Others are the application's own affair, for example its calls of the data client.
            if error is not browser.outage or browser.has_begun_to_answer:
                raise
            browser.answer_instead()
            await self._send_unavailable(scope, receive, send, visit, error)

    async def _send_away(self, scope: Scope, receive: Receive, send: Send, visit: Visit, ended: RequestEnded) -> None:
        if scope["type"] == "websocket":
            await refuse_websocket(receive, send, POLICY_VIOLATION)
        else:
            await send_answer(send, self._protection.away(visit, ended))

    async def _send_unavailable(
        self, scope: Scope, receive: Receive, send: Send, visit: Visit, error: KeysteadError
    ) -> None:
        if scope["type"] == "websocket":
            await refuse_websocket(receive, send, TRY_AGAIN_LATER)
        else:
            await send_answer(send, self._protection.away_for_now(visit, error))

    async def _send_and_close(self, send: Send, message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown."):
            await self._protection.gate.finish()
            if self._own_client is not None:
                await self._own_client.close()
        await send(message)


async def _send_with_cookies(browser: Browser, send: Send, can_refuse: bool, message: Message) -> None:
    # A framework inside answers 500 to an exception that it does not know, and then hands it on to us.
    if message["type"] == "http.response.start" and browser.withhold(message["status"]):
        return
    if browser.is_withheld:
        return
    if message["type"] == "websocket.close" and browser.set_cookies and can_refuse and not browser.has_begun_to_answer:
        # The old tokens are spent: who is refused a WebSocket needs the new ones all the same.
        headers = browser.begin_to_answer([(b"content-length", b"0")], 403)
        await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b""})
        return
    if message["type"] in _BEGINNINGS:
        headers = browser.begin_to_answer(message.get("headers", []), message.get("status"))
        message = {**message, "headers": headers}
    await send(message)
