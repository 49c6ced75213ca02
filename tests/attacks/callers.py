"""Who attacks: users and keys of every strength, and a second node to attack from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from keystead.clock import Clock
from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.users.model import User
from tests.api import Answer, Api, make_api
from tests.make import SETTINGS, make_access_token, make_api_key, make_server, make_session, make_user

_NUMBERS = count(1)


async def sign_in(server: Server, brand: ActiveBrand, *permissions: str, **choices: Any) -> str:
    """The access token of a new user with these permissions."""
    return (await make_signed_in(server, brand, *permissions, **choices))[1]


async def make_signed_in(server: Server, brand: ActiveBrand, *permissions: str, **choices: Any) -> tuple[User, str]:
    """A new user with these permissions, and their access token."""
    email = f"user{next(_NUMBERS)}@example.com"
    user = await make_user(server, brand, email, permissions=permissions, **choices)
    return user, make_access_token(server, await make_session(server, brand, user.id))


async def make_key(server: Server, brand: ActiveBrand, *permissions: str, **choices: Any) -> str:
    """The secret of a new API key with these permissions."""
    return (await make_api_key(server, brand, *permissions, **choices))[1].reveal()


@asynccontextmanager
async def second_node(database_url: str, clock: Clock, **settings: Any) -> AsyncIterator[Api]:
    """Another process's application on the same database, with connections and caches of its own."""
    database = open_database(database_url)
    await database.open()
    try:
        yield await make_api(await make_server(database, clock, settings=replace(SETTINGS, **settings)))
    finally:
        await database.close()


def anonymised(answer: Answer) -> tuple[int, Mapping[str, Any]]:
    """Status and body without the reference ids: two answers that must tell the same are compared by this."""
    errors = [
        {**error, "extensions": {name: value for name, value in error["extensions"].items() if name != "referenceId"}}
        for error in answer.errors
    ]
    return answer.status, {**answer.body, "errors": errors}
