"""What the middleware decides without asking anybody, whichever protocol carried the request."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from keystead_client._transport import WarnOnce
from keystead_client.answers import Answer, foreign, redirect, unauthenticated, unavailable
from keystead_client.browser import Browser
from keystead_client.cookies import (
    DEFAULT,
    CookieOptions,
    is_local_development,
    loses_secure_cookies,
    read_cookies,
)
from keystead_client.ended import RedirectToLogin, RequestEnded
from keystead_client.errors import KeysteadError
from keystead_client.gate import Gate
from keystead_client.origins import OriginRules
from keystead_client.paths import (
    PathRules,
    absolute_target,
    is_for_programs,
    login_location,
    mount_point,
    redirect_target,
)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_PAGES = frozenset({"same-origin", "none"})
_ADDRESS = re.compile(r"[0-9A-Za-z.:%\[\]_-]{1,100}")


@dataclass(frozen=True, slots=True)
class Visit:
    """What is known of one request."""

    scheme: str
    host: str
    header_names: frozenset[bytes]
    """In lower case."""
    cookies: list[str] = field(repr=False)
    """The values of its ``Cookie`` headers."""
    accept: str
    path: str
    """Decoded, without the prefix under which the application is mounted."""
    raw_path: bytes | None
    root: str
    """That prefix, without a slash at its end."""
    query: bytes = field(repr=False)
    address: str | None
    """Of who asks, as the web server tells it."""
    origin: str | None = None
    """Of the page that sends this, as its ``Origin`` header tells it."""
    referer: str | None = field(default=None, repr=False)
    method: str = "GET"
    is_websocket: bool = False
    fetch_site: str | None = None
    """What ``Sec-Fetch-Site`` says: whose page a browser sends this for."""


class Protection:
    """The options of one middleware.

    Raises ``ValueError`` for paths and origins that are none, and where anonymous users are not allowed and nobody can
    tell who is one.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        public_paths: Sequence[str],
        login_path: str,
        api_paths: Sequence[str],
        refresh_buffer: float,
        cookie_options: CookieOptions | None,
        brand: str | None,
        clock: Callable[[], float],
        allow_anonymous: bool,
        allowed_origins: Sequence[str] = (),
    ) -> None:
        if not (allow_anonymous or gate.speaks_for_the_server):
            raise ValueError(
                "verifier: access tokens do not tell anonymous users from accounts. Turn the brand's feature "
                "anonymous_users off (or let them all in) and say allow_anonymous=True, or leave the verifier out"
            )
        self.gate = gate
        self._public = PathRules(public_paths)
        self._login_page = PathRules((login_path.partition("?")[0],))
        self._for_programs = PathRules(api_paths)
        self._origins = OriginRules(allowed_origins)
        self._login_path = login_path
        self._refresh_buffer = refresh_buffer
        self._options = cookie_options or DEFAULT
        self._brand = brand
        self._clock = clock
        self._allow_anonymous = allow_anonymous
        self._warn_of_lost_cookies = WarnOnce(
            "A session came over plain http, and its cookies are Secure: the browser will drop them, and nobody is "
            "logged in. Serve https (a proxy tells of it by X-Forwarded-Proto), or say CookieOptions(secure=False)"
        )

    def browser(self, visit: Visit) -> Browser:
        """The state of the request, as it begins."""
        way = (visit.scheme, visit.host, visit.header_names, (visit.origin, visit.referer))
        loses = self._options.secure is not False and loses_secure_cookies(*way)
        return Browser(
            gate=self.gate,
            tokens=read_cookies(visit.cookies, self._options),
            options=self._options,
            is_local=is_local_development(*way),
            # Anything else would be no header, and tell the server nothing.
            forwarded_for=visit.address if visit.address and _ADDRESS.fullmatch(visit.address) else None,
            location_of_login=partial(self.location_of_login, visit),
            brand=self._brand,
            refresh_buffer=self._refresh_buffer,
            clock=self._clock,
            is_protected=not self.is_public(visit),
            allow_anonymous=self._allow_anonymous,
            warn_of_lost_cookies=self._warn_of_lost_cookies if loses else None,
            is_foreign=self.is_foreign(visit),
        )

    def is_public(self, visit: Visit) -> bool:
        """Whether anybody may come in: by ``public_paths``, or because it is the login page."""
        return self._public.hold(visit.path, visit.raw_path) or self._login_page.hold(visit.path, visit.raw_path)

    def is_for_program(self, visit: Visit) -> bool:
        """Whether a refusal is a status and no page: by ``api_paths``, or because JSON is asked for."""
        return self._for_programs.hold(visit.path) or is_for_programs(visit.accept)

    def is_foreign(self, visit: Visit) -> bool:
        """Whether a page of another origin, not among ``allowed_origins``, opens a WebSocket or would change something.

        The rule of ``CrossOriginProtection`` in Go's net/http. No other headers are needed: what browsers send since
        2023 has ``Sec-Fetch-Site``, what older ones do has ``Origin``, and what sends neither is no browser.
        """
        if not visit.is_websocket:
            if visit.method in _SAFE:
                return False
            if visit.fetch_site:
                return visit.fetch_site not in _OWN_PAGES and not self._origins.includes(visit.origin)
        elif visit.fetch_site == "same-origin":
            # No script can say so. Anything else is left to the Origin, which every WebSocket of a page brings along.
            return False
        return not self._origins.allow(visit.origin, visit.scheme, visit.host)

    def location_of_login(self, visit: Visit, login_path: str | None) -> str:
        """The address of the login page (another one, if given) that leads back to where this request wanted to go.

        Another one may come from the request, since FastAPI makes query parameters of those of a dependency. So it is
        taken if it is a path of this origin, or an address at this or an allowed one; else it counts as not given.
        """
        page = self._page_given(visit, str(login_path or "")) or mount_point(visit.root) + self._login_path
        return login_location(page, visit.root + visit.path, visit.query)

    def _page_given(self, visit: Visit, raw: str) -> str:
        origin = absolute_target(raw)
        if origin is None:
            return redirect_target(raw, "")
        return raw if self._origins.allow(origin, visit.scheme, visit.host) else ""

    def away(self, visit: Visit, ended: RequestEnded) -> Answer:
        """What answers somebody who has to log in first, and a page of another site."""
        is_for_program = self.is_for_program(visit)
        if not isinstance(ended, RedirectToLogin):
            return foreign(is_for_program=is_for_program)
        return unauthenticated() if is_for_program else redirect(ended.location)

    def away_for_now(self, visit: Visit, error: KeysteadError) -> Answer:
        """What answers while nobody can tell who is logged in."""
        return unavailable(is_for_program=self.is_for_program(visit), retry_after=error.retry_after)
