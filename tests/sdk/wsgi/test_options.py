"""What the middleware is given: a verifier, a client, an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from keystead.users.model import User
from keystead_client import Client
from keystead_client.errors import TokenInvalid
from keystead_client.wsgi import KeysteadMiddleware
from keystead_client.wsgi.server import BlockingServer
from tests.clocks import ManualClock
from tests.sdk.site import AUTH
from tests.sdk.wsgi.flask_shop import make_flask
from tests.sdk.wsgi.shop import Shop, in_a_thread

ENDPOINT = "https://auth.example.com"


@dataclass
class Claimed:
    user_id: str


class OfflineVerifier:
    """Knows the tokens of one user."""

    def __init__(self, user_id: str, *tokens: str) -> None:
        self.user_id = user_id
        self.tokens = tokens

    def verify(self, token: str) -> Claimed:
        if token not in self.tokens:
            raise TokenInvalid("not one of ours")
        return Claimed(self.user_id)


def silent(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise AssertionError


def server_of(middleware: KeysteadMiddleware) -> BlockingServer:
    server = middleware._protection.gate.server._server
    assert isinstance(server, BlockingServer)
    return server


@in_a_thread
def test_a_verifier_lets_in_without_the_server(open_shop: Callable[..., Shop], clock: ManualClock, ann: User) -> None:
    with open_shop(make_flask()).logged_in() as browser:
        cookies = dict(browser.cookies)
    shop = open_shop(make_flask(), verifier=OfflineVerifier(ann.id, cookies[AUTH]), allow_anonymous=True)
    shop.wire.is_cut = True
    with shop.browser(cookies) as browser:
        assert browser.get("/orders").json()["user"] == {"id": ann.id}
        assert shop.wire.sent == {}
        clock.advance(minutes=59, seconds=30)
        assert browser.get("/orders").status_code == 200, "the refresh fails, the token has half a minute"
        assert shop.wire.sent == {"refreshToken": 1}
    unknowing = open_shop(make_flask(), verifier=OfflineVerifier(ann.id), allow_anonymous=True)
    with unknowing.browser(cookies) as browser:
        response = browser.get("/orders")
        assert (response.status_code, response.headers.get_list("set-cookie")) == (503, [])


def test_a_client_that_is_given_is_used() -> None:
    with Client(ENDPOINT) as given:
        assert server_of(KeysteadMiddleware(silent, client=given)).client is given


def test_what_is_wrong_with_the_options_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYSTEAD_ENDPOINT", raising=False)
    with pytest.raises(ValueError, match="no endpoint"):
        KeysteadMiddleware(silent)
    with pytest.raises(ValueError, match="http"):
        KeysteadMiddleware(silent, "http://auth.example.com")
    asking = server_of(KeysteadMiddleware(silent, "http://auth.example.com", allow_http=True)).client
    assert asking.url == "http://auth.example.com/graphql"
    with pytest.raises(ValueError, match="not a path"):
        KeysteadMiddleware(silent, ENDPOINT, public_paths=("auth",))
