"""A06, A08-A10: tokens under our own signature that say what we never say."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.sessions.model import Opened
from keystead.users.model import User
from tests.api import Api
from tests.attacks.forging import MISSING, Forge
from tests.attacks.operations import ME, assert_token_refused
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import make_access_token, make_session, make_user

QUICK = 0.005
"""Seconds that a refusal may take."""


async def _assert_all_refused(api: Api, tokens: dict[str, str]) -> None:
    for case, token in tokens.items():
        assert_token_refused(await api.send(ME, token=f"Bearer {token}"), case)


async def _assert_enters(api: Api, token: str) -> None:
    assert (await api.send(ME, token=token)).data["me"]["email"] == "ann@example.com"


@pytest.mark.attack("A06")
async def test_a_hostile_kid_is_looked_up_nowhere(api: Api, forge: Forge, watched: WatchedDatabase) -> None:
    """The keyring is a dictionary in memory: no file, no SQL with the name of the key.

    A name that could be that of a new key has the keyring's version read, once a second at most.
    """
    kids: list[Any] = [
        "../../dev/null", "/dev/null", "../../../../../../etc/passwd", "file:///dev/null", "' OR 1=1--",
        "'; DROP TABLE", "| id", "http://127.0.0.1:9/", "k" * 10_240, "", "ключ", "\u202e\ufeff", "\0",
        forge.key.kid + "\0", forge.key.kid + " ", forge.key.kid.lower(), forge.key.kid[:-1], 0, 1, -1, 1.5, True, None,
        [], [forge.key.kid], {}, {"kid": forge.key.kid}, MISSING,
    ]  # fmt: skip
    await _assert_enters(api, forge.good)
    watched.forget()
    for kid in kids:
        token = forge.with_header(kid=kid)
        best = 1.0
        for _ in range(5):
            started = time.thread_time()
            answer = await api.send(ME, token=token)
            best = min(best, time.thread_time() - started)
            assert_token_refused(answer, kid)
        assert best < QUICK, repr(kid)[:80]
    assert watched.asked_besides_the_keyring == []
    assert len(watched.asked) <= 3, "seconds that this test may take"


@pytest.mark.attack("A08")
async def test_every_claim_must_be_there_and_none_beside_them(api: Api, forge: Forge) -> None:
    """What is missing is not assumed, and what is beside our claims was not written by us."""
    await _assert_enters(api, forge.good)
    await _assert_all_refused(api, {name: forge.with_payload(**{name: MISSING}) for name in forge.payload})
    now = forge.payload["iat"]
    beside = {"nbf": now + 60, "scope": "admin", "permissions": ["admin"], "email": "ann@example.com"}
    await _assert_all_refused(api, {name: forge.with_payload(**{name: value}) for name, value in beside.items()})
    nothing: list[Any] = [b"", b"{}", b"[]", b"null", b"1", b'"a"', b"{", b"\xff", [forge.payload]]
    await _assert_all_refused(api, {repr(payload): forge.token(payload=payload) for payload in nothing})
    twice = json.dumps(forge.payload)[:-1].encode() + b', "sub": "%s"}' % forge.payload["sub"].encode()
    await _assert_all_refused(api, {"a claim named twice": forge.token(payload=twice)})


@pytest.mark.attack("A08")
async def test_a_token_from_the_future_is_refused(api: Api, forge: Forge) -> None:
    """Nodes' clocks may differ by five seconds, not by a minute."""
    now = forge.payload["iat"]
    await _assert_enters(api, forge.with_payload(iat=now + 5))
    future = {f"iat +{ahead}": forge.with_payload(iat=now + ahead, exp=now + 3600) for ahead in (6, 60, 3599)}
    await _assert_all_refused(api, future)
    await _assert_all_refused(
        api, {"nbf": forge.with_payload(nbf=now + 60), "nbf past": forge.with_payload(nbf=now - 60)}
    )


@pytest.mark.attack("A08")
async def test_a_token_ends_with_the_second_of_its_expiry(
    api: Api, server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """``exp`` has no leeway on the issuer; neither a warm cache nor a cold one keeps a token alive."""
    token = make_access_token(server, await make_session(server, brand, ann.id), lifetime=900)
    clock.advance(seconds=899)
    await _assert_enters(api, token)
    clock.advance(seconds=1)
    assert_token_refused(await api.send(ME, token=token), "warm")
    server.token_cache.clear()
    assert_token_refused(await api.send(ME, token=token), "cold")
    clock.advance(seconds=1)
    assert_token_refused(await api.send(ME, token=token), "a second beyond")


@pytest.mark.attack("A08")
async def test_another_issuer_is_not_ours(api: Api, forge: Forge) -> None:
    """The address of this installation, letter for letter."""
    ours = forge.payload["iss"]
    others: list[Any] = [
        ours + "/", ours + ".evil.example", ours.upper(), ours.replace("https", "http"), "", None, True, [ours],
        {ours: 1}, "https://evil.example", " " + ours,
    ]  # fmt: skip
    await _assert_all_refused(api, {repr(iss): forge.with_payload(iss=iss) for iss in others})


@pytest.mark.attack("A09")
@pytest.mark.parametrize("name", ["exp", "iat"])
async def test_times_are_whole_numbers(api: Api, forge: Forge, name: str) -> None:
    """A numeric text, a fraction, infinity, or what overflows somewhere else: none is a time of ours."""
    good = forge.payload[name]
    await _assert_enters(api, forge.good)
    values: list[Any] = [
        str(good), f" {good}", f"{good}.0", float(good), good + 0.5, "never", "", -1, -(2**63), 2**63, 2**64, 2**53 + 1,
        10**400, True, False, None, [good], {"$gt": 0},
    ]  # fmt: skip
    await _assert_all_refused(api, {repr(value)[:40]: forge.with_payload(**{name: value}) for value in values})
    plain = forge.with_payload(**{name: 7777}).split(".")[1]
    raw = _decoded(plain)
    for text in (b"1e400", b"1e10", b"NaN", b"Infinity", b"-Infinity", b"0x7f", b"1_000", b"017", b"+1"):
        payload = raw.replace(b'"%s": 7777' % name.encode(), b'"%s": %s' % (name.encode(), text))
        assert payload != raw
        await _assert_all_refused(api, {text.decode(): forge.token(payload=payload)})


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.attack("A09")
async def test_a_token_lives_after_it_was_issued(api: Api, forge: Forge) -> None:
    """``exp`` before or at ``iat`` was never written by us."""
    now = forge.payload["iat"]
    await _assert_all_refused(api, {str(exp): forge.with_payload(exp=exp) for exp in (0, 1, now - 1, now)})
    await _assert_all_refused(api, {"both": forge.with_payload(iat=now - 10, exp=now - 9)})


@pytest.mark.attack("A10")
async def test_the_audience_is_one_brand(api: Api, forge: Forge, brand: ActiveBrand, other_brand: ActiveBrand) -> None:
    """RFC 8725 §3.9: a list that holds ours besides others, or a name that begins or ends like ours, is not ours."""
    await _assert_enters(api, forge.good)
    ours, others = forge.payload["aud"], f"urn:keystead:brand:{other_brand.id}"
    audiences: list[Any] = [
        [ours], [ours, others], [others, ours], [ours, "urn:example:api"], [], {ours: True}, None, 1, "", others,
        ours + "0", ours[:-1], ours + "/", ours + " ", " " + ours, ours.upper(), brand.id, brand.name,
        f"urn:keystead:brand:{brand.name}", "urn:keystead:brand:", f"{ours},{others}", f"{ours} {others}",
        f"x{ours}", f"urn:keystead:brand:{brand.id}\0", f"urn:keystead:brand:{brand.id}' OR '1'='1",
    ]  # fmt: skip
    await _assert_all_refused(api, {repr(aud): forge.with_payload(aud=aud) for aud in audiences})


@pytest.mark.attack("A10")
async def test_ids_of_different_people_do_not_mix(
    api: Api, forge: Forge, server: Server, other_brand: ActiveBrand, brand: ActiveBrand
) -> None:
    """Though our own key had signed it: brand, user and session must belong together."""
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
    await _assert_all_refused(api, mixed)
