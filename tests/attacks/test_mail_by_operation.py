"""A65 for every operation there is: which of them cause mail, and that each keeps to the recipient's share."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import count

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users import service as users
from keystead.users.model import UserChanges
from tests.api import Api
from tests.attacks.mail_operations import claim, make_mailing_brand
from tests.attacks.mails import outbox
from tests.attacks.operations import get_access_token
from tests.attacks.prehijackers import Guest, make_guest
from tests.attacks.surface import Operation, operations
from tests.clocks import ManualClock
from tests.make import make_context, make_user

BY_ADDRESS = {
    "Mutation.requestMagicLogin",
    "Mutation.requestPasswordReset",
    "Mutation.changeAndValidateEmail",
    "Mutation.changeEmailMagically",
    "Mutation.resendVerificationMail",
    "Mutation.createUser",
}
"""The operations that mail an address which is not proved to be the caller's."""

_NUMBERS = count(1)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_mailing_brand(server)


async def make_claimant(server: Server, api: Api, brand: ActiveBrand, brand_token: str, victim: str) -> Guest:
    """An administrator without a login address, who has claimed the victim's."""
    guest = await make_guest(api, brand_token)
    await users.update_user(make_context(server), brand.id, guest.id, UserChanges(permissions=("admin",)))
    assert (await claim(api, guest.access, victim)).data
    return guest


async def mails_by(
    server: Server,
    api: Api,
    brand: ActiveBrand,
    brand_token: str,
    clock: ManualClock,
    operation: Operation,
    taken: bool,
) -> bool:
    """Whether the operation has mail sent to the address that it names, or that its caller claims."""
    victim = f"victim{next(_NUMBERS)}@example.com"
    if taken:
        await make_user(server, brand, victim)
    guest = await make_claimant(server, api, brand, brand_token, victim)
    clock.advance(hours=2)
    token = await get_access_token(api, guest.refresh)
    before = len(await outbox(server))
    await api.send(*operation.request(email=victim, newEmail=victim, brand=brand.name), token=token)
    after = [mail for mail in await outbox(server) if mail.recipient == victim]
    return len(await outbox(server)) > before and bool(after)


@pytest.mark.attack("A65")
async def test_the_operations_that_cause_mail_are_known(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, clock: ManualClock
) -> None:
    """An operation that is added later and sends mail fails this, and then the test below holds it as well."""
    found = {
        str(operation)
        for operation in await operations(server, brand)
        for taken in (False, True)
        if await mails_by(server, api, brand, brand_token, clock, operation, taken)
    }
    assert found == BY_ADDRESS


@pytest.mark.attack("A65")
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("name", [*sorted(BY_ADDRESS), "all of them in turn"])
async def test_each_keeps_to_one_mail_a_minute_and_five_an_hour(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, clock: ManualClock, name: str, taken: bool
) -> None:
    victim = "victim@example.com"
    if taken:
        await make_user(server, brand, victim)
    token = (await make_claimant(server, api, brand, brand_token, victim)).access
    asked = [one for one in await operations(server, brand) if str(one) == name or name not in BY_ADDRESS]
    asked = [one for one in asked if str(one) in BY_ADDRESS]
    for number in range(32):
        operation = asked[number % len(asked)]
        await api.send(*operation.request(email=victim, newEmail=victim, brand=brand.name), token=token)
        clock.advance(seconds=25)
    sent = [mail.created_at for mail in await outbox(server) if mail.recipient == victim]
    assert 1 <= _most_within(sent, timedelta(minutes=1)) <= 1
    assert _most_within(sent, timedelta(hours=1)) <= 5


@pytest.mark.attack("A65")
async def test_ten_users_in_one_document_are_one_mail(
    server: Server, api: Api, brand: ActiveBrand, brand_token: str, clock: ManualClock
) -> None:
    token = (await make_claimant(server, api, brand, brand_token, "first@example.com")).access
    create = 'createUser(input: {email: "victim@example.com"}) { data { id } }'
    answer = await api.send(f"mutation {{ {' '.join(f'a{n}: {create}' for n in range(10))} }}", token=token)
    codes = Counter(error["extensions"]["code"] for error in answer.errors)
    assert codes == {"RATE_LIMITED": 9}
    assert len([mail for mail in await outbox(server) if mail.recipient == "victim@example.com"]) == 1
    distinct = " ".join(
        f'a{n}: createUser(input: {{email: "user{n}@example.com"}}) {{ data {{ id }} }}' for n in range(10)
    )
    assert (await api.send(f"mutation {{ {distinct} }}", token=token)).data


def _most_within(sent: list[datetime], window: timedelta) -> int:
    return max((sum(1 for at in sent if start <= at < start + window) for start in sent), default=0)
