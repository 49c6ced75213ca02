"""The demo's own sessions: those that its printed requests use, and the end of all others that it has opened."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from keystead.cli.demo.accounts import create_me, exchange, log_in_account
from keystead.cli.demo.content import GUIDE
from keystead.cli.demo.keepsake import Keepsake
from keystead.cli.demo.request import (
    ACCESS_TOKEN,
    REFRESH_TOKEN,
    USER_AGENT,
    DemoRequestError,
    Request,
    Sender,
    Taken,
)
from keystead.cli.demo.tour import access_token, login, standing_login

FRESH_FOR: Final = timedelta(minutes=50)
"""How long a printed access token must still be good for; else another one is fetched."""
_SESSIONS: Final = "{ sessionList(pagination: { per_page: 100 }) { data { id user_agent is_current } } }"
_REVOKE: Final = "mutation Revoke($id: ID!) { revokeSession(id: $id) { data { success } } }"


def sign_in(sender: Sender, keepsake: Keepsake, now: datetime) -> None:
    """Sees to it that the tokens of the printed commands are good for a while. Those of the last start are kept."""
    if not _is_good(sender, keepsake.auth_token, now):
        keepsake.auth_token = sender.take(Taken(login(keepsake, GUIDE), ACCESS_TOKEN))
    if not _is_good(sender, keepsake.standing_access_token, now):
        keepsake.standing_refresh_token = sender.take(Taken(standing_login(keepsake, GUIDE), REFRESH_TOKEN))
        exchanged = access_token(keepsake.standing_refresh_token)
        keepsake.standing_access_token = sender.take(Taken(exchanged, ACCESS_TOKEN))
    if not _is_good(sender, keepsake.newcomer_access_token, now):
        _sign_newcomer_in(sender, keepsake)


def _sign_newcomer_in(sender: Sender, keepsake: Keepsake) -> None:
    """The one without an address: the same as last time, or another one where all their sessions were ended."""
    with suppress(DemoRequestError):
        keepsake.newcomer_access_token = sender.take(Taken(exchange(keepsake.newcomer_refresh_token), ACCESS_TOKEN))
        return
    keepsake.newcomer_refresh_token = sender.take(Taken(create_me(keepsake), REFRESH_TOKEN))
    keepsake.newcomer_access_token = sender.take(Taken(exchange(keepsake.newcomer_refresh_token), ACCESS_TOKEN))


def _is_good(sender: Sender, token: str, now: datetime) -> bool:
    if not token or _claims(token).get("exp", 0) < (now + FRESH_FOR).timestamp():
        return False
    with suppress(DemoRequestError):
        sender.send(Request("me", "{ me { id } }", headers={"Authorization": token}))
        return True
    return False


def end_other_sessions(sender: Sender, keepsake: Keepsake) -> None:
    """Ends the sessions that the demo has opened, at this start or an earlier one, but for those of the printed tokens.

    Those that people have opened stay.
    """
    kept = {_claims(token).get("sid") for token in (keepsake.auth_token, keepsake.standing_access_token)}
    visits = (login(keepsake), log_in_account(keepsake))
    for token in (keepsake.auth_token, *(sender.take(Taken(visit, ACCESS_TOKEN)) for visit in visits)):
        bearer = {"Authorization": token}
        found = json.loads(sender.send(Request("sessions", _SESSIONS, headers=bearer)))["data"]["sessionList"]["data"]
        # The one that asks comes last: it could not end the others any more.
        for session in sorted(found, key=lambda session: bool(session["is_current"])):
            if session["user_agent"] == USER_AGENT and session["id"] not in kept:
                sender.send(Request("end a session", _REVOKE, {"id": session["id"]}, bearer))


def _claims(token: str) -> dict[str, Any]:
    """What the token says; nothing for something else than a token."""
    with suppress(ValueError, IndexError):
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims if isinstance(claims, dict) else {}
    return {}
