"""A23, A31: the owner is notified, at the verified address, of what revokes sessions."""

from __future__ import annotations

import json
from itertools import count, product
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind, MailState
from keystead.policy import SessionKind
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Answer, Api
from tests.attacks.calls import fixed_schema
from tests.attacks.mail_operations import (
    NEW_PASSWORD,
    OLD_PASSWORD,
    claim,
    mailed_token,
    use_at_page,
)
from tests.attacks.mails import mails_to, outbox, read, token_to
from tests.attacks.operations import (
    assert_error,
    assert_reuse,
    get_access_token,
    log_in,
    refresh,
    send_login,
    send_refresh,
)
from tests.attacks.prehijackers import Guest, make_guest
from tests.clocks import ManualClock
from tests.make import make_access_token, make_session, make_user

ANN, NEW = "ann@example.com", "new@example.org"
GRACE, LOST_WINDOW = 10, 300
ABSENT = object()
_NUMBERS = count(1)


async def _reuse(api: Api, clock: ManualClock, first: str) -> None:
    """A refresh token comes back after its successor was used, and too late."""
    _, second = await refresh(api, first)
    await refresh(api, second)
    clock.advance(seconds=GRACE + 1)
    assert_reuse(await send_refresh(api, first))


@pytest.mark.attack("A23")
async def test_the_owner_is_notified_of_reuse_once(
    server: Server, api: Api, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    opened = await make_session(server, brand, ann.id)
    first = opened.refresh_token.reveal()
    await refresh(api, first)
    clock.advance(seconds=GRACE)
    await refresh(api, first)
    clock.advance(seconds=LOST_WINDOW - GRACE)
    await refresh(api, first)
    assert await outbox(server) == []
    reused = (await make_session(server, brand, ann.id)).refresh_token.reveal()
    await _reuse(api, clock, reused)
    for _ in range(5):
        assert_error(await send_refresh(api, reused), "REFRESH_TOKEN_INVALID")
    (mail,) = await outbox(server)
    assert (mail.kind, mail.recipient, mail.user_id) == (MailKind.session_reused, ANN, ann.id)
    assert mail.state is MailState.waiting
    said = await read(server, mail)
    for part in (said.subject, said.text, said.html):
        assert "/link/" not in part
        assert "ks_" not in part
    assert first not in said.text + said.html + str(mail)


@pytest.mark.attack("A23")
async def test_a_notice_is_never_sent_to_a_pending_address(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, ann: User, clock: ManualClock
) -> None:
    opened = await make_session(server, brand, ann.id)
    access = make_access_token(server, opened)
    assert (await claim(api, access, NEW, "rainbow123")).data["changeAndValidateEmail"]
    await _reuse(api, clock, opened.refresh_token.reveal())
    assert [mail.recipient for mail in await outbox(server) if mail.kind is MailKind.session_reused] == [ANN]
    guest = await make_guest(api, brand_token)
    assert (await claim(api, guest.access, "guest@example.com")).data["changeAndValidateEmail"]
    await _reuse(api, clock, (await make_session(server, brand, guest.id)).refresh_token.reveal())
    assert [mail.kind for mail in await mails_to(server, "guest@example.com")] == [MailKind.verify_email]
    assert len([mail for mail in await outbox(server) if mail.kind is MailKind.session_reused]) == 1


class _Person:
    """A new user with a password and three sessions, the first of which sends the request."""

    email: str
    sessions: list[Guest]

    async def is_in(self, api: Api) -> list[bool]:
        return [await session.is_in(api) for session in self.sessions]


async def _make_person(server: Server, brand: ActiveBrand) -> _Person:
    person = _Person()
    person.email = f"person{next(_NUMBERS)}@example.com"
    user = await make_user(server, brand, person.email, password=OLD_PASSWORD)
    kinds = (SessionKind.pair, SessionKind.pair, SessionKind.standing)
    opened = [await make_session(server, brand, user.id, kind) for kind in kinds]
    person.sessions = [Guest(user.id, one.refresh_token.reveal(), make_access_token(server, one)) for one in opened]
    return person


async def _call(api: Api, name: str, arguments: dict[str, Any], **request: Any) -> Answer:
    """The operation with these arguments as literals; those that are ABSENT are left out."""
    given = ", ".join(f"{key}: {json.dumps(value)}" for key, value in arguments.items() if value is not ABSENT)
    return await api.send(f"mutation {{ {name}{f'({given})' if given else ''} }}", **request)


def _combinations(name: str, values: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Every way to give or leave out what the schema lets the operation be given."""
    root = fixed_schema().mutation_type
    assert root is not None
    assert set(root.fields[name].args) == set(values)
    return [dict(zip(values, given, strict=True)) for given in product(*values.values())]


def _is_refused(answer: Answer) -> bool:
    return bool(answer.errors) and answer.code in (
        "GRAPHQL_VALIDATION_FAILED",
        "BAD_USER_INPUT",
        "INVALID_CREDENTIALS",
        "TOKEN_INVALID",
        "UNAUTHENTICATED",
    )


@pytest.mark.attack("A31")
@pytest.mark.parametrize("is_signed_in", [True, False])
async def test_change_password_revokes_other_sessions_by_any_arguments(
    server: Server, api: Api, brand: ActiveBrand, is_signed_in: bool
) -> None:
    done = 0
    values = {
        "newPassword": (ABSENT, None, "short", NEW_PASSWORD),
        "oldPassword": (ABSENT, None, "", "not the old one", OLD_PASSWORD),
    }
    for arguments in _combinations("changePassword", values):
        person = await _make_person(server, brand)
        token = person.sessions[0].access if is_signed_in else None
        answer = await _call(api, "changePassword", arguments, token=token)
        told = [mail.kind for mail in await mails_to(server, person.email)]
        if is_signed_in and (arguments["newPassword"], arguments["oldPassword"]) == (NEW_PASSWORD, OLD_PASSWORD):
            assert answer.data["changePassword"] is True
            assert await person.is_in(api) == [True, False, False]
            assert told == [MailKind.password_changed]
            assert_error(await send_login(api, person.email, OLD_PASSWORD), "INVALID_CREDENTIALS")
            assert await log_in(api, person.email, NEW_PASSWORD)
            done += 1
        else:
            assert _is_refused(answer), (arguments, answer)
            assert await person.is_in(api) == [True, True, True], arguments
            assert told == []
            assert await log_in(api, person.email, OLD_PASSWORD)
    assert done == is_signed_in


@pytest.mark.attack("A31")
@pytest.mark.parametrize("is_signed_in", [True, False])
async def test_reset_password_revokes_all_sessions_by_any_arguments(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, is_signed_in: bool
) -> None:
    await make_user(server, brand, "other@example.com")
    of_other = await mailed_token(api, server, TokenPurpose.login, "other@example.com")
    done = 0
    values: dict[str, tuple[Any, ...]] = {
        "token": (ABSENT, None, "", "nonsense", of_other, "right"),
        "newPassword": (ABSENT, None, "short", NEW_PASSWORD),
    }
    for arguments in _combinations("resetPassword", values):
        person = await _make_person(server, brand)
        right = await mailed_token(api, server, TokenPurpose.reset, person.email)
        given = arguments | ({"token": right} if arguments["token"] == "right" else {})
        token = person.sessions[0].access if is_signed_in else None
        answer = await _call(api, "resetPassword", given, token=token)
        told = [mail.kind for mail in await mails_to(server, person.email)]
        if (arguments["token"], arguments["newPassword"]) == ("right", NEW_PASSWORD):
            assert answer.data["resetPassword"] is True
            assert await person.is_in(api) == [False, False, False]
            assert sorted(told) == sorted([MailKind.reset_password, MailKind.password_changed])
            assert_error(await send_login(api, person.email, OLD_PASSWORD), "INVALID_CREDENTIALS")
            assert await log_in(api, person.email, NEW_PASSWORD)
            done += 1
        else:
            assert _is_refused(answer), (arguments, answer)
            assert await person.is_in(api) == [True, True, True], arguments
            assert told == [MailKind.reset_password]
            assert await use_at_page(api, right), "what was refused has used nothing up"
    assert done == 1
    assert [mail.kind for mail in await mails_to(server, "other@example.com")] == [MailKind.magic_login]


@pytest.mark.attack("A31")
async def test_a_first_password_revokes_other_sessions(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str
) -> None:
    guest = await make_guest(api, brand_token)
    second = await make_session(server, brand, guest.id, SessionKind.standing)
    other = Guest(guest.id, second.refresh_token.reveal(), make_access_token(server, second))
    assert (await claim(api, guest.access, NEW, NEW_PASSWORD)).data["changeAndValidateEmail"]
    assert await other.is_in(api)
    assert await use_at_page(api, await token_to(server, NEW, MailKind.verify_email))
    assert not await other.is_in(api)
    assert await get_access_token(api, guest.refresh)
