"""The client without ``await``: it drives the flows over httpx, from any thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

import httpx

from keystead_client import _operations
from keystead_client._endpoint import Endpoint, endpoint_from
from keystead_client._protocol import Flow, Question, Refresh, Reply, Send, Sleep, Step, ask, resume
from keystead_client._session import Session
from keystead_client._single_flight import SingleFlight
from keystead_client._transport import Bounds, open_client, send
from keystead_client.entities import Entity
from keystead_client.errors import KeysteadError, NotAuthenticated, RefreshTokenInvalid, Unauthenticated
from keystead_client.tokens import Kind, MemoryTokens, Tokens, TokenStore

ME = ("id", "email", "username", "verified", "is_anonymous", "brand", "permissions")


class ClientOptions(TypedDict, total=False):
    """What both clients take beside the endpoint and the transport."""

    api_key: str | None
    brand_token: str | None
    brand: str | None
    tokens: TokenStore | Tokens | None
    timeout: float
    max_answer: int
    refresh_buffer: float
    retries: int
    forwarded_for: str | None
    allow_http: bool
    clock: Callable[[], float]


def given(name: str, token: object, missing: type[NotAuthenticated]) -> str:
    """The token, if it is one. Raises ``missing`` without one, ``TypeError`` for what is no text."""
    if not isinstance(token, str | None):
        raise TypeError(f"{name}: the text of a token, not {type(token).__name__}")
    if not token:
        raise missing(f"{name}: there is none, so nobody is logged in")
    return token


def _store(tokens: TokenStore | Tokens | None) -> TokenStore:
    if tokens is None or isinstance(tokens, Tokens):
        return MemoryTokens(tokens)
    is_store = callable(getattr(tokens, "load", None)) and callable(getattr(tokens, "save", None))
    if not is_store or isinstance(tokens, type):
        raise TypeError(f"tokens: a store such as FileTokens(path), or Tokens, not {type(tokens).__name__}")
    return tokens


class Configured:
    """What both clients are made of."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        api_key: str | None = None,
        brand_token: str | None = None,
        brand: str | None = None,
        tokens: TokenStore | Tokens | None = None,
        timeout: float = 10.0,
        max_answer: int = 4 * 1024 * 1024,
        refresh_buffer: float = 60,
        retries: int = 2,
        forwarded_for: str | None = None,
        allow_http: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint: Endpoint = endpoint_from(endpoint, api_key, brand_token, forwarded_for, allow_http=allow_http)
        if brand is None and brand_token is None:
            brand = os.environ.get("KEYSTEAD_BRAND")
        self._brand = brand or None
        self._bounds = Bounds(timeout, max_answer)
        if not (retries >= 0 and refresh_buffer >= 0):
            raise ValueError("retries and refresh_buffer are not negative")
        self._session = Session(self._endpoint, _store(tokens), retries, refresh_buffer, clock)
        self._flights: SingleFlight[Tokens] = SingleFlight()
        # Longer than a refresh with all its repetitions can take; only a stuck leader is given up.
        self._patience = (timeout + 5) * (retries + 1) * 2

    @property
    def brand(self) -> str | None:
        """The brand whose users are meant, a name or an id; None: not said."""
        return self._brand

    @property
    def is_of_one_brand(self) -> bool:
        """Whether users of other brands are told apart: by the brand, or by a credential that belongs to one."""
        return bool(self._brand or self._endpoint.brand_token or self._endpoint.api_key)

    @property
    def url(self) -> str:
        """Where requests are posted."""
        return self._endpoint.url

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of the session, None without one."""
        return self._session.tokens

    def _headers_of(self, auth_token: str | None, forwarded_for: str | None) -> dict[str, str]:
        """Of a request about somebody else's token. Raises ``NotAuthenticated`` without one: it would be nobody's.

        With the key beside it the answer would be about what both may do, so it stays away, unless nothing else says
        whose users are meant: the server refuses a token and a key of two brands.
        """
        is_bound = bool(self._brand or self._endpoint.brand_token)
        auth_token = given("auth_token", auth_token, Unauthenticated)
        return self._endpoint.headers(auth_token, forwarded_for=forwarded_for, with_key=not is_bound)

    def _request(self, http: httpx.Client | httpx.AsyncClient, step: Send) -> httpx.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **step.question.headers}
        return http.build_request("POST", self.url, content=step.question.body(), headers=headers)


T = TypeVar("T")


class Client(Configured):
    """Talks to one Keystead server for one session at most, from any thread.

    What the server refuses, and what goes wrong on the way to it, raises ``KeysteadError``.

    :param endpoint: the server's root or its ``/graphql``; default: ``KEYSTEAD_ENDPOINT``.
    :param api_key: with it the program acts by itself, no login needed; default: ``KEYSTEAD_API_KEY``.
    :param brand_token: which brand's app this is; default: ``KEYSTEAD_BRAND_TOKEN``.
    :param brand: where users log in, a name or an id; ``me_with`` refuses users of the others. Default, where no brand
        token is given: ``KEYSTEAD_BRAND``.
    :param tokens: a store, as ``FileTokens(path)``, or ``Tokens`` to begin with; default: in memory, none.
    :param timeout: seconds from the first step of a request to the last byte of its answer, 10 by default.
    :param max_answer: bytes of an answer that are read, 4 MiB by default; the server sends 1 MiB at most.
    :param refresh_buffer: seconds before its end at which an access token is renewed, 60 by default.
    :param retries: how often a request is repeated that is safe to repeat, 2 by default.
    :param forwarded_for: the address of the end user for whom all of this is done.
    :param allow_http: the endpoint may be plain http though it is another computer.
    :param transport: an httpx transport instead of TCP: for tests, or for a proxy.
    :param clock: the time in seconds since 1970, for tests.
    :raises ValueError: for options that cannot be right, or no endpoint; TypeError: ``tokens`` that are something else.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(endpoint, **options)
        self._http = open_client(transport, self._bounds)

    # ------------------------------------------------------------------------------------------- the client's session

    def login(self, email: str, password: str, *, brand: str | None = None, session: Kind = "pair") -> Tokens:
        """Log in; the tokens are kept. Raises ``InvalidCredentials``.

        ``session="standing"`` is for a device that stays logged in. ``brand``: another than the client's own.
        """
        return self._run(self._session.log_in(email, password, brand or self._brand, session))

    def create_me(self) -> Tokens:
        """Become a new anonymous user, with a standing session. Needs a brand token."""
        return self._run(self._session.create_me())

    def get_access_token(self, expires_in: int | None = None) -> str:
        """An access token of the standing session, to be given away; ``expires_in`` is seconds, 900 by default.

        Raises ``RequestError`` for a pair session: its access token is ``tokens.auth_token``.
        """
        return self._run(self._session.access_token(expires_in))

    def refresh(self) -> Tokens:
        """Renew the access token now. Raises ``NotAuthenticated`` where the session is over."""
        return self._refresh(self._session.due())

    def logout(self) -> None:
        """End the session, here and on the server."""
        self._run(self._session.log_out())

    def logout_everywhere(self, *, force: bool = False) -> None:
        """End all sessions of the user. Raises ``NoLoginMethod`` where there is no way back in, unless ``force``."""
        self._run(self._session.log_out_everywhere(force))

    def me(self, select: Sequence[str] = ME) -> dict[str, Any]:
        """The user. Raises ``NotAuthenticated``."""
        return _operations.user_of(self.execute(_operations.me_document(select)))

    def execute(
        self, document: str, variables: Mapping[str, Any] | None = None, operation_name: str | None = None
    ) -> dict[str, Any]:
        """The ``data`` of any GraphQL document. The first error of an answer is raised; it holds the partial data."""
        return self._run(self._session.execute(Question.of(document, variables, operation_name)))

    def entity(self, name: str) -> Entity:
        """The records of one entity, for example ``customer``."""
        return Entity(name, self.execute)

    # --------------------------------------------------------------------------- sessions of others: nothing is kept

    def login_with(
        self,
        email: str,
        password: str,
        *,
        brand: str | None = None,
        session: Kind | None = None,
        forwarded_for: str | None = None,
    ) -> Tokens:
        """Log somebody in. ``session`` None: a pair session where the brand has them, else a standing one."""
        headers = self._endpoint.headers(forwarded_for=forwarded_for)
        flow = _operations.log_in(
            email, password, brand=brand or self._brand, kind=session, headers=headers, retries=self._session.retries
        )
        return self._run(flow)

    def refresh_with(self, refresh_token: str | None, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens of a session of either kind; a standing one keeps its refresh token.

        Raises ``NotAuthenticated`` where the session is over, and at once for no token.
        """
        refresh_token = given("refresh_token", refresh_token, RefreshTokenInvalid)
        headers = self._endpoint.headers(forwarded_for=forwarded_for, is_exchange=True)
        return self._run(_operations.refresh(refresh_token, headers=headers, retries=self._session.retries))

    def me_with(
        self, auth_token: str | None, select: Sequence[str] = ME, *, forwarded_for: str | None = None
    ) -> dict[str, Any]:
        """The user of an access token.

        Raises ``NotAuthenticated`` where it is no longer good, or of another brand than the client's; at once for none.
        """
        headers = self._headers_of(auth_token, forwarded_for)
        return self._run(_operations.me(select, brand=self._brand, headers=headers, retries=self._session.retries))

    def execute_with(
        self,
        auth_token: str | None,
        document: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        *,
        forwarded_for: str | None = None,
    ) -> dict[str, Any]:
        """The ``data`` of any GraphQL document, with the rights of an access token.

        Raises as :meth:`execute` does, and ``NotAuthenticated`` at once for no token: never asks as nobody.
        """
        question = Question.of(document, variables, operation_name)
        asked = question.with_headers(self._headers_of(auth_token, forwarded_for))
        return self._run(ask(asked, self._session.retries))

    def logout_with(
        self, auth_token: str | None = None, *, refresh_token: str | None = None, forwarded_for: str | None = None
    ) -> None:
        """End the session of an access token, or with ``refresh_token`` that of a refresh token (RFC 7009).

        A refresh token is enough by itself; one that is unknown, or whose session is over, changes nothing.

        :raises NotAuthenticated: the session of the access token is over, or no token is given.
        """
        if refresh_token:
            headers = self._endpoint.headers(forwarded_for=forwarded_for, is_exchange=True)
        else:
            headers = self._headers_of(auth_token, forwarded_for)
        self._run(_operations.log_out(refresh_token, headers=headers, retries=self._session.retries))

    # ------------------------------------------------------------------------------------------------- driving flows

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        # Closed at once where it is given up: what it does at its end must not happen later, out of the blue.
        with closing(flow):
            outcome: Reply | str | KeysteadError | None = None
            try:
                while True:
                    step = resume(flow, outcome)
                    try:
                        outcome = self._take(step)
                    except KeysteadError as error:
                        outcome = error
            except StopIteration as done:
                result: T = done.value
                return result

    def _take(self, step: Step) -> Reply | str | None:
        match step:
            case Send():
                return send(self._http, self._request(self._http, step), self._bounds)
            case Sleep(seconds):
                time.sleep(seconds)
                return None
            case Refresh():
                return self._refresh(step).auth_token

    def _refresh(self, due: Refresh) -> Tokens:
        return self._flights.run(due.key, lambda: self._run(self._session.refresh(due)), self._patience)
