"""The requests of the tour that write mails: how somebody without a name becomes an account, and comes back."""

from __future__ import annotations

from typing import Final

from keystead.cli.demo.content import ACCOUNT, BRAND, DOMAIN, FORGETFUL
from keystead.cli.demo.keepsake import Keepsake
from keystead.cli.demo.request import ACCESS_TOKEN, MAGIC_TOKEN, REFRESH_TOKEN, RESET_TOKEN, Fresh, Request, Taken

_CREATE_ME: Final = "mutation { createMe }"
_LOGIN: Final = "mutation Login($input: AuthRequest!) { login(input: $input) { data { auth_token refresh_token } } }"


def create_me(kept: Keepsake) -> Request:
    """An anonymous user."""
    return Request(
        "An anonymous user: its refresh token", _CREATE_ME, headers={"keystead-brand-authorization": kept.brand_token}
    )


def exchange(refresh_token: str | Taken) -> Request:
    """An access token of a standing session, as long as ``me`` in the tour needs it."""
    query = "query Exchange($token: String!) { getAccessToken(refreshToken: $token, expiresIn: 3600) }"
    return Request("Exchange", query, {"token": refresh_token})


def anonymous_token(kept: Keepsake) -> Taken:
    """An access token of an anonymous user who is made for it."""
    return Taken(exchange(Taken(create_me(kept), REFRESH_TOKEN)), ACCESS_TOKEN)


def accounts(kept: Keepsake, origin: str) -> list[Request]:
    """All of them, in the order in which one goes that way."""
    return [*_claim(kept, origin), *_come_back(kept), *_links(kept), *_forgotten(kept)]


def _claim(kept: Keepsake, origin: str) -> list[Request]:
    newcomer = {"Authorization": kept.newcomer_access_token}
    return [
        Request(
            "The anonymous user of this token takes an address and a password; a mail with a link goes out",
            "mutation Claim($newEmail: String!, $password: String)"
            " { changeAndValidateEmail(newEmail: $newEmail, password: $password) }",
            {"newEmail": _new_address("sky"), "password": kept.password},
            newcomer,
        ),
        Request(
            f"Open {origin}/mailbox in a browser, click the mail to sky-..., the button in it,"
            " and the button of the page behind it. The newest mail as text:",
            path="/mailbox/newest/text",
        ),
        Request(
            'Is the address proved? "verified" is true once you have clicked',
            "{ me { email verified is_anonymous } }",
            headers=newcomer,
        ),
        Request(
            "Mail the link again: true as long as an address waits for proof. Within a minute of the last mail: true,"
            " and no new mail",
            "mutation { resendVerificationMail }",
            headers=newcomer,
        ),
    ]


def _come_back(kept: Keepsake) -> list[Request]:
    return [
        log_in_account(kept),
        Request(
            "Log out everywhere, on both devices (the inner command logs in)",
            "mutation { invalidateRefreshToken }",
            headers={"Authorization": Taken(log_in_account(kept), ACCESS_TOKEN)},
        ),
        Request(
            "Change the password, here to the same (the inner command logs in)",
            "mutation Change($newPassword: String!, $oldPassword: String)"
            " { changePassword(newPassword: $newPassword, oldPassword: $oldPassword) }",
            {"newPassword": kept.password, "oldPassword": kept.password},
            {"Authorization": Taken(log_in_account(kept), ACCESS_TOKEN)},
        ),
    ]


def log_in_account(kept: Keepsake) -> Request:
    return Request(
        "A second device logs in, as somebody whose address is proved; yours will do as well, with the same password",
        _LOGIN,
        {"input": {"email": ACCOUNT, "password": kept.password, "pylo_app_id": BRAND}},
    )


def _links(kept: Keepsake) -> list[Request]:
    ask = Request(
        "Log in without a password: a mail with a link, if the address is somebody's",
        "mutation Ask($email: String!, $brand: String) { requestMagicLogin(email: $email, brand: $brand) }",
        {"email": kept.email, "brand": BRAND},
    )
    return [
        ask,
        Request(
            "What an app does with the token in that link (the inner commands ask for the mail and read it)",
            "mutation Redeem($token: String!, $session: SessionKind)"
            " { redeemMagicLink(token: $token, session: $session) { data { refresh_token auth_token session } } }",
            {"token": _mailed(kept.email, MAGIC_TOKEN, ask), "session": "pair"},
        ),
        Request(
            "An address by a link that proves it and logs in (the inner commands make an anonymous user)",
            "mutation Claim($newEmail: String!) { changeEmailMagically(newEmail: $newEmail) }",
            {"newEmail": _new_address("star")},
            {"Authorization": anonymous_token(kept)},
        ),
    ]


def _forgotten(kept: Keepsake) -> list[Request]:
    ask = Request(
        "Forgot the password: a mail with a link, if the address is somebody's",
        "mutation Ask($email: String!, $brand: String) { requestPasswordReset(email: $email, brand: $brand) }",
        {"email": FORGETFUL, "brand": BRAND},
    )
    return [
        ask,
        Request(
            "A new password, with the token in that link (the inner commands ask for the mail and read it)",
            "mutation Reset($token: String!, $newPassword: String!)"
            " { resetPassword(token: $token, newPassword: $newPassword) }",
            {"token": _mailed(FORGETFUL, RESET_TOKEN, ask), "newPassword": kept.password},
        ),
    ]


def _new_address(name: str) -> Fresh:
    return Fresh(f"{name}-", f"@{DOMAIN}")


def _mailed(address: str, token: str, ask: Request) -> Taken:
    """The token in the newest mail to ``address``, after ``ask`` asked for one."""
    newest = Request("The newest mail", path=f"/mailbox/newest/text?to={address}")
    return Taken(newest, token, after=ask)
