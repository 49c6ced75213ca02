"""The operations on sessions: their GraphQL documents, and a coroutine for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from keystead_client._endpoint import is_header_safe
from keystead_client._protocol import Ask, Operation
from keystead_client.errors import Forbidden, RefreshTokenInvalid, ServerError, Unauthenticated, Unauthorized
from keystead_client.tokens import AUDIENCE, Kind, Tokens, claims_of

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
_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*", re.ASCII)


async def log_in(ask: Ask, email: str, password: str, brand: str | None, kind: Kind | None) -> Tokens:
    """A new session. ``kind`` None: a pair session or, where the brand has none, a standing one with an access token.

    Not retried after an ambiguous failure: a retry could leave an orphaned session on the server.

    :raises ValueError: no such kind.
    """
    if kind not in (None, "pair", "standing"):
        raise ValueError(f'session: "pair" or "standing", not {kind!r}')
    if kind == "standing":
        variables = {"email": email, "brand": brand, "password": password}
        return Tokens(None, _text(await ask(Operation(LOG_IN_STANDING, variables)), "login"), "standing")
    given = {"email": email, "password": password, "pylo_app_id": brand}
    try:
        return _pair(await ask(Operation(LOG_IN, {"input": given})), "login")
    except Forbidden as error:
        if kind is not None or error.feature != "pair":
            raise
    tokens = await log_in(ask, email, password, brand, "standing")
    return replace(tokens, auth_token=await get_access_token(ask, tokens.refresh_token or ""))


async def create_me(ask: Ask) -> Tokens:
    """A new anonymous user with a standing session."""
    return Tokens(None, _text(await ask(Operation(CREATE_ME)), "createMe"), "standing")


async def refresh_pair(ask: Ask, refresh_token: str) -> Tokens:
    """The next tokens of a pair session. Idempotent: the server answers a retry with the same refresh token."""
    operation = Operation(REFRESH, {"input": {"refresh_token": refresh_token}}, is_idempotent=True)
    return _pair(await ask(operation), "refreshToken")


async def refresh(ask: Ask, refresh_token: str) -> Tokens:
    """The next tokens of a session of either kind, which its refresh token does not show.

    The operation for pair sessions does not accept the token of a standing one.
    """
    try:
        return await refresh_pair(ask, refresh_token)
    except RefreshTokenInvalid:
        return Tokens(await get_access_token(ask, refresh_token), refresh_token, "standing")


async def get_access_token(ask: Ask, refresh_token: str, expires_in: int | None = None) -> str:
    """An access token of a standing session, valid for ``expires_in`` seconds; None: the brand's default."""
    variables = {"token": refresh_token, "seconds": expires_in}
    return _text(await ask(Operation(GET_ACCESS_TOKEN, variables, is_idempotent=True)), "getAccessToken")


async def me(ask: Ask, ask_alone: Ask, auth_token: str, select: Sequence[str], brand: str | None) -> dict[str, Any]:
    """The user of an access token; ``ask_alone`` sends everything but that token.

    :raises Unauthenticated: the user is of another brand than ``brand``, a name or an id. An administrator there has
        every permission, and none here.
    """
    asked = select if brand is None or "brand" in select else [*require_fields(select), "brand"]
    try:
        user = user_of(await ask(Operation(me_document(asked), is_idempotent=True)))
    except Unauthorized:
        # Either the client's own credentials are bad, or they and the user are of two brands. Alone they show it.
        await ask_alone(Operation(HEALTH, is_idempotent=True))
        raise Unauthenticated("the user is of another brand") from None
    is_of_brand = brand is None or user.get("brand") == brand or claims_of(auth_token).get("aud") == AUDIENCE + brand
    if not is_of_brand:
        raise Unauthenticated("the user is of another brand")
    return {field: value for field, value in user.items() if field in select}


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
