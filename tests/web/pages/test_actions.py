"""Each kind of link, opened and used: the page, its form, and the result."""

from __future__ import annotations

import pytest

from keystead.authentication import email_change, magic_link
from keystead.context import ActiveBrand, Context, RequestDetails, Server, UserPrincipal
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.mail.model import LINK_KINDS, LINK_PATHS, MailKind
from keystead.policy import SessionKind
from keystead.sessions import service as sessions
from keystead.sessions.rotation import RotationKeys
from keystead.users import service as users
from keystead.users.model import User
from keystead.users.one_time_tokens import store as tokens
from keystead.web.pages.csrf import FormSeal
from tests.clocks import ManualClock
from tests.make import PASSWORD, change_brand, make_caller, make_context, make_session
from tests.web.pages.conftest import ANN, NEW, Asked
from tests.web.pages.visiting import BASE, TWICE, Visitor, newest_link

APP = "https://app.example.com/welcome"
OTHER_APP = "https://other.example.com/in?from=mail"
EVERY_LINK = pytest.mark.parametrize("kind", list(LINK_KINDS))


async def user_of(server: Server, ctx: Context) -> User:
    principal = ctx.principal
    assert hasattr(principal, "user_id")
    return await users.get_user(make_context(server), str(ctx.brand and ctx.brand.id), principal.user_id)


@pytest.mark.attack("A60")
async def test_a_first_address_is_added_to_the_account(
    server: Server, visitor: Visitor, asked: Asked, guest: Context
) -> None:
    link = await asked(MailKind.verify_email)
    page = await visitor.open(link)
    assert page.status == 200
    for said in (
        "This address was given for an account at rainbowMakers . Confirm it if that is your account.",
        f"Address {NEW}", "Account a guest account, made on 1 January 2026 at 12:00 UTC",
        "Asked for 1 January 2026 at 12:00 UTC", "Device tests/1.0 (192.0.2.7)",
        "A password was chosen along with this address. It becomes the password of the account.",
        "Other devices are logged out", "If it was not you, close this page, and nothing changes.",
    ):  # fmt: skip
        assert said in page.text
    assert not (await user_of(server, guest)).profile.is_verified
    done = await visitor.press(page)
    assert done.status == 200
    assert f"{NEW} is now the address of your account at rainbowMakers ." in done.text
    profile = (await user_of(server, guest)).profile
    assert (profile.email, profile.is_verified) == (NEW, True)


async def test_the_page_of_a_new_address_shows_the_old_one(
    server: Server, brand: ActiveBrand, visitor: Visitor, ann: User
) -> None:
    caller = await make_caller(server, await make_session(server, brand, ann.id))
    await email_change.change_email(caller, NEW, PASSWORD)
    page = await visitor.open(await newest_link(server, MailKind.verify_email))
    assert f"Address {NEW}" in page.text
    assert f"Account {ANN}" in page.text
    assert "A password was chosen" not in page.text


@pytest.mark.parametrize("kind", [MailKind.verify_email, MailKind.reset_password])
async def test_the_last_page_links_to_the_brand_s_app(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, kind: MailKind
) -> None:
    link = await asked(kind)
    await change_brand(server, brand, {"redirect_urls": [APP, OTHER_APP]})
    page = await visitor.open(f"{link}&redirect=https%3A%2F%2Fother.example.com%2Fin%3Ffrom%3Dmail")
    done = await visitor.press(page, page.typed)
    assert [given["href"] for tag, given in done.tags if tag == "a"] == [OTHER_APP]


@pytest.mark.parametrize("kind", [MailKind.magic_login, MailKind.change_email])
async def test_a_login_passes_a_token_to_the_app_in_the_fragment(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, guest: Context, kind: MailKind
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
    ctx = Context(server, guest.request, make_context(server).principal)
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


async def test_a_password_must_meet_the_rules_before_the_link_is_consumed(
    server: Server, visitor: Visitor, asked: Asked
) -> None:
    page = await visitor.open(await asked(MailKind.reset_password))
    assert "All devices are logged out" in page.text
    for typed, said in (
        (TWICE | {"repeated": "violet indigo blue!"}, "The two passwords are not the same."),
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
async def test_links_of_a_disabled_feature_are_gone(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, kind: MailKind
) -> None:
    link = await asked(kind)
    page = await visitor.open(link)
    await change_brand(server, brand, {"features": {"magic_login": False, "password_reset": False}})
    assert (await visitor.open(link)).status == 410
    assert (await visitor.press(page, page.typed)).status == 410


async def test_a_page_is_in_the_reader_s_language(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked
) -> None:
    link = await asked(MailKind.verify_email)
    german = await visitor.open(link, headers={"accept-language": "de-AT,de;q=0.9,en;q=0.5"})
    assert "Adresse bestätigen" in german.text
    assert dict(german.tags)["html"]["lang"] == "de"
    await change_brand(server, brand, {"policy": {"mail_language": "de"}})
    assert dict((await visitor.open(link)).tags)["html"]["lang"] == "de"
    assert dict((await visitor.open(link, headers={"accept-language": "en"})).tags)["html"]["lang"] == "en"


async def is_good(server: Server, token: str) -> bool:
    secret = secrets.parse(token)
    assert secret
    return await tokens.find(server.db.reads, secret, server.clock.now()) is not None


@EVERY_LINK
async def test_a_used_link_and_every_bad_one_get_the_same_page(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, kind: MailKind
) -> None:
    await change_brand(server, brand, {"base_url": "https://id.rainbow.example", "redirect_urls": ["https://a.b/"]})
    used = await asked(kind)
    path = LINK_PATHS[LINK_KINDS[kind]]
    page = await visitor.open(used)
    assert (await visitor.press(page, page.typed)).status in (200, 303)
    again = await visitor.press(page, page.typed)
    assert again.status == 410
    for said in ("This link has been used or has expired", "If you have used it already, there is nothing left to do."):
        assert said in again.text
    token = used.partition("token=")[2]
    unknown = secrets.generate(LINK_KINDS[kind]).reveal()
    bad = ["", "x", token[:-1], f"{token}x", token.upper(), "a" * 20_000, "%00", "%ff", f"{token}&token={token}"]
    links = [f"{path}?token={raw}" for raw in (*bad, unknown, token)]
    links += [path, f"{path}?", f"{path}?TOKEN={token}", f"{path}?redirect=https%3A%2F%2Fa.b%2F&token={unknown}"]
    answers = [(await visitor.open(link)).response for link in links]
    assert {answer.status_code for answer in answers} == {410}
    assert answers[0].text == again.response.text
    assert len({(answer.content, str(answer.headers)) for answer in answers}) == 1


@pytest.mark.attack("A58")
@pytest.mark.parametrize("claims_again", [False, True])
async def test_a_token_passed_to_the_app_opens_no_page(
    server: Server, visitor: Visitor, asked: Asked, guest: Context, claims_again: bool
) -> None:
    """Otherwise submitting the page every two minutes would extend a link's lifetime."""
    link = await asked(MailKind.change_email)
    code = next(word for word in (await visitor.press(await visitor.open(link))).text.split() if word[:6] == "ks_ml_")
    if claims_again:
        # The address is pending as well as verified: there would be something to verify.
        await email_change.change_email(guest, NEW, PASSWORD)
    secret = secrets.parse(code)
    assert secret
    assert (await visitor.open(f"/link/login?token={code}")).status == 410
    form = {"token": code, "seal": FormSeal(server.master_key).seal(secret)}
    headers = {"origin": "null", "sec-fetch-site": "same-origin"}
    assert (await visitor.http.post(f"{BASE}/link/login", data=form, headers=headers)).status_code == 410
    assert await is_good(server, code)


async def test_a_form_is_accepted_at_the_brand_s_and_the_server_s_address(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked, clock: ManualClock
) -> None:
    await change_brand(server, brand, {"base_url": "https://id.rainbow.example/auth"})
    for origin in ("https://id.rainbow.example", "https://auth.example.com"):
        clock.advance(seconds=1)
        page = await visitor.open((await asked(MailKind.reset_password)).replace("/auth/link", "/link"))
        assert (await visitor.press(page, TWICE, headers={"origin": origin})).status == 200


@pytest.mark.attack("A54")
async def test_a_redirect_removed_from_the_list_is_not_used(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked
) -> None:
    await change_brand(server, brand, {"redirect_urls": [APP, "https://old.example/"]})
    page = await visitor.open(f"{await asked(MailKind.magic_login)}&redirect=https://old.example/")
    assert page.form.hidden["redirect"] == "https://old.example/"
    await change_brand(server, brand, {"redirect_urls": [APP]})
    answer = await visitor.press(page)
    assert answer.response.headers["location"].startswith(f"{APP}#token=")


@pytest.mark.attack("A103")
@pytest.mark.parametrize(
    "agent",
    [
        "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "Call +1-900-123 now, your account was stolen",
        "{{ 7 * 7 }}{% raw %}{0.__class__}", "\x1b[31mred\x00\x85\xa0",
        "Mozilla/5.0 (<b>X11</b>; Linux) Firefox/140.0", "https://evil.example/", "x" * 200,
    ],
)  # fmt: skip
async def test_the_user_agent_of_another_caller_is_not_shown(
    server: Server, brand: ActiveBrand, visitor: Visitor, guest: Context, agent: str
) -> None:
    assert isinstance(guest.principal, UserPrincipal)
    opened_from = sessions.device(RequestDetails("request-2", address_prefix="192.0.2.7", user_agent=agent))
    keys, now = RotationKeys.of(server), server.clock.now()
    async with server.db.transaction() as tx:
        opened = await sessions.open_session(
            tx, brand, guest.principal.user_id, SessionKind.standing, opened_from, keys, now, password_hash=None
        )
    assert opened is not None
    await email_change.change_email(await make_caller(server, opened), "o'brien&co+x@example.com", PASSWORD)
    page = await visitor.open(await newest_link(server, MailKind.verify_email))
    assert page.status == 200
    assert "Address o'brien&co+x@example.com" in page.text
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    place = page.text.partition("Device ")[2].partition(" A password")[0]
    assert place in ("192.0.2.7", "Firefox, Linux (192.0.2.7)")
