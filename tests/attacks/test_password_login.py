"""A35, A41, A49: one login per request, and one answer to every login that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import bindparam, update

from keystead.context import ActiveBrand, Server
from keystead.db.statements import Statement
from keystead.users.model import User
from keystead.users.service import create_anonymous
from keystead.users.store import users
from tests.api import Answer, Api
from tests.attacks.calls import Call, credential_calls
from tests.attacks.operations import LOGIN, STANDING_LOGIN, assert_error, hashes, log_in
from tests.attacks.watched import WatchedDatabase
from tests.make import PASSWORD, change_brand, make_user

_PEND = Statement(
    update(users)
    .where(users.c.brand_id == bindparam("brand_id"), users.c.id == bindparam("user_id"))
    .values(pending_email=bindparam("email"), pending_password_hash=bindparam("hash")),
)
_DISABLE = Statement(
    update(users)
    .where(users.c.brand_id == bindparam("brand_id"), users.c.id == bindparam("user_id"))
    .values(is_disabled=True),
)
CREDENTIALS = '"ann@example.com", password: "rainbow123"'
THE_LOGIN = Call("Mutation", f"login(input: {{ email: {CREDENTIALS} }})", "{ data { refresh_token } }")
THE_STANDING_LOGIN = Call("Query", f"login(email: {CREDENTIALS})", "")


def _documents(call: Call, other: Call) -> list[str]:
    """A second call of a credential operation, in every way that a document can hold one."""
    root, first, second = call.root, call.text(), f"second: {other.text()}"
    operation, fragment = root.lower(), f"fragment F on {root} {{ again: {other.text()} }}"
    asks = f"{operation} ($yes: Boolean!, $no: Boolean!)"

    def when(directives: str) -> str:
        return f"second: {other.text(directives)}"

    return [
        f"{operation} {{ renamed: {first} {second} }}",
        f"{operation} {{ {first} {second} }}",
        f"{operation} {{ {first} {first} }}",
        f"{operation} {{ {first} ... on {root} {{ {second} }} }}",
        f"{operation} {{ {first} ... {{ {second} }} }}",
        f"{operation} {{ ... on {root} {{ {first} }} ... on {root} {{ {second} }} }}",
        f"{operation} {{ {first} ...F }} {fragment}",
        f"{operation} {{ ...F {first} }} {fragment}",
        f"{operation} {{ ...F ...F }} {fragment}",
        f"{operation} {{ ...F ...G }} {fragment} fragment G on {root} {{ {first} }}",
        f"{operation} {{ {first} ...G }} fragment G on {root} {{ ...F }} {fragment}",
        f"{asks} {{ {call.text('@include(if: $yes)')} {when('@skip(if: $no)')} }}",
        f"{asks} {{ {call.text('@skip(if: $yes)')} {when('@include(if: $no)')} }}",
        f"{asks} {{ {call.text('@skip(if: $yes)')} {when('@skip(if: $no)')} }}",
        f"{asks} {{ {first} ...F @include(if: $yes) ... @skip(if: $no) {{ third: {other.text()} }} }} {fragment}",
        f"{operation} {{ {first} {when('@include(if: false)')} }}",
        f"{operation} {{ {first} {when('@skip(if: true)')} }}",
        f"{operation} {{ {first} __typename }}",
    ]


@pytest.mark.attack("A35")
async def test_credential_operations_stand_alone(server: Server, api: Api, ann: User, watched: WatchedDatabase) -> None:
    """Every one of the schema, beside itself and beside a login: refused before execution, no hash is made."""
    calls = credential_calls()
    assert len(calls) >= 15
    variables = {"yes": True, "no": False}
    await api.send(f"mutation {{ {THE_LOGIN.text()} }}")
    begun = hashes(server)
    watched.forget()
    for call in calls:
        beside = THE_LOGIN if call.root == "Mutation" else THE_STANDING_LOGIN
        for document in {*_documents(call, call), *_documents(call, beside)}:
            answer = await api.send(document, variables if "$yes" in document else None)
            assert (answer.status, answer.code) == (400, "GRAPHQL_VALIDATION_FAILED"), document
            assert answer.extensions["limit"] == "credential_operations", (document, answer)
            assert "data" not in answer.body, document
    assert hashes(server) == begun
    assert all(asked.text.startswith("SELECT") for asked in watched.asked)


@pytest.mark.attack("A35")
async def test_one_login_is_one_login(server: Server, api: Api, ann: User) -> None:
    """Allowed: by itself, renamed, in a fragment, under a condition, in a document with another operation."""
    login, standing, on_demand = THE_LOGIN.text(), THE_STANDING_LOGIN.text(), THE_LOGIN.text("@include(if: $yes)")
    documents: list[tuple[str, dict[str, bool] | None, str | None]] = [
        (f"mutation {{ {login} }}", None, None),
        (f"mutation {{ renamed: {login} }}", None, None),
        (f"mutation {{ ... on Mutation {{ {login} }} }}", None, None),
        (f"mutation {{ ...F }} fragment F on Mutation {{ {login} }}", None, None),
        (f"mutation ($yes: Boolean!) {{ {on_demand} }}", {"yes": True}, None),
        (f"mutation A {{ {login} }} mutation B {{ {login} }}", None, "B"),
        (f"mutation A {{ {login} }} query B {{ {standing} }}", None, "A"),
        (f"{{ {standing} }}", None, None),
    ]
    for document, variables, name in documents:
        begun = hashes(server)
        answer = await api.send(document, variables, operation_name=name)
        assert all(answer.data.values()), document
        assert hashes(server) == begun + 1, document
    begun = hashes(server)
    answer = await api.send(documents[4][0], {"yes": False})
    assert (answer.data, hashes(server)) == ({}, begun)


@dataclass(frozen=True)
class Refused:
    """All that can be seen of a refused login, from outside and, of its work, from inside."""

    status: int
    body: str
    headers: tuple[tuple[str, str], ...]
    statements: tuple[str, ...]
    hashes: int


async def _refused(
    server: Server, api: Api, watched: WatchedDatabase, document: str, variables: dict[str, Any]
) -> Refused:
    watched.forget()
    begun = hashes(server)
    answer = await api.send(document, variables)
    assert_error(answer, "INVALID_CREDENTIALS", variables)
    statements = tuple(asked.text for asked in watched.asked)
    return Refused(answer.status, _shown(answer), tuple(answer.headers.items()), statements, hashes(server) - begun)


def _shown(answer: Answer) -> str:
    reference: str = answer.extensions["referenceId"]
    return str(answer.body).replace(reference, "-" * len(reference))


async def _failing_accounts(server: Server, brand: ActiveBrand, other_brand: ActiveBrand) -> dict[str, tuple[str, str]]:
    """Addresses and passwords that must not sign in, by the reason; PASSWORD is right wherever there is one."""
    await make_user(server, brand, "passwordless@example.com")
    disabled = await make_user(server, brand, "disabled@example.com", password=PASSWORD)
    disabled_too = await make_user(server, brand, "disabled.passwordless@example.com")
    await make_user(server, brand, "unverified@example.com", password=PASSWORD, is_verified=False)
    await make_user(server, other_brand, "elsewhere@example.com", password=PASSWORD)
    hashed = await server.passwords.hash(PASSWORD)
    async with server.db.transaction() as tx:
        anonymous = await create_anonymous(tx, brand.id, server.clock.now())
        await tx.execute(_PEND, brand_id=brand.id, user_id=anonymous, email="pending@example.com", hash=hashed)
        for user in (disabled, disabled_too):
            await tx.execute(_DISABLE, brand_id=brand.id, user_id=user.id)
    return {
        "wrong password": ("ann@example.com", "a wrong password"),
        "wrong case": ("ann@example.com", PASSWORD.upper()),
        "unknown": ("unknown@example.com", PASSWORD),
        "unknown domain": ("ann@example.org", PASSWORD),
        "no password": ("passwordless@example.com", PASSWORD),
        "empty password": ("ann@example.com", ""),
        "empty password of an unknown user": ("unknown@example.com", ""),
        "empty where there is none": ("passwordless@example.com", ""),
        "disabled": ("disabled@example.com", PASSWORD),
        "disabled, wrong": ("disabled@example.com", "a wrong password"),
        "disabled, no password": ("disabled.passwordless@example.com", PASSWORD),
        "unverified": ("unverified@example.com", PASSWORD),
        "unverified, wrong": ("unverified@example.com", "a wrong password"),
        "anonymous with a pending change": ("pending@example.com", PASSWORD),
        "of another brand": ("elsewhere@example.com", PASSWORD),
    }


@pytest.mark.attack("A41")
@pytest.mark.attack("A49")
async def test_every_failed_login_gets_the_same_response(
    server: Server, api: Api, brand: ActiveBrand, other_brand: ActiveBrand, ann: User, watched: WatchedDatabase
) -> None:
    """Text, shape, status, headers; and the same statements and as many hashes, so that time tells nothing either."""
    accounts = await _failing_accounts(server, brand, other_brand)
    standing = STANDING_LOGIN.replace("login(email", f'login(brand: "{brand.name}", email')
    for document in (LOGIN, standing):
        answers: dict[Refused, list[str]] = {}
        for reason, (email, password) in accounts.items():
            given: dict[str, Any] = {"email": email, "password": password}
            variables = {"input": {**given, "pylo_app_id": brand.name}} if document is LOGIN else given
            answers.setdefault(await _refused(server, api, watched, document, variables), []).append(reason)
        assert len(answers) == 1, answers
        (answer,) = answers
        assert answer.hashes == 1


@pytest.mark.attack("A49")
async def test_a_verified_login_or_one_that_needs_no_verification_logs_in(
    server: Server, api: Api, brand: ActiveBrand
) -> None:
    """The allowed operations: verified, or unverified where the brand asks for no verification."""
    await make_user(server, brand, "verified@example.com", password=PASSWORD)
    assert await log_in(api, "verified@example.com", PASSWORD)
    open_brand = await change_brand(server, brand, {"features": {"email_verification": False}})
    await make_user(server, open_brand, "unverified@example.com", password=PASSWORD, is_verified=False)
    assert await log_in(api, "unverified@example.com", PASSWORD)
