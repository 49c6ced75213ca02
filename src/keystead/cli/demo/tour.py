"""The requests that the demo shows: each documented one, in the order in which a newcomer meets them."""

from __future__ import annotations

from typing import Any, Final

from keystead.cli.demo.accounts import accounts, anonymous_token, create_me
from keystead.cli.demo.content import BRAND
from keystead.cli.demo.keepsake import Keepsake
from keystead.cli.demo.request import ACCESS_TOKEN, ID, REFRESH_TOKEN, Request, Taken

_LOGIN: Final = "mutation Login($input: AuthRequest!) { login(input: $input) { data { auth_token refresh_token } } }"
_REFRESH: Final = (
    "mutation Refresh($input: AuthRefreshRequest!)"
    " { refreshToken(input: $input) { data { auth_token refresh_token } } }"
)
_NEW_KEY: Final = {"name": "made in the demo", "permissions": ["read"]}


def login(kept: Keepsake, email: str | None = None) -> Request:
    """A pair session: two tokens."""
    given = {"email": email or kept.email, "password": kept.password, "pylo_app_id": BRAND}
    return Request("Log in (pair): an auth token for an hour, a refresh token for a week", _LOGIN, {"input": given})


def standing_login(kept: Keepsake, email: str | None = None) -> Request:
    """A standing session: one refresh token."""
    query = f'{{ login(email: "{email or kept.email}", brand: "{BRAND}", password: "{kept.password}") }}'
    return Request("Log in (standing): a refresh token that is valid until invalidated", query)


def access_token(refresh_token: str) -> Request:
    """An access token of a standing session."""
    query = f'{{ getAccessToken(refreshToken: "{refresh_token}", expiresIn: 3600) }}'
    return Request("Get an access token with it, here for an hour (15 minutes unless asked for)", query)


def tour(kept: Keepsake, origin: str) -> list[Request]:
    """All of them, for a demo at ``origin``. Sent in this order they leave the data as it was, but for a few anonymous
    users, sessions and mails."""
    return [
        Request("Is the server up?", path="/health"),
        Request("The same by GraphQL", "{ health { data { up } } }"),
        *_pair(kept),
        *_standing(kept),
        *accounts(kept, origin),
        *_api_keys(kept),
        *_customers(kept),
        *_administration(kept),
        Request("The public keys that access tokens are verified with", path="/.well-known/jwks.json"),
    ]


def _pair(kept: Keepsake) -> list[Request]:
    raw, bearer = {"Authorization": kept.auth_token}, {"Authorization": f"Bearer {kept.auth_token}"}
    signed_in = login(kept)
    refresh = {"input": {"refresh_token": Taken(signed_in, REFRESH_TOKEN)}}
    return [
        signed_in,
        Request("Who am I? With the auth token as it is", "{ me { id email } }", headers=raw),
        Request(
            "The same with Bearer in front",
            "{ me { current_user { data { id email } } } }",
            headers=bearer,
        ),
        Request("Refresh: both tokens anew (the inner command logs in, for a token to use up)", _REFRESH, refresh),
        Request(
            "My sessions",
            "{ sessionList { data { id kind created_at is_current } pagination { total } } }",
            headers=bearer,
        ),
        Request(
            "Log out (the inner command logs in, for a session to end)",
            "mutation { logout { data { success } } }",
            headers={"Authorization": Taken(signed_in, ACCESS_TOKEN)},
        ),
    ]


def _standing(kept: Keepsake) -> list[Request]:
    alias = Request(
        "The same with the other name of the header",
        "mutation { createMe }",
        headers={"yoli-brand-authorization": kept.brand_token},
    )
    return [
        create_me(kept),
        alias,
        standing_login(kept),
        access_token(kept.standing_refresh_token),
        Request(
            "Who am I? With that access token",
            "{ me { id email verified is_anonymous brand permissions } }",
            headers={"Authorization": kept.standing_access_token},
        ),
        Request(
            "Log out for ever, as somebody who cannot come back (the inner commands make an anonymous user)",
            "mutation { invalidateRefreshToken(force: true) }",
            headers={"Authorization": anonymous_token(kept)},
        ),
    ]


def _api_keys(kept: Keepsake) -> list[Request]:
    admin = {"Authorization": f"Bearer {kept.auth_token}"}
    made: list[Request] = []
    for prefix in ("Api", "PyloApi"):
        query = (
            f"mutation Create($input: CreateApiKeyInput!)"
            f" {{ create{prefix}Key(input: $input) {{ data {{ id name token permissions }} }} }}"
        )
        create = Request(f"Make an API key: create{prefix}Key", query, {"input": _NEW_KEY}, admin)
        delete = Request(
            f"Delete one: delete{prefix}Key (the inner command makes it)",
            f"mutation Delete($ids: [ID!]!) {{ delete{prefix}Key(ids: $ids) {{ data {{ success }} }} }}",
            {"ids": [Taken(create, ID)]},
            admin,
        )
        made += [create, delete]
    listed = "{ data { id name hint permissions } pagination { total } }"
    by_id = {"id": kept.api_key_id}
    return [
        Request("The API keys", f"{{ apiKeyList {listed} }}", headers=admin),
        Request("The same by the other name", f"{{ pyloApiKeyList {listed} }}", headers=admin),
        Request("One of them", "query One($id: ID!) { apiKeyById(id: $id) { data { id name } } }", by_id, admin),
        *made,
    ]


def _customers(kept: Keepsake) -> list[Request]:
    listed = "{ data { id integer_id name email status created_at } pagination { total has_more_pages } }"
    create = Request(
        "Create one",
        "mutation Create($input: CreateCustomerInput!) { createCustomer(input: $input) { data { id name status } } }",
        {"input": {"name": "Violet Ltd", "status": "active"}},
        {"pylo-api-key": kept.api_key},
    )
    update: dict[str, Any] = {"input": {"id": kept.customer_id, "status": "active"}}
    return [
        Request(
            "Customers, with the API key", f"{{ customerList {listed} }}", headers={"keystead-api-key": kept.api_key}
        ),
        Request(
            "The same with the other names of the header, and a page of two",
            f"{{ customerList(pagination: {{ page: 1, per_page: 2 }}) {listed} }}",
            headers={"pylo-api-key": kept.api_key},
        ),
        Request(
            "One customer",
            "query One($id: ID!) { customerById(id: $id) { data { id name email status } } }",
            {"id": kept.customer_id},
            {"x-api-key": kept.api_key},
        ),
        create,
        Request(
            "Update one",
            "mutation Update($input: UpdateCustomerInput!)"
            " { updateCustomer(input: $input) { data { id name status updated_at } } }",
            update,
            {"keystead-api-key": kept.api_key},
        ),
        Request(
            "Delete one (the inner command creates it)",
            "mutation Delete($ids: [ID!]!) { deleteCustomer(ids: $ids) { data { success } } }",
            {"ids": [Taken(create, ID)]},
            {"keystead-api-key": kept.api_key},
        ),
    ]


def _administration(kept: Keepsake) -> list[Request]:
    admin = {"Authorization": f"Bearer {kept.auth_token}"}
    return [
        Request(
            "The users of the brand, as its administrator",
            "{ userList(pagination: { per_page: 5 }) { data { id email verified permissions } pagination { total } } }",
            headers=admin,
        ),
        Request("The record types", "{ entityList { data { name record_count definition } } }", headers=admin),
        Request("The brand itself", "{ brand { data { name preset features } } }", headers=admin),
        Request("The schema, as far as it is public", "{ __schema { queryType { fields { name } } } }"),
    ]
