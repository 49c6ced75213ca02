"""A42-A44: what a password may be, and what makes two of them one."""

from __future__ import annotations

import json

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
async def test_a_password_that_is_too_long_is_rejected_before_it_queues(server: Server, api: Api, ann: User) -> None:
    """At login: too long costs no hash and no time. What is only too short may be wrong like any other."""
    begun = hashes(server)
    for case, (password, _) in _REFUSED.items():
        if len(password) > 256:
            answer = await send_login(api, "ann@example.com", password)
            assert_error(answer, "BAD_USER_INPUT", case, field="password")
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


@pytest.mark.attack("A42")
async def test_a_password_of_a_mebibyte_is_rejected(server: Server, api: Api, ann: User, admin_key: str) -> None:
    """The body is too large for anything."""
    begun, password = hashes(server), "b" * 2**20
    for answer in (
        await send_login(api, "ann@example.com", password),
        await api.send(_CREATE, {"input": {"email": "n@example.com", "password": password}}, key=admin_key),
    ):
        assert (answer.status, "data" in answer.body) == (413, False)
    assert hashes(server) == begun


@pytest.mark.attack("A43")
async def test_passwords_are_not_truncated(server: Server, api: Api, brand: ActiveBrand) -> None:
    """bcrypt reads 72 bytes; here the last letter counts as much as the first."""
    for number, head in enumerate(("x" * 72, "\u00e9" * 36, "\U0001f308" * 18, "x" * 255)):
        email = f"user{number}@example.com"
        await make_user(server, brand, email, password=f"{head}a")
        assert await log_in(api, email, f"{head}a")
        for wrong in (f"{head}b", f"{head}A", head, head[:-1], f"{head[:-1]}a"):
            assert_error(await send_login(api, email, wrong), "INVALID_CREDENTIALS", (number, len(wrong)))


@pytest.mark.attack("A44")
async def test_passwords_are_compared_in_nfc(server: Server, api: Api, brand: ActiveBrand) -> None:
    """NFC and NFD are one; NFKC is not applied: what looks alike but is another character is another password."""
    composed, decomposed = "Zo\u00eb \u00c5ngstr\u00f6m", "Zoe\u0308 A\u030angstro\u0308m"
    assert composed != decomposed
    for email, chosen in (("nfc@example.com", composed), ("nfd@example.com", decomposed)):
        await make_user(server, brand, email, password=chosen)
        for typed in (composed, decomposed, "Zo\u00eb \u212bngstr\u00f6m"):
            assert await log_in(api, email, typed), (email, typed)
        for other in (
            "Zoe Angstrom",
            composed.upper(),
            composed.replace(" ", "\u00a0"),
            "\uff3ao\u00eb \u00c5ngstr\u00f6m",
        ):
            assert_error(await send_login(api, email, other), "INVALID_CREDENTIALS", (email, other))


@pytest.mark.attack("A44")
async def test_spaces_count(server: Server, api: Api, brand: ActiveBrand) -> None:
    """In front, behind, and how many there are between: nothing is trimmed."""
    spellings = ["a long sentence", " a long sentence", "a long sentence ", "a  long sentence", "a long sentence\t"]
    for number, chosen in enumerate(spellings):
        email = f"user{number}@example.com"
        await make_user(server, brand, email, password=chosen)
        for typed in spellings:
            if typed == chosen:
                assert await log_in(api, email, typed), repr(chosen)
            else:
                assert_error(await send_login(api, email, typed), "INVALID_CREDENTIALS", (chosen, typed))
