"""The operations that attacks are made of, and what a refusal looks like."""

from __future__ import annotations

from typing import Any

from keystead.context import Server
from tests.api import Answer, Api

ME = "{ me { id email permissions } }"
HEALTH = "{ health { data { up } } }"
LOGIN = "mutation ($input: AuthRequest!) { login(input: $input) { data { auth_token refresh_token } } }"
STANDING_LOGIN = "query ($email: String!, $password: String!) { login(email: $email, password: $password) }"
REFRESH = """
mutation ($token: String!) { refreshToken(input: { refresh_token: $token }) { data { auth_token refresh_token } } }
"""
GET_ACCESS_TOKEN = """
query ($token: String!, $expiresIn: Int) { getAccessToken(refreshToken: $token, expiresIn: $expiresIn) }
"""
INVALIDATE = "mutation ($force: Boolean) { invalidateRefreshToken(force: $force) }"
CREATE_ME = "mutation { createMe }"

Pair = tuple[str, str]
"""An access token and a refresh token."""


async def send_login(api: Api, email: str, password: str, **request: Any) -> Answer:
    """A login of the pair contract."""
    return await api.send(LOGIN, {"input": {"email": email, "password": password}}, **request)


async def log_in(api: Api, email: str, password: str, **request: Any) -> Pair:
    """The same, which must succeed."""
    return pair_of(await send_login(api, email, password, **request), "login")


async def send_refresh(api: Api, refresh_token: str, **request: Any) -> Answer:
    """A refresh of the pair contract."""
    return await api.send(REFRESH, {"token": refresh_token}, **request)


async def refresh(api: Api, refresh_token: str, **request: Any) -> Pair:
    """The same, which must succeed."""
    return pair_of(await send_refresh(api, refresh_token, **request), "refreshToken")


async def send_get_access_token(api: Api, refresh_token: str, expires_in: Any = None, **request: Any) -> Answer:
    """A request for an access token of a standing session."""
    return await api.send(GET_ACCESS_TOKEN, {"token": refresh_token, "expiresIn": expires_in}, **request)


async def get_access_token(api: Api, refresh_token: str, expires_in: int | None = None, **request: Any) -> str:
    """The same, which must succeed."""
    answer = await send_get_access_token(api, refresh_token, expires_in, **request)
    token_given: str = answer.data["getAccessToken"]
    return token_given


def hashes(server: Server) -> int:
    """How many password hashes the server has begun."""
    return server.passwords.load.begun


def pair_of(answer: Answer, field: str) -> Pair:
    """Both tokens in the answer of ``login`` or ``refreshToken``."""
    tokens = answer.data[field]["data"]
    return tokens["auth_token"], tokens["refresh_token"]


def assert_token_refused(answer: Answer, case: object = "") -> None:
    """HTTP 401 before execution, and what RFC 6750 §3.1 wants said."""
    assert answer.status == 401, (case, answer)
    assert answer.code == "UNAUTHENTICATED", (case, answer)
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"', (case, answer)
    assert "data" not in answer.body, (case, answer)


def assert_key_refused(answer: Answer, case: object = "") -> None:
    """HTTP 401 before execution, for an API key or a brand header."""
    assert answer.status == 401, (case, answer)
    assert answer.code == "UNAUTHORIZED", (case, answer)
    assert "Unauthorized" in answer.errors[0]["message"], (case, answer)
    assert "data" not in answer.body, (case, answer)


def assert_error(answer: Answer, code: str, case: object = "", **extensions: str) -> None:
    """One error of a field: HTTP 200, the code, and what else its extensions hold."""
    assert answer.status == 200, (case, answer)
    assert [error["extensions"]["code"] for error in answer.errors] == [code], (case, answer)
    assert set(extensions.items()) <= set(answer.extensions.items()), (case, answer)
    assert set((answer.body["data"] or {}).values()) <= {None}, (case, answer)


def assert_reuse(answer: Answer, case: object = "") -> None:
    """The error that ends a session; existing SDKs look for the word in it."""
    assert_error(answer, "REFRESH_TOKEN_REUSED", case)
    assert "unauthenticated" in answer.errors[0]["message"].lower()
