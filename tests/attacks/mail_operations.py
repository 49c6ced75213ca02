"""The operations around mails, as attackers and victims use them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from keystead.authentication.link_request_worker import process_all
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.mail.links import link_url
from keystead.policy import SessionKind
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Answer, Api
from tests.attacks.mails import LINK_MAILS, assert_gone, click, newest, token_in
from tests.attacks.operations import CREATE_ME, assert_error, get_access_token, send_login
from tests.make import SETTINGS, make_brand, make_brand_token, make_session, make_user

CLAIM = "mutation ($new: String!, $password: String) { changeAndValidateEmail(newEmail: $new, password: $password) }"
CLAIM_MAGICALLY = "mutation ($new: String!) { changeEmailMagically(newEmail: $new) }"
RESEND = "mutation { resendVerificationMail }"
CHANGE_PASSWORD = "mutation ($new: String!, $old: String) { changePassword(newPassword: $new, oldPassword: $old) }"
REQUEST_LOGIN = "mutation ($email: String!, $brand: String) { requestMagicLogin(email: $email, brand: $brand) }"
REQUEST_RESET = "mutation ($email: String!, $brand: String) { requestPasswordReset(email: $email, brand: $brand) }"
REDEEM = """
mutation ($token: String!, $session: SessionKind) {
  redeemMagicLink(token: $token, session: $session) { data { refresh_token auth_token session } }
}
"""
RESET = "mutation ($token: String!, $new: String!) { resetPassword(token: $token, newPassword: $new) }"
WHO_AM_I = "{ me { id email verified is_anonymous } }"

OLD_PASSWORD = "an old secret sentence"
NEW_PASSWORD = "a fresh secret sentence"
CLAIMS = frozenset((TokenPurpose.verify, TokenPurpose.claim))
"""What proves an address that is not a login yet."""


async def make_mailing_brand(server: Server, name: str = "rainbowMakers", **features: bool) -> ActiveBrand:
    """A brand that uses every kind of mail."""
    return await make_brand(server, name, features={"magic_login": True, **features})


async def sign_up(api: Api, brand_token: str) -> tuple[str, str]:
    """A new anonymous user's refresh token and access token."""
    refresh_token: str = (await api.send(CREATE_ME, brand=brand_token)).data["createMe"]
    return refresh_token, await get_access_token(api, refresh_token, 3600)


async def claim(api: Api, token: str, new_email: str, password: str | None = None) -> Answer:
    """The user with this access token requests an e-mail change."""
    return await _resolved(api, await api.send(CLAIM, {"new": new_email, "password": password}, token=token))


async def claim_magically(api: Api, token: str, new_email: str) -> Answer:
    """The same, to log in by the mailed link."""
    return await _resolved(api, await api.send(CLAIM_MAGICALLY, {"new": new_email}, token=token))


async def resend(api: Api, token: str) -> Answer:
    """The user has the link mailed once more."""
    return await _resolved(api, await api.send(RESEND, token=token))


async def request_login(api: Api, email: str, brand: str | None = None, **request: Any) -> Answer:
    """Request a magic link."""
    return await _resolved(api, await api.send(REQUEST_LOGIN, {"email": email, "brand": brand}, **request))


async def request_reset(api: Api, email: str, brand: str | None = None, **request: Any) -> Answer:
    """Request a password reset."""
    return await _resolved(api, await api.send(REQUEST_RESET, {"email": email, "brand": brand}, **request))


async def _resolved(api: Api, answer: Answer) -> Answer:
    """The answer, once the mail worker has decided what comes of the request."""
    await process_all(api.server)
    return answer


async def redeem(api: Api, mailed: str, session: str | None = None, **request: Any) -> Answer:
    """An app redeems the token of a link that logs in."""
    return await api.send(REDEEM, {"token": mailed, "session": session}, **request)


async def reset(api: Api, mailed: str, new_password: str = NEW_PASSWORD, **request: Any) -> Answer:
    """An app redeems the token of a link to a new password."""
    return await api.send(RESET, {"token": mailed, "new": new_password}, **request)


async def cause_mail(api: Api, purpose: TokenPurpose, email: str, *, token: str) -> Answer:
    """Has a link for this purpose mailed: to the owner of ``email``, or to ``email`` as the caller's new address."""
    match purpose:
        case TokenPurpose.verify:
            return await claim(api, token, email, NEW_PASSWORD)
        case TokenPurpose.claim:
            return await claim_magically(api, token, email)
        case TokenPurpose.login:
            return await request_login(api, email)
        case TokenPurpose.reset:
            return await request_reset(api, email)
        case TokenPurpose.handed_over:
            raise AssertionError("no mail carries it: a page hands it over")


async def mailed_token(api: Api, server: Server, purpose: TokenPurpose, email: str, *, token: str = "") -> str:
    """As :func:`cause_mail`, which must succeed; return the token in the mail."""
    answer = await cause_mail(api, purpose, email, token=token)
    assert set(answer.data.values()) == {True}, (purpose, answer)
    return token_in(server, await newest(server, email, LINK_MAILS[purpose]))


async def who(api: Api, token: str) -> dict[str, Any]:
    """``me``, as the bearer of the access token sees it."""
    me: dict[str, Any] = (await api.send(WHO_AM_I, token=token)).data["me"]
    return me


async def assert_cannot_log_in(api: Api, email: str, *passwords: str) -> None:
    """None of these passwords opens the account of this address."""
    for password in passwords:
        assert_error(await send_login(api, email, password), "INVALID_CREDENTIALS", (email, password))


def handed_over(answer: httpx.Response) -> str:
    """The token that the page leads to the app with, in the fragment."""
    assert answer.status_code == 303, answer
    fragment: str = httpx.URL(answer.headers["location"]).fragment
    assert fragment.startswith("token="), fragment
    return fragment.removeprefix("token=")


def link_of(token: str) -> str:
    """The link that carries the token, at the installation's own address."""
    secret = secrets.parse(token)
    assert secret is not None
    return link_url(SETTINGS.base_url, secret)


def typed(token: str, password: str = NEW_PASSWORD) -> dict[str, str]:
    """What has to be typed into the form behind the token's link."""
    return {"password": password, "repeated": password} if token.startswith(SecretKind.reset.prefix) else {}


async def use_at_page(api: Api, token: str) -> bool:
    """Clicks the link and presses the button; whether that did something."""
    answer = await click(api, link_of(token), typed(token))
    if answer.status_code not in (200, 303):
        assert_gone(answer)
        return False
    return True


async def use_in_app(api: Api, token: str, **request: Any) -> bool:
    """Presents the token where an app of the brand would; whether that did something."""
    sent = {SecretKind.magic: redeem, SecretKind.reset: reset}
    secret = secrets.parse(token)
    assert secret is not None
    answer = await sent[secret.kind](api, token, **request)
    if answer.errors:
        assert_error(answer, "TOKEN_INVALID")
        return False
    return True


def ways(purpose: TokenPurpose) -> list[Callable[[Api, str], Awaitable[bool]]]:
    """Every way to use a token for this purpose: addresses are proved at the page alone."""
    return [use_at_page] if purpose is TokenPurpose.verify else [use_at_page, use_in_app]


class Holder:
    """A user who can request a link for any purpose."""

    def __init__(self, api: Api, server: Server, email: str, refresh_token: str) -> None:
        self._api, self._server = api, server
        self.email = email
        self._refresh_token = refresh_token

    async def access(self) -> str:
        """An access token of theirs."""
        return await get_access_token(self._api, self._refresh_token)

    async def ask(self, purpose: TokenPurpose) -> str:
        """Has a link mailed; the token in it."""
        token = await self.access() if purpose in CLAIMS else ""
        return await mailed_token(self._api, self._server, purpose, self.email, token=token)


async def make_holder(
    api: Api, server: Server, brand: ActiveBrand, purpose: TokenPurpose, email: str = "holder@example.com"
) -> Holder:
    """A user who can request a link for this purpose: without an address, or with the login ``email``."""
    if purpose in CLAIMS:
        brand_token = (await make_brand_token(server, brand)).reveal()
        return Holder(api, server, email, (await sign_up(api, brand_token))[0])
    user = await make_user(server, brand, email, password=OLD_PASSWORD)
    opened = await make_session(server, brand, user.id, SessionKind.standing)
    return Holder(api, server, email, opened.refresh_token.reveal())
