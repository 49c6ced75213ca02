"""Attacker and victim of one address, and the expected outcome."""

from __future__ import annotations

from dataclasses import dataclass, field

from keystead.context import Server
from keystead.db.interface import Row
from tests.api import Api
from tests.attacks.mail_operations import WHO_AM_I, assert_cannot_log_in, redeem, sign_up, use_at_page, who
from tests.attacks.operations import assert_error, assert_token_refused, log_in, send_get_access_token, send_refresh
from tests.attacks.stored import stored

VICTIM, EVE = "victim@example.com", "eve@example.org"
EVES = "what the attacker wants"
"""The attacker's password."""


@dataclass(frozen=True)
class Guest:
    """A session of an account, possibly the attacker's."""

    id: str
    refresh: str = field(repr=False)
    access: str = field(repr=False)

    async def is_in(self, api: Api) -> bool:
        """Whether the session is alive: of its two tokens both are good, or neither."""
        answer = await api.send("{ me { id } }", token=self.access)
        renewed = await send_get_access_token(api, self.refresh)
        if renewed.errors:
            assert_error(renewed, "REFRESH_TOKEN_INVALID")
            renewed = await send_refresh(api, self.refresh)
        if answer.status == 200:
            assert answer.data["me"]["id"] == self.id
            assert renewed.data
            return True
        assert_token_refused(answer)
        assert_error(renewed, "REFRESH_TOKEN_INVALID")
        return False


async def make_guest(api: Api, brand_token: str) -> Guest:
    """A new anonymous user."""
    refresh, access = await sign_up(api, brand_token)
    return Guest((await who(api, access))["id"], refresh, access)


async def assert_owned(
    api: Api, server: Server, user_id: str, password: str, thieves: list[Guest], links: list[str]
) -> None:
    """The victim logs in to the account ``user_id`` with ``password``; no thief is in it, and no link does anything."""
    before = await _kept(server)
    for token in links:
        assert not await use_at_page(api, token)
        assert_error(await redeem(api, token), "TOKEN_INVALID")
    assert await _kept(server) == before
    await assert_cannot_log_in(api, VICTIM, EVES)
    for thief in thieves:
        answer = await api.send(WHO_AM_I, token=thief.access)
        if answer.status != 401:
            me = answer.data["me"]
            # A pending change to a registered address looks like any other.
            assert me["id"] != user_id
            assert (me["email"], me["verified"]) != (VICTIM, True)
    access, _ = await log_in(api, VICTIM, password)
    me = await who(api, access)
    assert (me["id"], me["email"], me["verified"], me["is_anonymous"]) == (user_id, VICTIM, True, False)


async def _kept(server: Server) -> dict[str, list[Row]]:
    """All that is stored, but for the tokens themselves: one that opens nothing may be used up by it."""
    return {name: rows for name, rows in (await stored(server)).items() if name != "one_time_tokens"}
