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
    header_values,
    refuse_websocket,
    send_redirect,
    send_unauthenticated,
    send_unavailable,
    with_cookies,
    without_keystead_headers,
)
from keystead_client.async_client import AsyncClient
from keystead_client.auth import RedirectToLogin, current_browser
from keystead_client.browser import Browser
from keystead_client.cookies import DEFAULT, CookieOptions, is_local_development, read_cookies
from keystead_client.errors import KeysteadError
from keystead_client.gate import AuthServer, Gate, Verifies
from keystead_client.paths import PathRules, is_for_programs, login_location, path_within

__all__ = ["KeysteadMiddleware"]


class KeysteadMiddleware:
    """Wraps an ASGI application.

    ``public_paths`` and ``api_paths`` are prefixes of whole segments, without the prefix under which the application is
    mounted; ``"/"`` is the root page alone, and ``login_path`` is always public. ``refresh_buffer`` is in seconds: a
    token that lives shorter than that is refreshed. ``client`` replaces the one that is made from ``endpoint`` (or
    ``KEYSTEAD_ENDPOINT``), and is then closed by whoever made it. ``clock`` tells seconds since 1970. Raises
    ``ValueError`` for paths that are none.
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self._public = PathRules(public_paths)
        self._login_page = PathRules((login_path.partition("?")[0],))
        self._for_programs = PathRules(api_paths)
        self._login_path = login_path
        self._refresh_buffer = refresh_buffer
        self._options = cookie_options or DEFAULT
        self._brand = brand
        self._clock = clock
        server = client or AsyncClient(endpoint, brand_token=brand_token, brand=brand)
        self._own_client = server if client is None else None
        self._gate = Gate(server, verifier, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI hands it over."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, partial(self._send_and_close, send))
            return
        scope = {**scope, "headers": without_keystead_headers(scope["headers"])}
        browser = self._browser(scope)
        token = current_browser.set(browser)
        try:
            await self._serve(scope, receive, partial(_send_with_cookies, browser, send), browser)
        finally:
            current_browser.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, browser: Browser) -> None:
        try:
            if not self._is_public(scope) and await browser.user() is None:
                raise RedirectToLogin(browser.location_of_login(None))
            await self.app(scope, receive, send)
            if browser.is_withheld and browser.refusal is not None:
                raise browser.refusal
        except RedirectToLogin as redirect:
            if browser.has_begun_to_answer:
                raise
            browser.answer_instead()
            await self._send_to_login(scope, receive, send, redirect.location)
        except KeysteadError as error:
            # Others are the application's own affair, for example its calls of the data client.
            if error is not browser.outage or browser.has_begun_to_answer:
                raise
            browser.answer_instead()
            await self._send_unavailable(scope, receive, send, error)

    async def _send_to_login(self, scope: Scope, receive: Receive, send: Send, location: str) -> None:
        if scope["type"] == "websocket":
            await refuse_websocket(receive, send, POLICY_VIOLATION)
        elif self._is_for_program(scope):
            await send_unauthenticated(send)
        else:
            await send_redirect(send, location)

    async def _send_unavailable(self, scope: Scope, receive: Receive, send: Send, error: KeysteadError) -> None:
        if scope["type"] == "websocket":
            await refuse_websocket(receive, send, TRY_AGAIN_LATER)
        else:
            is_for_program = self._is_for_program(scope)
            await send_unavailable(send, is_for_program=is_for_program, retry_after=error.retry_after)

    async def _send_and_close(self, send: Send, message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown.") and self._own_client is not None:
            await self._own_client.close()
        await send(message)

    def _browser(self, scope: Scope) -> Browser:
        names = {name.lower() for name, _ in scope["headers"]}
        host = next(iter(header_values(scope, b"host")), "")
        client = scope.get("client")
        return Browser(
            gate=self._gate,
            tokens=read_cookies(header_values(scope, b"cookie"), self._options),
            options=self._options,
            is_local=is_local_development(scope.get("scheme", "http"), host, names),
            forwarded_for=client[0] if client else None,
            location_of_login=partial(self._location_of_login, scope),
            brand=self._brand,
            refresh_buffer=self._refresh_buffer,
            clock=self._clock,
        )

    def _location_of_login(self, scope: Scope, login_path: str | None) -> str:
        root = scope.get("root_path", "").rstrip("/")
        asked = root + path_within(scope["path"], root)
        return login_location(login_path or root + self._login_path, asked, scope.get("query_string", b""))

    def _is_public(self, scope: Scope) -> bool:
        path = path_within(scope["path"], scope.get("root_path", ""))
        raw = scope.get("raw_path")
        return self._public.hold(path, raw) or self._login_page.hold(path, raw)

    def _is_for_program(self, scope: Scope) -> bool:
        path = path_within(scope["path"], scope.get("root_path", ""))
        return self._for_programs.hold(path) or is_for_programs(",".join(header_values(scope, b"accept")))


async def _send_with_cookies(browser: Browser, send: Send, message: Message) -> None:
    # A framework inside answers 500 to an exception that it does not know, and then hands it on to us.
    if message["type"] == "http.response.start" and browser.withhold(message["status"]):
        return
    if browser.is_withheld:
        return
    if message["type"] in ("http.response.start", "websocket.accept"):
        browser.has_begun_to_answer = True
        if browser.set_cookies:
            headers = with_cookies(message.get("headers", []), browser.set_cookies, browser.options.names)
            message = {**message, "headers": headers}
    await send(message)
