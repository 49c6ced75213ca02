"""A01-A14: hostile access tokens over HTTP."""

from __future__ import annotations

import socket

import httpx
import pytest

from keystead.context import Server
from tests.api import Api, listening
from tests.attacks.operations import ME, assert_token_refused
from tests.attacks.watched import WatchedDatabase
from tests.forging import Forge
from tests.hostile_tokens import ATTACKS, hostile_tokens


@pytest.mark.parametrize("attack", ATTACKS)
async def test_hostile_tokens_are_rejected(
    attack: str, api: Api, forge: Forge, watched: WatchedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401, without a statement or a connection; a ``kid`` that may be new has the keyring's version read (A06)."""
    assert (await api.send(ME, token=forge.good)).data["me"]["email"] == "ann@example.com"
    connected: list[object] = []
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda _, address: connected.append(address), raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **_: connected.append(asked))
    watched.forget()
    for case, token in hostile_tokens(attack, forge).items():
        headers = {b"authorization": b"Bearer " + token.encode("latin-1")}
        assert_token_refused(await api.post(json={"query": ME}, headers=headers), case)
    assert connected == []
    assert watched.asked_besides_the_keyring == []
    assert len(watched.asked) <= 20, "once a second at most"


@pytest.mark.attack("A13")
async def test_long_tokens_are_rejected_over_a_socket(server: Server, forge: Forge) -> None:
    """Headers of megabytes may end with the connection."""
    async with listening(server.settings, server) as url, httpx.AsyncClient() as client:
        good = await client.post(f"{url}/graphql", json={"query": ME}, headers={"authorization": forge.good})
        assert good.status_code == 200
        for size, expected in ((2049, 401), (30_000, 401), (65_536, 431), (5_000_000, 431)):
            headers = {"authorization": "Bearer " + "A" * size}
            try:
                answer = await client.post(f"{url}/graphql", json={"query": ME}, headers=headers)
            except httpx.TransportError:
                assert expected == 431
            else:
                assert answer.status_code == expected
