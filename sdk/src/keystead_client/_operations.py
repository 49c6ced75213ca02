"""The operations on sessions: their GraphQL documents, and a flow for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from keystead_client._endpoint import is_header_safe
from keystead_client._protocol import Flow, Operation, execute
from keystead_client.errors import Forbidden, RefreshTokenInvalid, ServerError, Unauthenticated, Unauthorized
from keystead_client.tokens import Kind, Tokens, brand_of

LOG_IN = "mutation LogIn($input: AuthRequest!) { login(input: $input) { data { auth_token refresh_token } } }"
LOG_IN_STANDING = (
    "query LogIn($email: String!, $brand: String, $password: String!)"
    " { login(email: $email, brand: $brand, password: $password) }"
)
REFRESH = (
    "mutation Refresh($input: AuthRefreshRequest!)"
    " { refreshToken(input: $input) { data { auth_token refresh_token } } }"
)
GET_ACCESS_TOKEN = (
    "query GetAccessToken($token: String!, $seconds: Int) { getAccessToken(refreshToken: $token, expiresIn: $seconds) }"
)
HEALTH = "query Health { health { data { up } } }"
CREATE_ME = "mutation CreateMe { createMe }"
LOG_OUT = "mutation LogOut { logout { data { success } } }"
LOG_OUT_BY_TOKEN = "mutation LogOut($token: String) { logout(refresh_token: $token) { data { success } } }"
LOG_OUT_EVERYWHERE = "mutation LogOutEverywhere($force: Boolean) { invalidateRefreshToken(force: $force) }"

T = TypeVar("T")
Headers = Mapping[str, str]
_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*", re.ASCII)


def log_in(
    email: str, password: str, *, brand: str | None, kind: Kind | None, headers: Headers, retries: int
) -> Flow[Tokens]:
    """A new session. ``kind`` None: a pair session or, where the brand has none, a standing one with an access token.

    Not retried after an ambiguous failure: a retry could leave an orphaned session on the server.

    :raises ValueError: no such kind.
    """
    if kind not in (None, "pair", "standing"):
        raise ValueError(f'session: "pair" or "standing", not {kind!r}')
    if kind == "standing":
        variables = {"email": email, "brand": brand, "password": password}
        data = yield from execute(Operation(LOG_IN_STANDING, variables, headers=headers), retries)
        return Tokens(None, _text(data, "login"), "standing")
    given = {"email": email, "password": password, "pylo_app_id": brand}
    try:
        data = yield from execute(Operation(LOG_IN, {"input": given}, headers=headers), retries)
    except Forbidden as error:
        if kind is not None or error.feature != "pair":
            raise
        tokens = yield from log_in(email, password, brand=brand, kind="standing", headers=headers, retries=retries)
        auth_token = yield from get_access_token(tokens.refresh_token or "", None, headers=headers, retries=retries)
        return replace(tokens, auth_token=auth_token)
    return _pair(data, "login")


def create_me(*, headers: Headers, retries: int) -> Flow[Tokens]:
    """A new anonymous user with a standing session."""
    data = yield from execute(Operation(CREATE_ME, headers=headers), retries)
    return Tokens(None, _text(data, "createMe"), "standing")


def refresh_pair(refresh_token: str, *, headers: Headers, retries: int) -> Flow[Tokens]:
    """The next tokens of a pair session. Idempotent: the server answers a retry with the same refresh token."""
    operation = Operation(REFRESH, {"input": {"refresh_token": refresh_token}}, None, headers, True)
    return _pair((yield from execute(operation, retries)), "refreshToken")


def refresh(refresh_token: str, *, headers: Headers, retries: int) -> Flow[Tokens]:
    """The next tokens of a session of either kind, which its refresh token does not show.

    The operation for pair sessions does not accept the token of a standing one.
    """
    try:
        return (yield from refresh_pair(refresh_token, headers=headers, retries=retries))
    except RefreshTokenInvalid:
        auth_token = yield from get_access_token(refresh_token, None, headers=headers, retries=retries)
    return Tokens(auth_token, refresh_token, "standing")


def get_access_token(refresh_token: str, expires_in: int | None, *, headers: Headers, retries: int) -> Flow[str]:
    """An access token of a standing session, valid for ``expires_in`` seconds; None: the brand's default."""
    variables = {"token": refresh_token, "seconds": expires_in}
    data = yield from execute(Operation(GET_ACCESS_TOKEN, variables, None, headers, True), retries)
    return _text(data, "getAccessToken")


def me(select: Sequence[str], *, brand: str | None, headers: Headers, retries: int) -> Flow[dict[str, Any]]:
    """The user whose access token is among the headers.

    :raises Unauthenticated: the user is of another brand than ``brand``, a name or an id. An administrator there has
        every permission, and none here.
    """
    asked = select if brand is None or "brand" in select else [*require_fields(select), "brand"]
    try:
        user = user_of((yield from execute(Operation(me_document(asked), {}, None, headers, True), retries)))
    except Unauthorized:
        # Either the client's own credentials are bad, or they and the user are of two brands. Alone they show it.
        alone = {name: value for name, value in headers.items() if name != "Authorization"}
        yield from execute(Operation(HEALTH, {}, None, alone, True), retries)
        raise Unauthenticated("the user is of another brand") from None
    of_token = brand_of(headers["Authorization"].removeprefix("Bearer "))
    if brand is not None and brand not in (user.get("brand"), of_token):
        raise Unauthenticated("the user is of another brand")
    return {field: value for field, value in user.items() if field in select}


def log_out(refresh_token: str | None = None, *, headers: Headers, retries: int) -> Flow[None]:
    """End the session of a refresh token (idempotent), else that of the access token among the headers."""
    if refresh_token:
        yield from execute(Operation(LOG_OUT_BY_TOKEN, {"token": refresh_token}, None, headers, True), retries)
    else:
        yield from execute(Operation(LOG_OUT, headers=headers), retries)


def me_document(select: Sequence[str]) -> str:
    """The document of ``me`` with these fields.

    :raises ValueError: no field, or not a name.
    """
    return f"query Me {{ me {{ {' '.join(require_name(field) for field in require_fields(select))} }} }}"


def user_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The user in the answer of ``me``."""
    user = data.get("me")
    if not isinstance(user, dict):
        raise _unexpected("me")
    return user


def require_name(text: str) -> str:
    """The text itself, since it becomes part of a document.

    :raises ValueError: not a GraphQL name.
    """
    if not _NAME.fullmatch(text):
        raise ValueError(f"not a GraphQL name: {text!r}")
    return text


def require_fields(select: Sequence[T]) -> Sequence[T]:
    """The fields themselves.

    :raises ValueError: no field, or one text instead of a list.
    """
    if isinstance(select, str) or not select:
        raise ValueError("select a list of fields, at least one")
    return select


def _pair(data: Mapping[str, Any], field: str) -> Tokens:
    try:
        given = data[field]["data"]
        return Tokens(_text(given, "auth_token"), _text(given, "refresh_token"), "pair")
    except (AttributeError, KeyError, TypeError):
        raise _unexpected(field) from None


def _text(data: Mapping[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not is_header_safe(value):
        raise _unexpected(field)
    return value


def _unexpected(field: str) -> ServerError:
    return ServerError(f"the server's answer has no {field}")
