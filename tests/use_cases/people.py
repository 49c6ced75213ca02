"""The users of the use cases, and how they sign in."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.api import Answer, Api
from tests.make import PASSWORD

ANN = "ann@example.com"
ADMIN = "admin@example.com"

LOGIN = "mutation ($input: AuthRequest!) { login(input: $input) { data { auth_token refresh_token } } }"
REFRESH = "mutation ($input: AuthRefreshRequest!) { refreshToken(input: $input) { data { auth_token refresh_token } } }"
GET_ACCESS_TOKEN = "query ($token: String!, $in: Int) { getAccessToken(refreshToken: $token, expiresIn: $in) }"
ME = "{ me { id email } }"


class Tokens(NamedTuple):
    """The pair that ``login`` and ``refreshToken`` answer with."""

    auth: str
    refresh: str


async def log_in(api: Api, email: str = ANN, password: str = PASSWORD, **more: Any) -> Tokens:
    """A session of the pair contract; ``more`` goes with the request."""
    answer = await api.send(LOGIN, {"input": {"email": email, "password": password}}, **more)
    return _pair(answer, "login")


async def refresh(api: Api, token: str) -> Tokens:
    """The next pair."""
    return _pair(await try_refresh(api, token), "refreshToken")


async def try_refresh(api: Api, token: str) -> Answer:
    """Whatever ``refreshToken`` answers."""
    return await api.send(REFRESH, {"input": {"refresh_token": token}})


async def create_me(api: Api, brand_token: str) -> str:
    """The refresh token of a new anonymous user."""
    token: str = (await api.send("mutation { createMe }", brand=brand_token)).data["createMe"]
    return token


async def get_access_token(api: Api, refresh_token: str, expires_in: int | None = None) -> str:
    """An access token of a standing session."""
    answer = await try_get_access_token(api, refresh_token, expires_in)
    token: str = answer.data["getAccessToken"]
    return token


async def try_get_access_token(api: Api, refresh_token: str, expires_in: int | None = None) -> Answer:
    """Whatever ``getAccessToken`` answers. No Authorization header, as the documentation asks."""
    return await api.send(GET_ACCESS_TOKEN, {"token": refresh_token, "in": expires_in})


async def is_signed_out(api: Api, token: str) -> bool:
    """Whether the access token is refused as the contract says: HTTP 401, before anything runs."""
    answer = await api.send(ME, token=token)
    if answer.status == 200:
        return False
    assert answer.status == 401
    assert answer.code == "UNAUTHENTICATED"
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    return True


def _pair(answer: Answer, field: str) -> Tokens:
    given = answer.data[field]["data"]
    return Tokens(given["auth_token"], given["refresh_token"])
