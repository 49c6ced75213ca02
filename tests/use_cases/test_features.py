"""A brand's features, changed by its administrator or by the CLI, take effect immediately."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

import pytest
from graphql import GraphQLField, GraphQLObjectType, is_required_argument

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database
from keystead.graphql.schema import ROOT_TYPES, RootType
from keystead.mail.model import MailKind
from keystead.policy import Features
from keystead.users.model import User
from tests.api import Api, make_api
from tests.attacks.calls import call, fixed_schema
from tests.attacks.mails import token_to
from tests.cli.command import run_alone
from tests.house_rules.source import page
from tests.make import PASSWORD, change_brand, make_access_token, make_brand, make_brand_token, make_session, make_user
from tests.processes.node import MASTER_KEY, RemoteApi, make_colleague, running
from tests.use_cases.people import ADMIN, ANN, log_in

REFUSED_WITHOUT = {
    "email_verification": {"resendVerificationMail"},
    "password_login": {"Query.login", "Mutation.login", "changePassword", "requestPasswordReset", "resetPassword"},
    "password_reset": {"requestPasswordReset", "resetPassword"},
    "magic_login": {"requestMagicLogin", "redeemMagicLink", "changeEmailMagically"},
    "anonymous_users": {"createMe"},
}
"""What is FORBIDDEN while a feature is off: of everything in the schema that needs no permission."""

UPDATE_BRAND = "mutation ($input: UpdateBrandInput!) { updateBrand(input: $input) { data { features } } }"
ASK_FOR_LINK = f'mutation {{ requestMagicLogin(email: "{ANN}") }}'
REDEEM = "mutation ($token: String!) { redeemMagicLink(token: $token, session: pair) { data { session } } }"
_GIVEN = {
    "brand": '"rainbowMakers"',
    "email": f'"{ANN}"',
    "newEmail": '"new@example.com"',
    "password": f'"{PASSWORD}"',
    "newPassword": '"indigo violet"',
    "oldPassword": f'"{PASSWORD}"',
    "token": '"ks_ml_nothing"',
    "refreshToken": '"ks_rt_nothing"',
    "id": '"019b796d-d600-7000-8000-000000000000"',
    "AuthRequest": f'{{ email: "{ANN}", password: "{PASSWORD}" }}',
    "AuthRefreshRequest": '{ refresh_token: "ks_rt_nothing" }',
}
_EVERY_FEATURE = dict.fromkeys(Features.__struct_fields__, True)
_NUMBERS = count(1)


def open_operations() -> dict[str, str]:
    """A document for each root field that needs no permission; its name carries its type where both types have it."""
    schema = fixed_schema()
    found: dict[str, str] = {}
    for root_type in ROOT_TYPES:
        root = schema.type_map[root_type]
        assert isinstance(root, GraphQLObjectType)
        for name, field in root.fields.items():
            assert field.ast_node is not None
            if "permission" not in {directive.name.value for directive in field.ast_node.directives}:
                found[f"{root_type}.{name}" if name == "login" else name] = _document(root_type, name, field)
    return found


def _document(root_type: RootType, name: str, field: GraphQLField) -> str:
    """With its optional arguments too, where there is something to say: they may need a feature of their own."""
    given = []
    for key, argument in field.args.items():
        if key in _GIVEN or is_required_argument(argument):
            given.append(f"{key}: {_GIVEN.get(key) or _GIVEN[str(argument.type).rstrip('!')]}")
    arguments = f"({', '.join(given)})" if given else ""
    return f"{root_type.lower()} {{ {name}{arguments}{call(root_type, name, field).selection} }}"


async def refused(server: Server, api: Api, brand: ActiveBrand, password: str | None = PASSWORD) -> dict[str, set[str]]:
    """The operations that need a feature, and the feature; each is sent by its own user."""
    brand_token = (await make_brand_token(server, brand)).reveal()
    found: dict[str, set[str]] = {}
    for name, document in open_operations().items():
        user = await make_user(server, brand, f"user{next(_NUMBERS)}@example.com", password=password)
        token = make_access_token(server, await make_session(server, brand, user.id))
        headers = {"brand": brand_token} if name == "createMe" else {"token": token}
        answer = await api.send(document, **headers)  # type: ignore[arg-type]
        assert answer.status == 200, (name, answer)
        if answer.code == "FORBIDDEN":
            found.setdefault(answer.extensions["feature"], set()).add(name)
    return found


@pytest.mark.parametrize("feature", Features.__struct_fields__)
async def test_operations_of_a_disabled_feature_are_denied(
    server: Server, api: Api, brand: ActiveBrand, ann: User, feature: str
) -> None:
    brand = await change_brand(server, brand, {"features": _EVERY_FEATURE | {feature: False}})
    assert await refused(server, api, brand) == {feature: REFUSED_WITHOUT[feature]}


async def test_with_all_features_no_operation_is_denied_for_a_feature(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    brand = await change_brand(server, brand, {"features": _EVERY_FEATURE})
    assert await refused(server, api, brand) == {}


async def test_a_first_password_needs_password_login(server: Server, api: Api, brand: ActiveBrand, ann: User) -> None:
    """One who has a password may still name it: there it confirms who is asking."""
    brand = await change_brand(server, brand, {"features": _EVERY_FEATURE | {"password_login": False}})
    found = await refused(server, api, brand, password=None)
    assert found == {"password_login": REFUSED_WITHOUT["password_login"] | {"changeAndValidateEmail"}}


def test_the_documentation_agrees() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (on|off) \| (.+) \|$", page("mail.md"), re.MULTILINE)
    said = {feature: set(re.findall(r"`(\w+)`", names)) for feature, _, names in rows}
    refused_too = {"password_login": {"changeAndValidateEmail"}}
    plain = {feature: {name.rpartition(".")[2] for name in names} for feature, names in REFUSED_WITHOUT.items()}
    assert said == {feature: names | refused_too.get(feature, set()) for feature, names in plain.items()}
    assert [feature for feature, switch, _ in rows if getattr(Features(), feature) is not (switch == "on")] == []


async def test_an_administrator_switches_a_feature(
    server: Server, api: Api, brand: ActiveBrand, ann: User, admin: User
) -> None:
    """A link that is out does nothing as long as its feature is off, and is as good as before when it is on again."""
    auth = (await log_in(api, ADMIN)).auth

    async def switch(*, magic_login: bool) -> None:
        changed = await api.send(UPDATE_BRAND, {"input": {"features": {"magic_login": magic_login}}}, token=auth)
        assert changed.data["updateBrand"]["data"]["features"]["magic_login"] is magic_login

    assert (await api.send(ASK_FOR_LINK)).extensions["feature"] == "magic_login", "off unless a brand wants it"
    await switch(magic_login=True)
    assert (await api.send(ASK_FOR_LINK)).data == {"requestMagicLogin": True}
    token = {"token": await token_to(server, ANN, MailKind.magic_login)}
    await switch(magic_login=False)
    assert (await api.send(REDEEM, token)).extensions["feature"] == "magic_login"
    await switch(magic_login=True)
    assert (await api.send(REDEEM, token)).data == {"redeemMagicLink": {"data": {"session": "pair"}}}


async def test_a_feature_changed_by_the_cli_takes_effect_on_every_server(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    """Two processes serve one database, a third one changes the brand; then one of the two does."""
    server = await make_colleague(db)
    brand = await make_brand(server)
    await make_user(server, brand, ANN, password=PASSWORD, permissions=("admin",))
    settings = {"KEYSTEAD_DATABASE_URL": database_url, "KEYSTEAD_MASTER_KEY": MASTER_KEY}
    here = await make_api(server)
    with running(tmp_path, database_url) as node:
        async with RemoteApi(node) as there:

            async def is_refused() -> list[bool]:
                answers = [await api.send(ASK_FOR_LINK) for api in (here, there)]
                return [answer.code == "FORBIDDEN" for answer in answers]

            def switch(magic_login: str) -> None:
                words = ("brand", "update", "rainbowMakers", "--feature", f"magic_login={magic_login}")
                said = run_alone(tmp_path, *words, **settings)
                assert said.exit_code == 0, said
                assert "take effect on the next request" in said.out

            assert await is_refused() == [True, True]
            switch("on")
            assert await is_refused() == [False, False]
            switch("off")
            assert await is_refused() == [True, True]
            auth = (await log_in(there)).auth
            changed = await there.send(UPDATE_BRAND, {"input": {"features": {"magic_login": True}}}, token=auth)
            assert changed.data
            assert await is_refused() == [False, False]
    await here.http.aclose()
