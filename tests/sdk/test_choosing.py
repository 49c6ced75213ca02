"""The client of a middleware: one that it makes, and one that it is given."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from keystead_client import AsyncClient, Client
from keystead_client.middleware import KeysteadMiddleware
from keystead_client.verify import Verifier
from keystead_client.wsgi import KeysteadMiddleware as WsgiMiddleware

ENDPOINT = "https://auth.example.com"
WARNING = "No brand is given: users of every brand of the server are let in. Say brand=, or set KEYSTEAD_BRAND."
Make = Callable[..., Any]


@pytest.fixture(params=["asgi", "wsgi"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes the middleware; ``client`` is then a dict of the options of one that is given."""

    def make(endpoint: str | None = None, *, client: dict[str, Any] | None = None, **options: Any) -> Any:
        middleware, kind = {"asgi": (KeysteadMiddleware, AsyncClient), "wsgi": (WsgiMiddleware, Client)}[request.param]
        given: Any = None if client is None else kind(ENDPOINT, **client)
        made: Any = middleware(None, endpoint, client=given, **options)
        return made

    return make


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one."""
    for name in ("KEYSTEAD_ENDPOINT", "KEYSTEAD_API_KEY", "KEYSTEAD_BRAND", "KEYSTEAD_BRAND_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def client_of(middleware: Any) -> Any:
    server = middleware._protection.gate.server._server
    return getattr(server, "client", server)


@pytest.mark.parametrize(
    ("option", "value"),
    [("timeout", 5.0), ("brand_token", "ks_bt_x"), ("allow_http", True), ("endpoint", "https://else.example.com")],
)
def test_what_a_client_that_is_given_would_not_obey_is_refused(make: Make, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{option}: the client has its own"):
        make(client={"brand": "A"}, **{option: value})


def test_two_brands_cannot_both_be_meant(make: Make) -> None:
    make(client={"brand": "A"}, brand="A")
    make(client={"brand_token": "ks_bt_x"}, brand="A")
    with pytest.raises(ValueError, match="the client has another one"):
        make(client={"brand": "A"}, brand="B")
    with pytest.raises(ValueError, match="give it there"):
        make(client={}, brand="A")


def test_where_users_of_every_brand_are_let_in_it_is_said_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    for endpoint, client in ((ENDPOINT, None), (None, {})):
        make(endpoint, client=client)
        assert caplog.record_tuples == [("keystead_client", logging.WARNING, WARNING)]
        caplog.clear()


def test_where_somebody_says_whose_users_are_meant_nothing_is(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(ENDPOINT, brand="A")
    make(ENDPOINT, brand_token="ks_bt_x")
    for client in ({"brand": "A"}, {"brand_token": "ks_bt_x"}, {"api_key": "ks_sk_x"}):
        make(client=client)
    verifier = Verifier(ENDPOINT, "019b796d-d600-7000-be72-e1bcd08bca13")
    make(ENDPOINT, verifier=verifier, allow_anonymous=True)
    monkeypatch.setenv("KEYSTEAD_BRAND", "A")
    make(ENDPOINT)
    make(client={})
    assert caplog.records == []


def test_the_brand_may_stand_in_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSTEAD_BRAND", "A")
    assert client_of(make(ENDPOINT)).brand == "A"
    assert client_of(make(client={})).brand == "A"
    assert client_of(make(ENDPOINT, brand="B")).brand == "B"
    assert client_of(make(ENDPOINT, brand_token="ks_bt_x")).brand is None, "the token is of a brand"
    with pytest.raises(ValueError, match="another one"):
        make(client={}, brand="B")
    monkeypatch.setenv("KEYSTEAD_BRAND", "")
    assert client_of(make(ENDPOINT)).brand is None


def test_the_key_of_the_environment_is_a_programs(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old one would make every login fail."""
    monkeypatch.setenv("KEYSTEAD_API_KEY", "ks_sk_of_a_script")
    assert client_of(make(ENDPOINT, brand="A"))._endpoint.api_key == ""
    assert client_of(make(client={"brand": "A"}))._endpoint.api_key == "ks_sk_of_a_script", "whoever gives it decides"
    assert Client(ENDPOINT)._endpoint.api_key == "ks_sk_of_a_script"
