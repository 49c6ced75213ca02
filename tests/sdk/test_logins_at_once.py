"""Who tries passwords all the time keeps no others from logging in: see docs/sdk-web.md."""

from __future__ import annotations

import asyncio

import pytest

from keystead_client.errors import InvalidCredentials, ServerBusy
from keystead_client.places import LENT, Places
from keystead_client.tokens import Tokens
from keystead_client.wary import LOGINS, LOGINS_OF_ONE, WaryServer
from tests.sdk.hanging import ANN, TOKENS, Hanging, Now


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


@pytest.fixture
def wary(hanging: Hanging) -> WaryServer:
    return WaryServer(hanging, Now())


async def begun(wary: WaryServer, *addresses: str | None) -> list[asyncio.Task[Tokens]]:
    """Logins that are under way, or were refused."""
    logins = [asyncio.create_task(wary.login_with("a", "b", forwarded_for=address)) for address in addresses]
    await asyncio.sleep(0)
    return logins


def refused(logins: list[asyncio.Task[Tokens]]) -> int:
    """How many of them: all for the same reason."""
    errors = [login.exception() for login in logins if login.done()]
    assert all(isinstance(error, ServerBusy) for error in errors)
    return len(errors)


async def test_one_address_has_four_places(wary: WaryServer, hanging: Hanging) -> None:
    strangers = await begun(wary, *["203.0.113.7"] * 24)
    assert refused(strangers) == 24 - LOGINS_OF_ONE
    (anns,) = await begun(wary, "198.51.100.1")
    hanging.answer = ANN
    hanging.may_answer.set()
    assert await anns == TOKENS
    await asyncio.gather(*strangers, return_exceptions=True)


async def test_a_place_that_was_given_back_is_free_for_the_same_address(wary: WaryServer, hanging: Hanging) -> None:
    hanging.answer = InvalidCredentials("wrong")
    hanging.may_answer.set()
    for _ in range(2):
        logins = [wary.login_with("a", "b", forwarded_for="203.0.113.7") for _ in range(LOGINS_OF_ONE)]
        errors = await asyncio.gather(*logins, return_exceptions=True)
        assert {type(error) for error in errors} == {InvalidCredentials}


async def test_many_addresses_have_sixteen_places(wary: WaryServer, hanging: Hanging) -> None:
    logins = await begun(wary, *(f"203.0.113.{number}" for number in range(LOGINS + 2)))
    assert refused(logins) == 2
    hanging.may_answer.set()
    await asyncio.gather(*logins, return_exceptions=True)


@pytest.mark.parametrize("address", [None, "127.0.0.1", "::1", "172.18.0.3", "::ffff:10.0.0.1", "fd00::2"])
async def test_users_whose_address_is_not_known_have_all_places(
    wary: WaryServer, hanging: Hanging, address: str | None
) -> None:
    """What the application takes for their address may be that of a proxy in front of it."""
    logins = await begun(wary, *[address] * (LOGINS + 1))
    assert refused(logins) == 1
    hanging.may_answer.set()
    await asyncio.gather(*logins, return_exceptions=True)


@pytest.mark.parametrize(
    ("one", "other", "is_the_same"),
    [
        ("2001:db8:0:1::1", "2001:db8::1:ffff:0:0:7", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("203.0.113.7", "203.0.113.8", False),
        ("unknown", "unknown", True),
        ("unknown", "_hidden", False),
    ],
)
async def test_who_counts_as_one(wary: WaryServer, hanging: Hanging, one: str, other: str, is_the_same: bool) -> None:
    """Whoever has an IPv6 address can have 2^64 of them."""
    logins = await begun(wary, *[one] * LOGINS_OF_ONE)
    further = await begun(wary, other)
    assert refused(logins) == 0
    assert refused(further) == int(is_the_same)
    hanging.may_answer.set()
    await asyncio.gather(*logins, *further, return_exceptions=True)


def test_a_place_that_is_never_given_back_is_free_for_its_owner_after_a_while() -> None:
    clock = Now()
    places = Places(clock)
    with places.one_of(16, "eve", 1):
        with places.one_of(16, "eve", 1) as is_free:
            assert not is_free
        clock.now += LENT
        with places.one_of(16, "eve", 1) as is_free:
            assert is_free
