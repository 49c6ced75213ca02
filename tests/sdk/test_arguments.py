"""Arguments that cannot be right are refused before anything is sent, by a message that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from keystead_client import Client, FileTokens, MemoryTokens, NotAuthenticated, Tokens
from keystead_client.errors import RequestError

URL = "https://id.example.com"
Act = Callable[[Any], Any]


def unasked(request: httpx.Request) -> httpx.Response:
    raise AssertionError("something was sent")


def do(act: Act, **options: Any) -> Any:
    """What ``act`` does to a client, which sends nothing. ``AsyncClient`` runs the same coroutines."""
    with Client(URL, **{"transport": httpx.MockTransport(unasked), **options}) as client:
        return act(client)


@pytest.mark.parametrize("method", ["login", "login_with"])
@pytest.mark.parametrize("session", ["foo", "", "PAIR", 1])
def test_a_kind_of_session_that_does_not_exist(method: str, session: Any) -> None:
    with pytest.raises(ValueError, match='session: "pair" or "standing"'):
        do(lambda client: getattr(client, method)("ann@example.com", "rainbow123", session=session))


def test_a_pair_session_gives_no_access_tokens_away() -> None:
    """The session stays valid: that is no NotAuthenticated."""
    store = MemoryTokens(Tokens("auth-1", "refresh-1"))
    with pytest.raises(RequestError, match='session="standing"') as caught:
        do(lambda client: client.get_access_token(), tokens=store)
    assert not isinstance(caught.value, NotAuthenticated)
    assert store.load() == Tokens("auth-1", "refresh-1")


WITH_TOKENS: dict[str, Callable[[Any, Any], Any]] = {
    "execute_with": lambda client, token: client.execute_with(token, "{ customerList { data { id } } }"),
    "me_with": lambda client, token: client.me_with(token),
    "logout_with": lambda client, token: client.logout_with(token),
    "refresh_with": lambda client, token: client.refresh_with(token),
}
EACH_WITH = pytest.mark.parametrize("act", WITH_TOKENS.values(), ids=WITH_TOKENS)


@EACH_WITH
@pytest.mark.parametrize("token", ["", None])
def test_without_a_token_nothing_is_sent(act: Callable[[Any, Any], Any], token: str | None) -> None:
    """It would run as the program, which may have more rights than the user."""
    with pytest.raises(NotAuthenticated, match="_token: there is none"):
        do(lambda client: act(client, token), api_key="the-key")


@EACH_WITH
def test_tokens_are_not_the_text_of_one(act: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(TypeError, match="_token: the text of a token, not Tokens"):
        do(lambda client: act(client, Tokens("auth-1", "refresh-1")))


@pytest.mark.parametrize("select", ["email", "", [], ()])
@pytest.mark.parametrize("brand", [None, "rainbowMakers"])
def test_fields_are_a_list(select: Any, brand: str | None) -> None:
    for act in (
        lambda client: client.me(select),
        lambda client: client.me_with("auth-1", select),
        lambda client: client.entity("customer").list(select),
    ):
        with pytest.raises(ValueError, match="select a list of fields, at least one"):
            do(act, brand=brand)


@pytest.mark.parametrize("tokens", ["tokens.json", b"tokens.json", {"auth_token": "auth-1"}, FileTokens, 7])
def test_what_keeps_tokens_is_a_store(tokens: Any) -> None:
    with pytest.raises(TypeError, match=r"tokens: a store such as FileTokens\(path\), or Tokens, not "):
        do(lambda client: None, tokens=tokens)


@pytest.mark.parametrize("options", [{"retries": -1}, {"refresh_buffer": -1}, {"refresh_buffer": float("nan")}])
def test_numbers_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not be negative"):
        do(lambda client: None, **options)


def test_ids_are_a_list() -> None:
    """The letters of one id are ids of nothing."""
    with pytest.raises(TypeError, match="ids: a list of ids"):
        do(lambda client: client.entity("customer").delete("one-id"))
