"""Each link, opened and used: what its page says, what its button does, and what comes after."""

from __future__ import annotations

import pytest

from keystead.authentication import email_change, magic_link
from keystead.context import ActiveBrand, Context, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.mail.model import MailKind
from keystead.users import service as users
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.make import change_brand, make_caller, make_context, make_session
from tests.web.pages.conftest import ANN, NEW, PASSWORD, Asked
from tests.web.pages.visiting import Visitor, newest_link

APP = "https://app.example.com/welcome"
OTHER_APP = "https://other.example.com/in?from=mail"
GOOD = "violet indigo blue"
TWICE = {"password": GOOD, "repeated": GOOD}


async def user_of(server: Server, ctx: Context) -> User:
    principal = ctx.principal
    assert hasattr(principal, "user_id")
    return await users.get_user(make_context(server), str(ctx.brand and ctx.brand.id), principal.user_id)


async def test_a_new_address_is_joined_to_an_account_without_one(
    server: Server, visitor: Visitor, asked: Asked, nobody: Context
) -> None:
    link = await asked(MailKind.verify_email)
    page = await visitor.open(link)
    assert page.status == 200
    for said in (
        "This address was given for an account at rainbowMakers . Confirm it if that is your account.",
        f"Address {NEW}",
        "Account a guest account, made on 1 January 2026 at 12:00 UTC",
        "Asked for 1 January 2026 at 12:00 UTC",
        "Device tests/1.0 (192.0.2.7)",
        "A password was chosen along with this address. It becomes the password of the account.",
        "Other devices are logged out",
        "If it was not you, close this page, and nothing changes.",
    ):
        assert said in page.text
    assert not (await user_of(server, nobody)).profile.is_verified
    done = await visitor.press(page)
    assert done.status == 200
    assert f"{NEW} is now the address of your account at rainbowMakers ." in done.text
    profile = (await user_of(server, nobody)).profile
    assert (profile.email, profile.is_verified) == (NEW, True)


async def test_another_address_is_joined_to_the_account_of_the_old_one(
    server: Server, brand: ActiveBrand, visitor: Visitor, ann: User
) -> None:
    caller = await make_caller(server, await make_session(server, brand, ann.id))
    await email_change.change_email(caller, NEW, PASSWORD)
    page = await visitor.open(await newest_link(server, MailKind.verify_email))
    assert f"Address {NEW}" in page.text
    assert f"Account {ANN}" in page.text
    assert "A password was chosen" not in page.text


@pytest.mark.parametrize("kind", [MailKind.verify_email, MailKind.reset_password])
async def test_a_page_leads_on_to_the_app_of_the_brand(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, kind: MailKind
) -> None:
    link = await asked(kind)
    typed = TWICE if kind is MailKind.reset_password else None
    await change_brand(server, brand, {"redirect_urls": [APP, OTHER_APP]})
    page = await visitor.open(f"{link}&redirect=https%3A%2F%2Fother.example.com%2Fin%3Ffrom%3Dmail")
    done = await visitor.press(page, typed)
    assert [given["href"] for tag, given in done.tags if tag == "a"] == [OTHER_APP]


@pytest.mark.parametrize("kind", [MailKind.magic_login, MailKind.change_email])
async def test_a_login_is_handed_to_the_app_in_the_fragment(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, nobody: Context, kind: MailKind
) -> None:
    link = await asked(kind)
    await change_brand(server, brand, {"redirect_urls": [APP, OTHER_APP]})
    page = await visitor.open(link)
    answer = await visitor.press(page)
    assert answer.status == 303
    target, _, fresh = answer.response.headers["location"].partition("#token=")
    assert target == APP
    assert secrets.parse(fresh, SecretKind.magic)
    assert fresh not in link
    ctx = Context(server, nobody.request, make_context(server).principal)
    assert (await magic_link.redeem(ctx, secrets.parse(fresh), None)).refresh_token
    assert (await visitor.open(link)).status == 410


async def test_a_login_without_an_app_shows_a_code(
    server: Server, visitor: Visitor, asked: Asked, clock: ManualClock
) -> None:
    page = await visitor.open(await asked(MailKind.magic_login))
    assert f"Account {ANN}" in page.text
    answer = await visitor.press(page)
    assert answer.status == 200
    code = next(word for word in answer.text.split() if word.startswith("ks_ml_"))
    assert (await magic_link.redeem(make_context(server), secrets.parse(code), None)).refresh_token


async def test_a_new_password_is_set_and_is_held_to_the_rules_before_the_link_is_used(
    server: Server, visitor: Visitor, asked: Asked
) -> None:
    page = await visitor.open(await asked(MailKind.reset_password))
    assert "All devices are logged out" in page.text
    for typed, said in (
        ({"password": GOOD, "repeated": f"{GOOD}!"}, "The two passwords are not the same."),
        ({"password": "short", "repeated": "short"}, "A password has 8 to 256 characters."),
        ({"password": "", "repeated": ""}, "A password has 8 to 256 characters."),
        ({"password": "violets", "repeated": "indigos"}, "8 to 256 characters. The two passwords are not the same."),
        ({"password": "a" * 257, "repeated": "a" * 257}, "A password has 8 to 256 characters."),
        ({"password": "password1", "repeated": "password1"}, "one of the passwords that attackers try first"),
        ({"password": "RAINBOWmakers1", "repeated": "RAINBOWmakers1"}, "must not be the name of this service"),
    ):
        page = await visitor.press(page, typed)
        assert page.status == 400
        assert said in page.text
        assert typed["password"] == "" or typed["password"] not in page.response.text
        fields = [given for tag, given in page.tags if tag == "input" and given.get("type") == "password"]
        assert [given["autocomplete"] for given in fields] == ["new-password"] * 2
        assert [given["minlength"] for given in fields] == ["8"] * 2
        assert all(given["aria-invalid"] == "true" for given in fields)
        assert all("wrong" in str(given["aria-describedby"]).split() for given in fields)
    done = await visitor.press(page, TWICE)
    assert done.status == 200
    assert "Your new password is set" in done.text
    assert (await visitor.press(page, TWICE)).status == 410


async def test_the_minimum_is_the_brand_s(server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked) -> None:
    link = await asked(MailKind.reset_password)
    await change_brand(server, brand, {"policy": {"password_minimum": 15}})
    page = await visitor.open(link)
    assert "At least 15 characters." in page.text
    assert [given["minlength"] for tag, given in page.tags if "minlength" in given] == ["15"] * 2
    page = await visitor.press(page, {"password": "fourteen chars", "repeated": "fourteen chars"})
    assert "A password has 15 to 256 characters." in page.text


@pytest.mark.parametrize("kind", [MailKind.magic_login, MailKind.reset_password])
async def test_a_feature_that_was_switched_off_takes_its_links_along(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, kind: MailKind
) -> None:
    link = await asked(kind)
    page = await visitor.open(link)
    await change_brand(server, brand, {"features": {"magic_login": False, "password_reset": False}})
    assert (await visitor.open(link)).status == 410
    assert (await visitor.press(page, TWICE if page.form.typed else None)).status == 410


async def test_a_reader_is_spoken_to_in_their_language(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked
) -> None:
    link = await asked(MailKind.verify_email)
    german = await visitor.open(link, headers={"accept-language": "de-AT,de;q=0.9,en;q=0.5"})
    assert "Adresse bestätigen" in german.text
    assert dict(german.tags)["html"]["lang"] == "de"
    await change_brand(server, brand, {"policy": {"mail_language": "de"}})
    assert dict((await visitor.open(link)).tags)["html"]["lang"] == "de"
    assert dict((await visitor.open(link, headers={"accept-language": "en"})).tags)["html"]["lang"] == "en"
