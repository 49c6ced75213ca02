"""A52, A53: mail goes to one address, as it is stored; never to one that only looks like it, and never to two."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind
from keystead.users.model import User
from keystead.users.one_time_tokens.model import TokenPurpose
from tests.api import Answer, Api
from tests.attacks.mail_operations import (
    CLAIMS,
    assert_cannot_log_in,
    cause_mail,
    claim,
    mailed_token,
    request_login,
    request_reset,
    use_at_page,
)
from tests.attacks.mails import outbox, token_in
from tests.attacks.operations import assert_error
from tests.attacks.prehijackers import Guest, make_guest
from tests.attacks.surface import Operation, operations
from tests.make import make_api_key, make_user

ADDRESSES = ("email", "newEmail")
CREATE_USER = """
mutation ($email: String!) { createUser(input: { email: $email, verified: true }) { data { id } } }
"""
ANN = "ann@example.com"
NO_TEXT: tuple[Any, ...] = ([ANN], [ANN, "eve@example.com"], {"email": ANN}, {"0": ANN}, 1, 1.5, True, None, [], {})
NO_ADDRESS = (
    *(f"{ANN}{end}Bcc: eve@example.com" for end in ("\r\n", "\n", "\r", "\r\n ", "\u2028", "\u0085", "\v", "\f", "\0")),
    *(f"{ANN}{end}" for end in ("\r\n", "\n", "\r", "\t", " ", "\0", ".", ",", ";", ">", "\u200b", "\u202e", "\ufeff")),
    *(f"{start}{ANN}" for start in ("\r\n", " ", "<", ",", "mailto:", "eve@example.com,", "\u200b", "\ufeff")),
    *(f"{ANN}{between}eve@example.com" for between in (",", ";", " ", "\n", "\0", "%0a", "%00", "|", "/", "\\", "")),
    f"Ann <{ANN}>", f"<{ANN}>", f'"{ANN}"', f"'{ANN}'", f'"{ANN}"@example.com', f"{ANN} (Ann)", f"ann(at){ANN}",
    f"{ANN}%0d%0aBcc:eve@example.com", f"<{ANN}>,<eve@example.com>", f"Friends: {ANN}, eve@example.com;",
    f"<@evil.example:{ANN}>", "ann\r\n@example.com", "ann@exam\nple.com", "ann@example.com@evil.example", "ann",
    "@example.com", "ann@", "ann@example", "ann@[192.0.2.1]", "ann@192.0.2.1", ".ann@example.com", "an..n@example.com",
    "ann.@example.com", "ann@-example.com", "ann@exa_mple.com", "ann@example..com", "ann@.example.com", "", " ", "@",
    f"{'a' * 65}@example.com", f"ann@{'a' * 64}.com", f"ann@{'a.' * 130}com", "a" * 5000 + "@example.com",
    "ann\ud800@example.com", "ann@exam\udfffple.com", "an\u3164n@example.com",
    "=?utf-8?q?ann=40example.com=3e?=eve@example.org", "=?utf-8?q?a=0d=0abcc=3aeve=40example.org?=@example.com",
    "=?x?q?ann?=@example.com",
)  # fmt: skip


@pytest.fixture
async def addressed(server: Server, brand: ActiveBrand) -> list[Operation]:
    """Every operation that takes an e-mail address, by the schema; ``login`` apart, which answers all alike."""
    found = [each for each in await operations(server, brand) if set(ADDRESSES) & set(each.inputs())]
    names = {each.name for each in found}
    assert {"requestMagicLogin", "requestPasswordReset", "changeAndValidateEmail", "changeEmailMagically"} < names
    assert "createUser" in names
    return [each for each in found if each.name != "login"]


async def _send(api: Api, server: Server, operation: Operation, guest: Guest, key: str, email: object) -> Answer:
    given: dict[str, Any] = dict.fromkeys(ADDRESSES, email)
    document, variables = operation.request(**given)
    credential = {"key": key} if operation.needs else {} if operation.is_open else {"token": guest.access}
    # ensure_ascii: lone surrogates travel as escapes.
    body = json.dumps({"query": document, "variables": variables})
    names = {"token": "Authorization", "key": "keystead-api-key"}
    headers = {"Content-Type": "application/json"} | {names[name]: text for name, text in credential.items()}
    return await api.post(content=body, headers=headers)


@pytest.mark.attack("A52")
async def test_invalid_addresses_get_no_mail(
    server: Server, api: Api, brand: ActiveBrand, ann: User, guest: Guest, addressed: list[Operation]
) -> None:
    key = (await make_api_key(server, brand, "admin"))[1].reveal()
    for operation in addressed:
        for text in NO_ADDRESS:
            answer = await _send(api, server, operation, guest, key, text)
            assert answer.code == "BAD_USER_INPUT", (operation.name, text, answer)
            # What no text of ours may hold is refused with the body that holds it.
            assert answer.status == 400 or answer.extensions["field"] in ADDRESSES, (operation.name, text)
        for value in NO_TEXT:
            answer = await _send(api, server, operation, guest, key, value)
            assert (answer.status, answer.code) == (400, "BAD_USER_INPUT"), (operation.name, value)
    assert await outbox(server) == []
    for operation in addressed:
        before = len(await outbox(server))
        email = ANN if operation.is_open else f"{operation.name}@example.com"
        assert (await _send(api, server, operation, guest, key, email)).data[operation.name]
        assert len(await outbox(server)) <= before + 1
    assert {mail.kind for mail in await outbox(server)} >= {MailKind.magic_login, MailKind.verify_email}


def _collisions() -> Iterator[tuple[str, str]]:
    """A character that upper or lower case, case folding or NFKC takes for other letters, and those letters.

    From Python's own copy of the Unicode tables, by each of the mappings that some program may compare by.
    """
    for number in range(0x80, 0x110000):
        character = chr(number)
        # What NFC replaces is another way to write the same text, and is stored as that.
        if unicodedata.category(character)[0] not in "LN" or unicodedata.normalize("NFC", character) != character:
            continue
        compatible = unicodedata.normalize("NFKC", character)
        for taken_for in (character.upper().lower(), character.casefold(), compatible.casefold(), compatible.lower()):
            if taken_for != character and taken_for.isalnum():
                yield character, taken_for
                break


def _pairs(count: int) -> list[tuple[str, str]]:
    """Addresses of owners, each with one that collides: letters of all blocks, owners of both kinds."""
    found = list(_collisions())
    # The ones that everybody knows come first; the rest evenly from all that there are.
    known = [pair for pair in found if pair[0] in "ſKıßﬁﬀﬅ①ªº²Ａａ𝐚ⅷﷺ"]
    rest = [pair for pair in found if pair not in known]
    assert len(known) >= 10
    assert len(rest) > 2000
    step = len(rest) // (count - len(known))
    pairs = []
    for number, (character, plain) in enumerate(islice([*known, *rest[::step]], count)):
        one, other = f"o{number}.{plain}@example.com", f"o{number}.{character}@example.com"
        pairs.append((one, other) if number % 3 else (other, one))
    return pairs


@pytest.mark.attack("A53")
async def test_a_lookalike_of_a_registered_address_gets_no_mail(
    server: Server, api: Api, brand: ActiveBrand, guest: Guest
) -> None:
    pairs = _pairs(100)
    assert len(set(pairs)) == 100
    key = (await make_api_key(server, brand, "admin"))[1].reveal()
    for owner, lookalike in pairs:
        await make_user(server, brand, owner)
        for answer in (
            await request_login(api, lookalike),
            await request_reset(api, lookalike),
            await claim(api, guest.access, lookalike),
        ):
            assert set(answer.data.values()) == {True}, (owner, lookalike)
        assert_error(await api.send(CREATE_USER, {"email": lookalike}, key=key), "CONFLICT", (owner, lookalike))
    recipients = {mail.recipient for mail in await outbox(server)}
    assert recipients & {lookalike for _, lookalike in pairs} == set()
    assert recipients == {owner for owner, _ in pairs}, "each owner was told of the claim"


@pytest.mark.attack("A53")
async def test_one_of_two_lookalikes_becomes_the_login(
    server: Server, api: Api, brand_token: str, guest: Guest
) -> None:
    for number, (one, other) in enumerate(_pairs(100)[:16]):
        first, second = await make_guest(api, brand_token), await make_guest(api, brand_token)
        purpose = sorted(CLAIMS)[number % 2]
        mine = await mailed_token(api, server, TokenPurpose.verify, one, token=first.access)
        answer = await cause_mail(api, purpose, other, token=second.access)
        assert set(answer.data.values()) == {True}
        rivals = [mail for mail in await outbox(server) if mail.user_id == second.id]
        assert await use_at_page(api, mine), (one, other)
        for mail in rivals:
            assert not await use_at_page(api, token_in(server, mail)), (one, other)
        await assert_cannot_log_in(api, other, "never chosen")
        assert {mail.recipient for mail in await outbox(server) if mail.user_id == second.id} <= {other}
