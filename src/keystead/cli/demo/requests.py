"""The tour: every documented request, in the order in which a new user needs it.

Some requests consume a value: a refresh token, a session, a record, the link in a mail. An :class:`Extract` fetches a
new one each time by another request, so that every command can be pasted repeatedly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keystead.cli.demo.sample_data import ACCOUNT, BRAND, DOMAIN, FORGETFUL, DemoSecrets

REFRESH_TOKEN: Final = "ks_rt_[0-9A-Za-z]+"
ACCESS_TOKEN: Final = "eyJ[0-9A-Za-z._-]+"
_MAGIC_TOKEN: Final = "ks_ml_[0-9A-Za-z]+"
_RESET_TOKEN: Final = "ks_pr_[0-9A-Za-z]+"
_ID: Final = "[0-9a-f]{8}-[0-9a-f-]{27}"


@dataclass(frozen=True, eq=False)
class Request:
    """A GraphQL request, or without ``query`` a GET of ``path``.

    Values of variables and headers may be :class:`Extract` or :class:`Unique`.
    """

    title: str
    query: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    path: str = "/graphql"


@dataclass(frozen=True, eq=False)
class Extract:
    """The first match of ``pattern`` (POSIX extended regular expression) in the response to ``request``."""

    request: Request
    pattern: str
    after: Request | None = None
    """Sent before ``request``, each time."""


@dataclass(frozen=True, eq=False)
class Unique:
    """A text that differs each time, between ``start`` and ``end``."""

    start: str
    end: str


def _call(operation: str, field: str, selection: str = "", /, **types: str) -> str:
    """A document that calls one field with one variable for each of its arguments."""
    variables = ", ".join(f"${name}: {kind}" for name, kind in types.items())
    arguments = ", ".join(f"{name}: ${name}" for name in types)
    return f"{operation} Run({variables}) {{ {field}({arguments}){selection and f' {{ data {{ {selection} }} }}'} }}"


_LOGIN: Final = _call("mutation", "login", "auth_token refresh_token", input="AuthRequest!")


def tour(kept: DemoSecrets, origin: str) -> list[Request]:
    """All requests of the tour. Sent in this order they leave the data as it was, except for some anonymous users,
    sessions and mails."""
    return [
        Request("Is the server up?", path="/health"),
        Request("The same by GraphQL", "{ health { data { up } } }"),
        *_pair_sessions(kept),
        *_standing_sessions(kept),
        *_email_change(kept, origin),
        *_password_login(kept),
        *_magic_links(kept),
        *_password_reset(kept),
        *_api_keys(kept),
        *_customers(kept),
        *_administration(kept),
        Request("The public keys that verify access tokens", path="/.well-known/jwks.json"),
    ]


def pair_login(kept: DemoSecrets, email: str | None = None) -> Request:
    """Log in to a pair session: two tokens."""
    given = {"email": email or kept.email, "password": kept.password, "pylo_app_id": BRAND}
    return Request("Log in (pair): an auth token for an hour, a refresh token for a week", _LOGIN, {"input": given})


def standing_login(kept: DemoSecrets, email: str | None = None) -> Request:
    """Log in to a standing session: one refresh token."""
    query = f'{{ login(email: "{email or kept.email}", brand: "{BRAND}", password: "{kept.password}") }}'
    return Request("Log in (standing): a refresh token that is valid until invalidated", query)


def second_login(kept: DemoSecrets) -> Request:
    """Log in as the user of :data:`ACCOUNT`."""
    given = {"email": ACCOUNT, "password": kept.password, "pylo_app_id": BRAND}
    title = "Log in from a second device, as a user with a verified address (after you clicked, yours works, too)"
    return Request(title, _LOGIN, {"input": given})


def create_me(kept: DemoSecrets) -> Request:
    """Create an anonymous user."""
    headers = {"keystead-brand-authorization": kept.brand_token}
    return Request("An anonymous user: its refresh token", "mutation { createMe }", headers=headers)


def exchange(refresh_token: str | Extract) -> Request:
    """Get an access token of a standing session for an hour."""
    query = _call("query", "getAccessToken", refreshToken="String!", expiresIn="Int")
    return Request("Exchange", query, {"refreshToken": refresh_token, "expiresIn": 3600})


def _new_anonymous_user(kept: DemoSecrets) -> Extract:
    """The access token of a new anonymous user."""
    return Extract(exchange(Extract(create_me(kept), REFRESH_TOKEN)), ACCESS_TOKEN)


def _pair_sessions(kept: DemoSecrets) -> list[Request]:
    raw, bearer = {"Authorization": kept.auth_token}, {"Authorization": f"Bearer {kept.auth_token}"}
    login = pair_login(kept)
    sessions = "{ sessionList { data { id kind created_at is_current } pagination { total } } }"
    return [
        login,
        Request("Who am I? With the plain auth token", "{ me { id email } }", {}, raw),
        Request("The same with Bearer in front", "{ me { current_user { data { id email } } } }", {}, bearer),
        Request(
            "Refresh: two new tokens (the inner command logs in, to get a refresh token to consume)",
            _call("mutation", "refreshToken", "auth_token refresh_token", input="AuthRefreshRequest!"),
            {"input": {"refresh_token": Extract(login, REFRESH_TOKEN)}},
        ),
        Request("My sessions", sessions, {}, bearer),
        Request(
            "Log out (the inner command logs in, to get a session to end)",
            "mutation { logout { data { success } } }",
            headers={"Authorization": Extract(login, ACCESS_TOKEN)},
        ),
    ]


def _standing_sessions(kept: DemoSecrets) -> list[Request]:
    alias, standing = {"yoli-brand-authorization": kept.brand_token}, {"Authorization": kept.standing_access_token}
    who = "{ me { id email verified is_anonymous brand permissions } }"
    return [
        create_me(kept),
        Request("The same with the header's alias", "mutation { createMe }", {}, alias),
        standing_login(kept),
        Request(
            "Get an access token with it, here for an hour (default: 15 minutes)",
            f'{{ getAccessToken(refreshToken: "{kept.standing_refresh_token}", expiresIn: 3600) }}',
        ),
        Request("Who am I? With that access token", who, {}, standing),
        Request(
            "Log out for good, as a user who cannot log in again (the inner commands create an anonymous user)",
            "mutation { invalidateRefreshToken(force: true) }",
            headers={"Authorization": _new_anonymous_user(kept)},
        ),
    ]


def _email_change(kept: DemoSecrets, origin: str) -> list[Request]:
    newcomer = {"Authorization": kept.newcomer_access_token}
    return [
        Request(
            "The anonymous user of this token sets an address and a password; a mail with a link is sent",
            _call("mutation", "changeAndValidateEmail", newEmail="String!", password="String"),
            {"newEmail": _new_address("sky"), "password": kept.password},
            newcomer,
        ),
        Request(
            f"Open {origin}/mailbox in a browser, click the mail to sky-..., the button in it,"
            " and the button of the page behind it. The newest mail as text:",
            path="/mailbox/newest/text",
        ),
        Request(
            'Is the address verified? "verified" is true after you clicked',
            "{ me { email verified is_anonymous } }",
            headers=newcomer,
        ),
        Request(
            "Send the link again: true as long as an address is pending. Within a minute of the last mail: true, but no"
            " new mail",
            "mutation { resendVerificationMail }",
            headers=newcomer,
        ),
    ]


def _password_login(kept: DemoSecrets) -> list[Request]:
    # Each request has its own session: the first of them ends it.
    first, second = ({"Authorization": Extract(second_login(kept), ACCESS_TOKEN)} for _ in range(2))
    everywhere = "Log out of all sessions (the inner command logs in)"
    return [
        second_login(kept),
        Request(everywhere, "mutation { invalidateRefreshToken }", {}, first),
        Request(
            "Change the password, here to the same one (the inner command logs in)",
            _call("mutation", "changePassword", newPassword="String!", oldPassword="String"),
            {"newPassword": kept.password, "oldPassword": kept.password},
            second,
        ),
    ]


def _magic_links(kept: DemoSecrets) -> list[Request]:
    ask = Request(
        "Log in without a password: a mail with a link is sent, if a user has this address",
        _call("mutation", "requestMagicLogin", email="String!", brand="String"),
        {"email": kept.email, "brand": BRAND},
    )
    return [
        ask,
        Request(
            "What an app does with the token in that link (the inner commands request the mail and read it)",
            _call("mutation", "redeemMagicLink", "auth_token refresh_token", token="String!", session="SessionKind"),
            {"token": _mailed(kept.email, _MAGIC_TOKEN, ask), "session": "pair"},
        ),
        Request(
            "Set an address by a link that verifies it and logs in (the inner commands create an anonymous user)",
            _call("mutation", "changeEmailMagically", newEmail="String!"),
            {"newEmail": _new_address("star")},
            {"Authorization": _new_anonymous_user(kept)},
        ),
    ]


def _password_reset(kept: DemoSecrets) -> list[Request]:
    ask = Request(
        "Forgot the password: a mail with a link is sent, if a user has this address",
        _call("mutation", "requestPasswordReset", email="String!", brand="String"),
        {"email": FORGETFUL, "brand": BRAND},
    )
    reset = _call("mutation", "resetPassword", token="String!", newPassword="String!")
    token = _mailed(FORGETFUL, _RESET_TOKEN, ask)
    title = "Set a new password with the token in that link (the inner commands request the mail and read it)"
    return [ask, Request(title, reset, {"token": token, "newPassword": kept.password})]


def _new_address(name: str) -> Unique:
    return Unique(f"{name}-", f"@{DOMAIN}")


def _mailed(address: str, pattern: str, ask: Request) -> Extract:
    """The token in the newest mail to ``address``, after ``ask`` requested it."""
    return Extract(Request("The newest mail", path=f"/mailbox/newest/text?to={address}"), pattern, after=ask)


def _api_keys(kept: DemoSecrets) -> list[Request]:
    admin = {"Authorization": f"Bearer {kept.auth_token}"}
    new_key = {"input": {"name": "made in the demo", "permissions": ["read"]}}
    listed = "{ data { id name hint permissions } pagination { total } }"
    one = _call("query", "apiKeyById", "id name", id="ID!")
    requests = [
        Request("The API keys", f"{{ apiKeyList {listed} }}", {}, admin),
        Request("The same by its alias", f"{{ pyloApiKeyList {listed} }}", {}, admin),
        Request("One of them", one, {"id": kept.api_key_id}, admin),
    ]
    for name in ("ApiKey", "PyloApiKey"):
        create = _call("mutation", f"create{name}", "id name token permissions", input="CreateApiKeyInput!")
        created = Request(f"Create an API key: create{name}", create, new_key, admin)
        delete = _call("mutation", f"delete{name}", "success", ids="[ID!]!")
        title = f"Delete one: delete{name} (the inner command creates it)"
        requests += [created, Request(title, delete, {"ids": [Extract(created, _ID)]}, admin)]
    return requests


def _customers(kept: DemoSecrets) -> list[Request]:
    key, alias = {"keystead-api-key": kept.api_key}, {"pylo-api-key": kept.api_key}
    listed = "{ data { id integer_id name email status created_at } pagination { total has_more_pages } }"
    one = _call("query", "customerById", "id name email status", id="ID!")
    create = _call("mutation", "createCustomer", "id name status", input="CreateCustomerInput!")
    update = _call("mutation", "updateCustomer", "id name status updated_at", input="UpdateCustomerInput!")
    delete = _call("mutation", "deleteCustomer", "success", ids="[ID!]!")
    created = Request("Create one", create, {"input": {"name": "Violet Ltd", "status": "active"}}, alias)
    return [
        Request("Customers, with the API key", f"{{ customerList {listed} }}", {}, key),
        Request(
            "The same with the header's alias, and a page of two",
            f"{{ customerList(pagination: {{ page: 1, per_page: 2 }}) {listed} }}",
            headers=alias,
        ),
        Request("One customer", one, {"id": kept.customer_id}, {"x-api-key": kept.api_key}),
        created,
        Request("Update one", update, {"input": {"id": kept.customer_id, "status": "active"}}, key),
        Request("Delete one (the inner command creates it)", delete, {"ids": [Extract(created, _ID)]}, key),
    ]


def _administration(kept: DemoSecrets) -> list[Request]:
    admin = {"Authorization": f"Bearer {kept.auth_token}"}
    users = "{ userList(pagination: { per_page: 5 }) { data { id email verified permissions } pagination { total } } }"
    return [
        Request("The users of the brand, as its administrator", users, {}, admin),
        Request("The record types", "{ entityList { data { name record_count definition } } }", {}, admin),
        Request("The brand itself", "{ brand { data { name preset features } } }", {}, admin),
        Request("The public part of the schema", "{ __schema { queryType { fields { name } } } }"),
    ]
