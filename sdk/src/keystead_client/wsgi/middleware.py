"""``KeysteadMiddleware`` for WSGI: what :mod:`keystead_client.middleware` does, without an event loop or a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from keystead_client._single_flight import share_between_threads
from keystead_client.choosing import options_of_own, require_no_contradiction, warn_of_every_brand
from keystead_client.client import Client
from keystead_client.cookies import CookieOptions
from keystead_client.gate import Gate
from keystead_client.protection import Protection
from keystead_client.wsgi.environ import strip, visit_of
from keystead_client.wsgi.exchange import IN_ENVIRON, Exchange
from keystead_client.wsgi.server import BlockingServer, BlockingVerifier, VerifiesAtOnce


class KeysteadMiddleware:
    """Wraps a WSGI application; the options are those of the one for ASGI.

    ``public_paths`` and ``api_paths`` are prefixes of whole segments, without the prefix under which the application is
    mounted; ``"/"`` is the root page alone, and ``login_path`` is always public. ``refresh_buffer`` is in seconds: a
    token that lives shorter than that is refreshed. ``client`` replaces the one that is made from ``endpoint`` (or
    ``KEYSTEAD_ENDPOINT``), and is then closed by whoever made it. ``allow_http`` is for an endpoint that is reached in
    plain text by a way nobody else is on; one question to it may take ``timeout`` seconds. ``allow_anonymous``: users
    without an account are logged in, too; a ``verifier`` cannot tell them apart, and so needs it. ``allowed_origins``
    are those of pages that may post besides the application's own. ``clock`` tells seconds since 1970. Raises
    ``ValueError`` for paths and origins that are none, and for other options that cannot be meant.
    """

    def __init__(
        self,
        app: WSGIApplication,
        endpoint: str | None = None,
        public_paths: Sequence[str] = ("/auth",),
        login_path: str = "/auth/login",
        refresh_buffer: float = 60,
        cookie_options: CookieOptions | None = None,
        *,
        brand: str | None = None,
        brand_token: str | None = None,
        verifier: VerifiesAtOnce | None = None,
        client: Client | None = None,
        api_paths: Sequence[str] = ("/api",),
        allow_anonymous: bool = False,
        allowed_origins: Sequence[str] = (),
        allow_http: bool = False,
        timeout: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        is_verified = verifier is not None
        if client is not None:
            others = {"endpoint": endpoint, "brand_token": brand_token, "allow_http": allow_http, "timeout": timeout}
            require_no_contradiction(client, brand, is_verified=is_verified, **others)
        asking = client or Client(endpoint, **options_of_own(brand, brand_token, timeout, allow_http=allow_http))
        warn_of_every_brand(asking, is_verified=is_verified)
        self._protection = Protection(
            Gate(
                BlockingServer(asking), BlockingVerifier(verifier) if verifier else None, clock, share_between_threads
            ),
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

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request, as WSGI hands it over."""
        strip(environ)
        exchange = Exchange(self._protection, visit_of(environ), start_response)
        environ[IN_ENVIRON] = exchange
        return exchange.respond(self.app, environ)
