"""What is read from tokens, and where they are kept."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from keystead_client import FileTokens, MemoryTokens, Tokens
from keystead_client._endpoint import Endpoint
from keystead_client._protocol import Refresh, Reply
from keystead_client._session import Session
from keystead_client.errors import Unauthenticated
from keystead_client.tokens import claims_of, expiry_of


def jwt(claims: str) -> str:
    return f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.c2ln"


def of(user: str, **claims: Any) -> str:
    return jwt(json.dumps({"sub": user, **claims}))


NONSENSE = ["", "a", "a.b", "a.b.c.d", "a.é.c", "..", jwt("7"), jwt("[" * 100_000), jwt('{"exp": "soon"}')]
NONSENSE += [jwt('{"exp": NaN}'), jwt('{"exp": 1' + "0" * 400 + "}"), jwt('{"exp": true}'), jwt('{"exp": Infinity}')]


@pytest.mark.parametrize("token", NONSENSE)
def test_nonsense_does_not_say_when_it_expires(token: str) -> None:
    assert expiry_of(token) is None


def test_what_a_token_says() -> None:
    assert claims_of(of("ann", exp=60)) == {"sub": "ann", "exp": 60}
    assert expiry_of(of("ann", exp=60)) == 60.0


@pytest.mark.parametrize(
    ("issued", "expires", "now", "expected"),
    [(0, 3600, 3539, True), (0, 3600, 3540, False), (0, 30, 14, True), (0, 30, 15, False), (None, 3600, 3541, False)],
)
def test_how_long_a_token_is_fresh(issued: int | None, expires: int, now: int, expected: bool) -> None:
    claims = {"exp": expires} if issued is None else {"exp": expires, "iat": issued}
    assert Tokens(of("ann", **claims), None).is_fresh(now, 60) is expected


def test_a_file_keeps_tokens_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    store = FileTokens(path)
    assert store.load() is None
    tokens = Tokens("a", "r", "standing", "p")
    store.save(tokens)
    assert FileTokens(path).load() == tokens
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    store.save(None)
    store.save(None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "{}", '{"kind": "other"}', "\udcff"])
def test_a_file_of_something_else_holds_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    assert FileTokens(path).load() is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens"
    store = FileTokens(path)
    store.save(Tokens("a", "r"))
    path.chmod(mode)
    with pytest.raises(PermissionError, match="chmod 600"):
        store.load()
    store.save(Tokens("a", "r"))
    assert store.load() == Tokens("a", "r")


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileTokens(tmp_path / "tokens")
    store.save(Tokens("a", "r"))
    mine = os.geteuid()
    os.chown(tmp_path / "tokens", mine or 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(PermissionError):
        store.load()


OLD = Tokens(of("ann", n=1), "refresh-1")
DUE = Refresh(OLD.auth_token, OLD.refresh_token)
ANSWERED = {"auth_token": of("ann", n=2), "refresh_token": "refresh-2"}


def refreshed(meanwhile: Tokens) -> tuple[Tokens, Tokens | None]:
    """What a refresh gives, and what is kept, where another process has saved ``meanwhile``."""
    store = MemoryTokens(OLD)
    flow = Session(Endpoint("https://id.example.com/graphql"), store, 0, 60, lambda: 0.0).refresh(DUE)
    next(flow)
    store.save(meanwhile)
    with pytest.raises(StopIteration) as done:
        flow.send(Reply(200, {}, json.dumps({"data": {"refreshToken": {"data": ANSWERED}}}).encode()))
    return done.value.value, store.load()


def test_another_process_got_the_same_refresh_token() -> None:
    given, kept = refreshed(Tokens(of("ann", n=3), "refresh-2"))
    assert given.auth_token == ANSWERED["auth_token"]
    assert kept == given


def test_another_process_is_further() -> None:
    further = Tokens(of("ann", n=4), "refresh-3")
    assert refreshed(further) == (further, further)


def test_somebody_else_has_logged_in_meanwhile() -> None:
    with pytest.raises(Unauthenticated):
        refreshed(Tokens(of("bea", n=4), "refresh-of-bea"))


def test_a_request_of_one_user_is_not_repeated_as_another() -> None:
    session = Session(Endpoint("https://id.example.com/graphql"), MemoryTokens(OLD), 0, 60, lambda: 0.0)
    with pytest.raises(Unauthenticated):
        next(session.refresh(Refresh(of("bea"), "refresh-of-bea")))
