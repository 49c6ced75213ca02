"""The operations on sessions, each as a flow of its own; they know no token store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keystead_client import documents
from keystead_client.endpoint import can_be_sent
from keystead_client.errors import Forbidden, RefreshTokenInvalid, ServerError, Unauthenticated, Unauthorized
from keystead_client.flow import Flow, Question, ask
from keystead_client.tokens import Kind, Tokens, brand_of

Headers = Mapping[str, str]


def log_in(
    email: str, password: str, *, brand: str | None, kind: Kind | None, headers: Headers, retries: int
) -> Flow[Tokens]:
    """A new session. ``kind`` None: a pair session, or where the brand has none, a standing one and an access token.

    Never repeated where it may have been opened: the other one would be nobody's. Raises ``ValueError`` for a kind that
    does not exist.
    """
    if kind not in (None, "pair", "standing"):
        raise ValueError(f'session: "pair" or "standing", not {kind!r}')
    if kind == "standing":
        variables = {"email": email, "brand": brand, "password": password}
        data = yield from ask(Question(documents.LOG_IN_STANDING, variables, headers=headers), retries)
        return Tokens(None, _text(data, "login"), "standing")
    given = {"email": email, "password": password, "pylo_app_id": brand}
    try:
        data = yield from ask(Question(documents.LOG_IN, {"input": given}, headers=headers), retries)
    except Forbidden as error:
        if kind is not None or error.feature != "pair":
            raise
        tokens = yield from log_in(email, password, brand=brand, kind="standing", headers=headers, retries=retries)
        auth_token = yield from get_access_token(tokens.refresh_token or "", None, headers=headers, retries=retries)
        return replace(tokens, auth_token=auth_token)
    return _pair(data, "login")


def create_me(*, headers: Headers, retries: int) -> Flow[Tokens]:
    """A new anonymous user with a standing session."""
    data = yield from ask(Question(documents.CREATE_ME, headers=headers), retries)
    return Tokens(None, _text(data, "createMe"), "standing")


def refresh_pair(refresh_token: str, *, headers: Headers, retries: int) -> Flow[Tokens]:
    """The next tokens. Repeatable: the server answers a repetition with the same refresh token."""
    question = Question(documents.REFRESH, {"input": {"refresh_token": refresh_token}}, None, headers, True)
    return _pair((yield from ask(question, retries)), "refreshToken")


def refresh(refresh_token: str, *, headers: Headers, retries: int) -> Flow[Tokens]:
    """The next tokens of a session of either kind: its refresh token does not tell which.

    The server does not know a standing session's token by the operation of the pair contract.
    """
    try:
        return (yield from refresh_pair(refresh_token, headers=headers, retries=retries))
    except RefreshTokenInvalid:
        auth_token = yield from get_access_token(refresh_token, None, headers=headers, retries=retries)
    return Tokens(auth_token, refresh_token, "standing")


def get_access_token(refresh_token: str, expires_in: int | None, *, headers: Headers, retries: int) -> Flow[str]:
    """An access token of a standing session, good for ``expires_in`` seconds; None: as long as the brand says."""
    variables = {"token": refresh_token, "seconds": expires_in}
    data = yield from ask(Question(documents.GET_ACCESS_TOKEN, variables, None, headers, True), retries)
    return _text(data, "getAccessToken")


def me(select: Sequence[str], *, brand: str | None, headers: Headers, retries: int) -> Flow[dict[str, Any]]:
    """The user whose access token is among the headers.

    Raises ``Unauthenticated`` where the server takes the token, for a user of another brand than ``brand``, a name or
    an id: whoever rules there has any permission there, and is nobody here.
    """
    asked = select if brand is None or "brand" in select else [*documents.require_fields(select), "brand"]
    try:
        user = user_of((yield from ask(Question(documents.me(asked), {}, None, headers, True), retries)))
    except Unauthorized:
        # Either the client's own credentials are bad, or they and the user are of two brands. Alone they tell.
        alone = {name: value for name, value in headers.items() if name != "Authorization"}
        yield from ask(Question(documents.HEALTH, {}, None, alone, True), retries)
        raise Unauthenticated("the user is of another brand") from None
    of_token = brand_of(headers["Authorization"].removeprefix("Bearer "))
    if brand is not None and brand not in (user.get("brand"), of_token):
        raise Unauthenticated("the user is of another brand")
    return {field: value for field, value in user.items() if field in select}


def user_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The user in the answer of ``me``."""
    user = data.get("me")
    if not isinstance(user, dict):
        raise _unexpected("me")
    return user


def log_out(*, headers: Headers, retries: int) -> Flow[None]:
    """Ends the session whose access token is among the headers."""
    yield from ask(Question(documents.LOG_OUT, {}, None, headers, False), retries)


def _pair(data: Mapping[str, Any], field: str) -> Tokens:
    try:
        given = data[field]["data"]
        return Tokens(_text(given, "auth_token"), _text(given, "refresh_token"), "pair")
    except (AttributeError, KeyError, TypeError):
        raise _unexpected(field) from None


def _text(data: Mapping[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not can_be_sent(value):
        raise _unexpected(field)
    return value


def _unexpected(field: str) -> ServerError:
    return ServerError(f"the server's answer has no {field}")
