"""Two nodes on one PostgreSQL, and a third in this process, in which tests make users and sessions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import count
from typing import NamedTuple

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.users.model import User
from tests.databases import PostgresTemplate
from tests.make import PASSWORD, make_access_token, make_brand, make_brand_token, make_session, make_user
from tests.processes.node import Node, RemoteApi, make_colleague, running
from tests.use_cases.people import ADMIN, ANN

ROUNDS = int(os.environ.get("KEYSTEAD_RACE_ROUNDS", "3"))
_NUMBERS = count(1)


class Nodes(NamedTuple):
    """Two server processes on one database."""

    here: Node
    there: Node
    database_url: str


class Apis(NamedTuple):
    """A client for each of them."""

    here: RemoteApi
    there: RemoteApi


@pytest.fixture(autouse=True)
def database_of_this_test_alone(own_database: None) -> None:
    """Processes that are killed leave connections and files behind."""


@pytest.fixture(scope="session")
def nodes(postgres_template: PostgresTemplate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Started once per test process: each test makes its own brand, and no test stops them."""
    url = postgres_template.copy()
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        stack.callback(postgres_template.drop, url)
        here, there = (stack.enter_context(running(folder, url)) for _ in range(2))
        yield Nodes(here, there, url)


@pytest.fixture
async def apis(nodes: Nodes) -> AsyncIterator[Apis]:
    """Clients of both nodes."""
    async with RemoteApi(nodes.here) as here, RemoteApi(nodes.there) as there:
        yield Apis(here, there)


@pytest.fixture
async def server(nodes: Nodes) -> AsyncIterator[Server]:
    """The third node, in this process."""
    db = open_database(nodes.database_url)
    await db.open()
    yield await make_colleague(db)
    await db.close()


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand of this test alone."""
    return await make_brand(server, f"brand{next(_NUMBERS)}")


@pytest.fixture
async def brand_token(server: Server, brand: ActiveBrand) -> str:
    """A token of it."""
    return (await make_brand_token(server, brand)).reveal()


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """A user of the brand."""
    return await make_user(server, brand, ANN, password=PASSWORD)


@pytest.fixture
async def admin_token(server: Server, brand: ActiveBrand) -> str:
    """An access token of the brand's administrator."""
    admin = await make_user(server, brand, ADMIN, password=PASSWORD, permissions=("admin",))
    return make_access_token(server, await make_session(server, brand, admin.id))
