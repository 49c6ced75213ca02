"""The log never contains anything of a link, even at level debug."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database
from keystead.mail.model import LINK_KINDS
from tests.make import change_brand
from tests.processes.node import Node, RemoteApi, make_colleague, running
from tests.web.pages.conftest import Asked
from tests.web.pages.visiting import Page

APP = "https://app.example.com/welcome"


@pytest.fixture
async def server(db: Database) -> Server:
    """A server in this process, on the same database."""
    return await make_colleague(db)


@pytest.fixture
async def node(server: Server, database_url: str, tmp_path: Path) -> AsyncIterator[Node]:
    """A server in another process."""
    with running(tmp_path, database_url, KEYSTEAD_LOG_LEVEL="debug") as node:
        yield node


async def test_nothing_of_a_link_is_in_the_log(node: Node, server: Server, brand: ActiveBrand, asked: Asked) -> None:
    await change_brand(server, brand, {"redirect_urls": [APP]})
    secrets = []
    async with RemoteApi(node) as api:
        # In this order: the last one brings a password, and then an address is not changed by link alone.
        for kind in sorted(LINK_KINDS):
            link = (await asked(kind)).removeprefix("https://auth.example.com")
            path, _, token = link.partition("?token=")
            page = Page(await api.http.get(link))
            sent = page.form.hidden | (page.typed or {})
            for more in ("&redirect=https://evil.example", "x&mark=me", "%", "&mark#mark"):
                await api.http.get(f"{link}{more}")
                await api.http.put(f"{link}{more}", content=b"mark=me")
            for form in ({**sent, "mark": "me"}, {**sent, "seal": "mark"}, sent, sent):
                answer = await api.http.post(path, data=form)
                secrets.append(answer.headers.get("location", "").partition("#token=")[2] or token)
    node.terminate()
    node.wait()
    lines = [line for line in node.log_lines() if line.get("event") == "page"]
    assert len(lines) == len(LINK_KINDS) * 13
    assert {line["page"] for line in lines} == {"/link/verify", "/link/login", "/link/reset"}
    assert {line["status"] for line in lines} >= {200, 303, 400, 403, 405, 410}
    log = json.dumps(node.log_lines())
    told = [secret[-20:] for secret in secrets] + "evil mark token violet app.example [hidden]".split()
    assert [word for word in told if word in log] == []
