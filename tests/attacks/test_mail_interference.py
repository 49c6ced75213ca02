"""A59: whoever asks for links in somebody's name kills none that the owner is about to use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind
from keystead.policy import SessionKind
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Api
from tests.attacks.mail_operations import (
    claim_magically,
    handed_over,
    link_of,
    mailed_token,
    make_mailing_brand,
    redeem,
    request_login,
    request_reset,
    use_in_app,
    ways,
    who,
)
from tests.attacks.mails import click, mails_to, token_to
from tests.attacks.prehijackers import VICTIM
from tests.clocks import ManualClock
from tests.make import change_brand, make_access_token, make_session, make_user

NEW = "new@example.com"
Way = Callable[[Api, str], Awaitable[bool]]


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """With an app that its pages lead to."""
    brand = await make_mailing_brand(server)
    return await change_brand(server, brand, {"redirect_urls": ["https://app.example.com/welcome"]})


@pytest.mark.attack("A59")
async def test_a_stranger_keeps_nobody_from_the_app_that_a_page_leads_to(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock
) -> None:
    """The click clears the count of mails, so a stranger who keeps asking gets a link mailed at that very moment."""
    await make_user(server, brand, VICTIM)
    for _ in range(3):
        token = await mailed_token(api, server, TokenPurpose.login, VICTIM)
        fresh = handed_over(await click(api, link_of(token)))
        before = len(await mails_to(server, VICTIM))
        for ask in (request_login, request_reset):
            assert set((await ask(api, VICTIM)).data.values()) == {True}
        assert len(await mails_to(server, VICTIM)) == before + 1
        assert (await redeem(api, fresh)).data["redeemMagicLink"]
        clock.advance(seconds=61)


@pytest.mark.attack("A59")
@pytest.mark.parametrize("way", ways(TokenPurpose.claim))
async def test_a_stranger_does_not_spoil_a_change_of_address(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, way: Way
) -> None:
    """A link to log in goes to the old address, and leaves the one that proves the new one."""
    user = await make_user(server, brand, VICTIM)
    access = make_access_token(server, await make_session(server, brand, user.id, SessionKind.standing))
    assert (await claim_magically(api, access, NEW)).data
    token = await token_to(server, NEW, MailKind.change_email)
    for ask in (request_login, request_reset):
        assert (await ask(api, VICTIM)).data
        clock.advance(seconds=61)
    assert await way(api, token)
    assert (await who(api, access))["email"] == NEW


@pytest.mark.attack("A59")
async def test_a_stranger_who_proves_nothing_leaves_all_of_the_owners_links(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock
) -> None:
    """Each purpose has its own newest token: that of a login is no later than that of a reset, or of an exchange."""
    await make_user(server, brand, VICTIM)
    fresh = handed_over(await click(api, link_of(await mailed_token(api, server, TokenPurpose.login, VICTIM))))
    to_reset = await mailed_token(api, server, TokenPurpose.reset, VICTIM)
    clock.advance(seconds=61)
    to_log_in = await mailed_token(api, server, TokenPurpose.login, VICTIM)
    for token in (fresh, to_log_in, to_reset):
        assert await use_in_app(api, token)
