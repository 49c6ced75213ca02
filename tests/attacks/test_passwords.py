"""A42-A44: what a password may be, and what makes two of them one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.api import Api
from tests.attacks.operations import LOGIN, assert_error, hashes, log_in, send_login
from tests.make import make_api_key, make_user

_CREATE = "mutation ($input: CreateUserInput!) { createUser(input: $input) { data { id } } }"


@pytest.fixture
async def admin_key(server: Server, brand: ActiveBrand) -> str:
    """An API key that may make users."""
    return (await make_api_key(server, brand, "admin"))[1].reveal()


_ALLOWED = {
    "8": "b7kqz0wm",
    "64": "b7kqz0wm" * 8,
    "256": "b7kqz0wm" * 32,
    "256 of four bytes": "\U0001f308" * 256,
    "8 made of 16": "q\u0301" * 4 + "e\u0301" * 4,
    "the documented one": "rainbow123",
    "the other documented one": "Rainbows123",
}
_REFUSED = {
    "7": ("b7kqz0w", "length"),
    "7 made of 14": ("e\u0301" * 7, "length"),
    "empty": ("", "length"),
    "257": ("b" * 257, "length"),
    "257 of four bytes": ("\U0001f308" * 257, "length"),
    "1,000 combining marks": ("a" + "\u0301" * 1000, "length"),
    "a long run of marks": ("\u0301" * 20_000, "length"),
    "60,000": ("b7kqz0wm" * 7_500, "length"),
}


@pytest.mark.attack("A42")
async def test_a_new_password_follows_the_rules(server: Server, api: Api, admin_key: str) -> None:
    """What is refused is named, with the reason, and costs no hash; what is allowed signs in."""
    for number, (case, password) in enumerate(_ALLOWED.items()):
        email = f"user{number}@example.com"
        new = {"email": email, "password": password, "verified": True}
        assert (await api.send(_CREATE, {"input": new}, key=admin_key)).data["createUser"], case
        assert await log_in(api, email, password), case
    begun = hashes(server)
    for case, (password, reason) in _REFUSED.items():
        new = {"email": "refused@example.com", "password": password, "verified": True}
        answer = await api.send(_CREATE, {"input": new}, key=admin_key)
        assert_error(answer, "BAD_USER_INPUT", case, field="password", reason=reason)
        assert len(json.dumps(answer.body)) < 500, case
    assert hashes(server) == begun


@pytest.mark.attack("A42")
async def test_a_password_that_is_too_long_is_rejected_before_it_queues(
    server: Server, api: Api, ann: User, admin_key: str
) -> None:
    """At login: too long costs no hash and no time. What is only too short may be wrong like any other."""
    begun = hashes(server)
    for case, (password, _) in _REFUSED.items():
        if len(password) > 256:
            answer = await send_login(api, "ann@example.com", password)
            assert_error(answer, "BAD_USER_INPUT", case, field="password")
    mebibyte = {"email": "ann@example.com", "password": "b" * 2**20}
    for query in (LOGIN, _CREATE):
        answer = await api.send(query, {"input": mebibyte}, key=admin_key)
        assert (answer.status, "data" in answer.body) == (413, False)
    assert hashes(server) == begun
    assert_error(await send_login(api, "ann@example.com", "b7kqz0w"), "INVALID_CREDENTIALS")
    assert hashes(server) == begun + 1


@pytest.mark.attack("A42")
async def test_characters_that_no_password_may_contain(server: Server, api: Api, ann: User, admin_key: str) -> None:
    """NUL ends a text in C, half a surrogate pair is no text at all: refused wherever they get in."""
    begun = hashes(server)
    for raw in (
        "b7kqz0wm\\u0000",
        "\\u0000",
        "b7kqz0wm\\u0000tail",
        "b7kqz0wm\\ud800",
        "\\udfffb7kqz0wm",
        "\\udc00\\ud800",
    ):
        given = f'{{"input": {{"email": "ann@example.com", "password": "{raw}"}}}}'
        body = f'{{"query": {json.dumps(LOGIN)}, "variables": {given}}}'
        answer = await api.post(content=body, headers={"content-type": "application/json"})
        assert (answer.status, "data" in answer.body) == (400, False), raw
        # As an escape of GraphQL's own, which JSON carries as plain letters.
        old = f'{{ login(email: "ann@example.com", password: "{raw}") }}'
        new = f'mutation {{ createUser(input: {{ email: "n@example.com", password: "{raw}" }}) {{ data {{ id }} }} }}'
        for text in (old, new):
            answer = await api.send(text, key=admin_key)
            assert answer.status in (200, 400), (raw, answer)
            assert answer.code in ("BAD_USER_INPUT", "GRAPHQL_PARSE_FAILED"), (raw, answer)
    assert hashes(server) == begun
    # A whole pair is a letter like any other.
    assert_error(await send_login(api, "ann@example.com", "\U0001f308"), "INVALID_CREDENTIALS")


def _spellings() -> Iterator[Any]:
    """A chosen password, the texts that are the same password, and texts that are another one."""
    truncated, nfc = pytest.mark.attack("A43"), pytest.mark.attack("A44")
    for head in ("x" * 72, "\u00e9" * 36, "\U0001f308" * 18, "x" * 255):  # bcrypt reads 72 bytes.
        others = [f"{head}b", f"{head}A", head, head[:-1], f"{head[:-1]}a"]
        yield pytest.param(f"{head}a", [f"{head}a"], others, marks=truncated, id=f"{len(head)} of {head[0]!a}")
    composed, decomposed = "Zo\u00eb \u00c5ngstr\u00f6m", "Zoe\u0308 A\u030angstro\u0308m"
    others = ["Zoe Angstrom", composed.upper(), composed.replace(" ", "\u00a0"), "\uff3ao\u00eb \u00c5ngstr\u00f6m"]
    for name, chosen in (("NFC", composed), ("NFD", decomposed)):
        same = [composed, decomposed, "Zo\u00eb \u212bngstr\u00f6m"]
        yield pytest.param(chosen, same, others, marks=nfc, id=name)
    spaced = ["a long sentence", " a long sentence", "a long sentence ", "a  long sentence", "a long sentence\t"]
    for number, chosen in enumerate(spaced):
        others = [one for one in spaced if one != chosen]
        yield pytest.param(chosen, [chosen], others, marks=nfc, id=f"spaces {number}")


@pytest.mark.parametrize(("chosen", "same", "others"), _spellings())
async def test_passwords_are_compared_whole_untrimmed_and_in_nfc(
    server: Server, api: Api, brand: ActiveBrand, chosen: str, same: list[str], others: list[str]
) -> None:
    await make_user(server, brand, password=chosen)
    for typed in same:
        assert await log_in(api, "ann@example.com", typed), typed
    for other in others:
        assert_error(await send_login(api, "ann@example.com", other), "INVALID_CREDENTIALS", other)
