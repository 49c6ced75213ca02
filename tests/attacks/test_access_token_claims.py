"""A08, A10: tokens with our own signature whose times or ids do not fit; the others: test_access_token_forgery.py."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.sessions.model import Opened
from keystead.users.model import User
from tests.api import Api
from tests.attacks.operations import ME, assert_token_refused
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_access_token, make_session, make_user


async def _assert_accepted(api: Api, token: str) -> None:
    assert (await api.send(ME, token=token)).data["me"]["email"] == "ann@example.com"


@pytest.mark.attack("A08")
async def test_clocks_of_nodes_may_differ_by_five_seconds(api: Api, forge: Forge) -> None:
    now = forge.payload["iat"]
    await _assert_accepted(api, forge.with_payload(iat=now + 5))
    assert_token_refused(await api.send(ME, token=forge.with_payload(iat=now + 6)))


@pytest.mark.attack("A08")
async def test_a_token_ends_with_the_second_of_its_expiry(
    api: Api, server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """``exp`` has no leeway on the issuer; neither a warm cache nor a cold one keeps a token alive."""
    token = make_access_token(server, await make_session(server, brand, ann.id), lifetime=900)
    clock.advance(seconds=899)
    await _assert_accepted(api, token)
    clock.advance(seconds=1)
    assert_token_refused(await api.send(ME, token=token), "warm")
    server.token_cache.clear()
    assert_token_refused(await api.send(ME, token=token), "cold")
    clock.advance(seconds=1)
    assert_token_refused(await api.send(ME, token=token), "a second beyond")


@pytest.mark.attack("A10")
async def test_brand_user_and_session_must_belong_together(
    api: Api, forge: Forge, server: Server, other_brand: ActiveBrand, brand: ActiveBrand
) -> None:
    bob = await make_user(server, brand, "bob@example.com")
    eve = await make_user(server, other_brand, "eve@example.com")
    of_bob, of_eve = await make_session(server, brand, bob.id), await make_session(server, other_brand, eve.id)

    def named(opened: Opened) -> dict[str, str]:
        return {"aud": f"urn:keystead:brand:{opened.brand_id}", "sub": opened.user_id, "sid": opened.session_id}

    assert (await api.send(ME, token=forge.with_payload(**named(of_bob)))).data["me"]["email"] == "bob@example.com"
    mixed = {
        f"{name} of {opened.user_id}": forge.with_payload(**{name: value})
        for opened in (of_bob, of_eve)
        for name, value in named(opened).items()
        if value != forge.payload[name]
    }
    assert len(mixed) == 5
    for case, token in mixed.items():
        assert_token_refused(await api.send(ME, token=token), case)
