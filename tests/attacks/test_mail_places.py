"""A51, A54: where links begin and where pages lead to is configured; nothing that a request says has a part in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from urllib.parse import quote

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto.secrets import SecretKind
from keystead.users.one_time_tokens.model import KINDS, TokenPurpose
from tests.api import Api, make_api
from tests.attacks.mail_operations import Holder, make_holder, make_mailing_brand, typed, use_in_app
from tests.attacks.mails import LINK_MAILS, link_in, open_link, outbox, press, read
from tests.attacks.operations import assert_error
from tests.clocks import ManualClock
from tests.make import change_brand, make_api_key

EVIL = "evil.example"
HOSTS: tuple[list[tuple[str, str]], ...] = (
    [("Host", EVIL)],
    [("Host", f"{EVIL}:443")],
    [("Host", f"auth.example.com.{EVIL}")],
    [("Host", f"auth.example.com@{EVIL}")],
    [("Host", f"auth.example.com:@{EVIL}")],
    [("Host", f"auth.example.com, {EVIL}")],
    [("Host", f"{EVIL}/link/login?token=")],
    [("Host", f'"><a href="https://{EVIL}">')],
    [("Host", "auth.example.com"), ("Host", EVIL)],
    [("Host", EVIL), ("Host", "auth.example.com")],
    *(
        [(name, value)]
        for value in (EVIL, f"https://{EVIL}/")
        for name in (
            "X-Forwarded-Host", "X-Forwarded-Server", "X-Host", "X-HTTP-Host-Override", "X-Original-Host", "Referer",
            "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Script-Name", "Base-Url",
        )
    ),
    [("Forwarded", f"for=192.0.2.1;host={EVIL};proto=https")],
    [("X-Forwarded-Host", EVIL), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443")],
)  # fmt: skip
FIRST, SECOND = "https://app.example.com/welcome", "https://app.example.com/second?from=mail"
TARGETS = (
    f"https://{EVIL}", f"https://{EVIL}/welcome", f"//{EVIL}", f"///{EVIL}", f"/\\{EVIL}", f"\\\\{EVIL}",
    f"https:{EVIL}", f"https:/{EVIL}", f"https://app.example.com.{EVIL}/welcome", f"https://app.example.com@{EVIL}/welcome",
    f"https://app.example.com%40{EVIL}/welcome", f"https://app.example.com\\@{EVIL}", f"{FIRST}@{EVIL}",
    f"https://{EVIL}#{FIRST}", f"https://{EVIL}/?{FIRST}", f"https://{EVIL}\\{FIRST}", f"{FIRST}.{EVIL}", f"{FIRST}/",
    f"{FIRST}/..//{EVIL}", f"{FIRST}?next=https://{EVIL}", f"{FIRST}#", f"{FIRST}#token=", f"{FIRST}%00", f"{FIRST}\0",
    f" {FIRST}", f"{FIRST} ", f"\t{FIRST}", f"{FIRST}\r\nLocation: https://{EVIL}", f"{FIRST}\r\nSet-Cookie: a=b",
    f"{FIRST}\n", f"{FIRST};https://{EVIL}", f"{FIRST},https://{EVIL}", FIRST.upper(), FIRST.replace("app", "APP"),
    FIRST.replace("https", "http"), FIRST.replace(".com", ".com:443"), FIRST.replace(".com", ".com."),
    FIRST.replace(".", "\uff0e"), FIRST.replace("a", "\u0430", 1), FIRST.replace("welcome", "%77elcome"),
    FIRST.replace("/welcome", ""), "javascript:alert(1)", "JaVaScRiPt:alert(1)",
    "data:text/html,<script>alert(1)</script>", f"javascript://app.example.com/%0aalert(1)//{FIRST}", "", "/", ".",
    "*", "null", "undefined",
    "[]", "a" * 5000,
)  # fmt: skip
UPDATE_BRAND = "mutation ($input: UpdateBrandInput!) { updateBrand(input: $input) { data { id } } }"
_ADDRESS = re.compile(r"https?://[^\s\"'<>]+")
_ONWARD = re.compile(r'<a class="button" href="([^"]*)"')
every_purpose = pytest.mark.parametrize("purpose", list(LINK_MAILS))


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_mailing_brand(server)


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """Trusts its proxy, as far as that goes, and sends as much mail as is asked for."""
    settings = replace(server.settings, throttling=False, trusted_proxies=(ip_network("192.0.2.7"),))
    client = await make_api(replace(server, settings=settings))
    yield client
    await client.http.aclose()


def _with_headers(api: Api, headers: list[tuple[str, str]]) -> None:
    """Has the client send these headers with everything, as they are."""
    api.http.headers = httpx.Headers(headers)


@pytest.mark.attack("A51")
@every_purpose
@pytest.mark.parametrize("base_url", [None, "https://id.rainbow.example/auth"])
async def test_a_link_begins_where_it_was_configured_to(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose, base_url: str | None
) -> None:
    """Whatever the request for it says of hosts. The brand's address, or the installation's."""
    await change_brand(server, brand, {"base_url": base_url})
    holder = await make_holder(api, server, brand, purpose)
    for headers in HOSTS:
        clock.advance(seconds=1)
        _with_headers(api, headers)
        await holder.ask(purpose)
    _with_headers(api, [])
    mails = await outbox(server)
    assert len(mails) == len(HOSTS)
    for mail in mails:
        link, said = link_in(server, mail), await read(server, mail)
        assert link.startswith(f"{base_url or 'https://auth.example.com'}/link/"), link
        assert {found.rstrip(".") for found in _ADDRESS.findall(said.text + said.html)} == {link}
        assert EVIL not in said.subject + said.text + said.html


@pytest.mark.attack("A51")
@every_purpose
async def test_a_page_leads_where_it_was_configured_to(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    """Nothing of a host header is on a page or in what it answers; for the rest it works as ever."""
    await change_brand(server, brand, {"redirect_urls": [FIRST]})
    for number, headers in enumerate(HOSTS):
        holder = await make_holder(api, server, brand, purpose, f"holder{number}@example.com")
        clock.advance(seconds=1)
        token = await holder.ask(purpose)
        link = link_in(server, (await outbox(server))[-1])
        _with_headers(api, headers)
        page = await open_link(api, link)
        answer = await press(api, link, page, typed(token))
        _with_headers(api, [])
        for response in (page, answer):
            assert response.status_code in (200, 303), (headers, response.text)
            assert EVIL not in response.text + str(response.headers), headers
        assert _leads_to(answer) == FIRST, headers


def _leads_to(answer: httpx.Response) -> str | None:
    """Where the page after the button leads to: by itself, or by its one link."""
    if answer.status_code == 303:
        assert answer.text == ""
        target: str = answer.headers["location"]
        assert "#token=ks_ml_" in target
        return target.partition("#")[0]
    assert "location" not in answer.headers
    found = _ONWARD.search(answer.text)
    return None if found is None else found[1].replace("&amp;", "&")


async def _follow(
    api: Api, server: Server, holder: Holder, purpose: TokenPurpose, *, shown: str, posted: str
) -> str | None:
    """Where a link leads that names a target when it is opened, and another one when its form is sent."""
    token = await holder.ask(purpose)
    link = link_in(server, (await outbox(server))[-1])
    page = await open_link(api, f"{link}&{shown}")
    assert page.status_code == 200, (shown, page.text)
    assert EVIL not in page.text + str(page.headers), shown
    policy = page.headers["content-security-policy"]
    named = " https://app.example.com" if KINDS[purpose] is SecretKind.magic else ""
    assert f"form-action 'self'{named};" in policy or named == "", policy
    # Urlencoded by hand: not every client can be brought to send what an attacker does.
    fields = {name: page.text.partition(f'name="{name}" value="')[2].partition('"')[0] for name in ("token", "seal")}
    form = "&".join(f"{name}={quote(text)}" for name, text in (fields | typed(token)).items())
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await api.http.post(link.partition("?")[0], content=f"{form}&{posted}", headers=headers)
    assert answer.status_code in (200, 303, 400), (posted, answer.text)
    assert EVIL not in answer.text + str(answer.headers), posted
    if answer.status_code == 400:
        # A form that cannot be read in one way alone; the link is as good as before.
        page = await open_link(api, link)
        answer = await press(api, link, page, typed(token))
    return _leads_to(answer)


@pytest.mark.attack("A54")
@every_purpose
async def test_a_page_leads_to_what_the_brand_has_listed(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    """Letter for letter, else to the first on the list; in the link, or in the form alone."""
    await change_brand(server, brand, {"redirect_urls": [FIRST, SECOND]})
    second, cases = quote(SECOND, safe=""), [quote(raw, safe="") for raw in TARGETS]
    odd = [f"redirect={second}&redirect={quote(f'https://{EVIL}', safe='')}", "redirect[]=https://evil.example"]
    wanted = [(f"redirect={case}", f"redirect={case}", FIRST) for case in cases]
    wanted += [("", case, FIRST) for case in odd]
    wanted += [("", "redirect=", FIRST), (f"redirect={second}", f"redirect={second}", SECOND)]
    for number, (shown, posted, target) in enumerate(wanted):
        clock.advance(seconds=1)
        holder = await make_holder(api, server, brand, purpose, f"holder{number}@example.com")
        assert await _follow(api, server, holder, purpose, shown=shown, posted=posted) == target, (shown, posted)


@pytest.mark.attack("A54")
@every_purpose
async def test_without_a_list_a_page_leads_nowhere(
    server: Server, api: Api, brand: ActiveBrand, purpose: TokenPurpose
) -> None:
    """What would have gone to the app is shown, to be copied."""
    holder = await make_holder(api, server, brand, purpose)
    token = await holder.ask(purpose)
    link = link_in(server, (await outbox(server))[-1])
    page = await open_link(api, f"{link}&redirect={quote(FIRST, safe='')}")
    assert "app.example.com" not in page.text + str(page.headers)
    answer = await press(api, link, page, {**typed(token), "redirect": FIRST})
    assert answer.status_code == 200
    assert _leads_to(answer) is None
    assert "app.example.com" not in answer.text
    if KINDS[purpose] is SecretKind.magic:
        assert await use_in_app(api, answer.text.partition("<code>")[2].partition("</code>")[0])


@pytest.mark.attack("A54")
@pytest.mark.attack("A51")
async def test_no_address_can_be_configured_that_two_readers_read_in_two_ways(
    server: Server, api: Api, brand: ActiveBrand
) -> None:
    """Not even by an administrator."""
    key = (await make_api_key(server, brand, "admin"))[1].reveal()
    refused = (
        f"//{EVIL}", "javascript:alert(1)", "data:text/html,x", f"https://user@{EVIL}", f"https://a\\@{EVIL}",
        "https://", "ftp://example.com", "/welcome", "welcome", f"{FIRST}#x", f"{FIRST} x", f"{FIRST}\r\nX: y",
        f"{FIRST}\t",
        FIRST.replace("a", "\u0430", 1), "https://example.com:99999/", "https://example.com:0/", "https://[::1/",
        "", "*",
    )  # fmt: skip
    for raw in refused:
        for change in ({"redirect_urls": [FIRST, raw]}, {"base_url": raw}):
            answer = await api.send(UPDATE_BRAND, {"input": change}, key=key)
            assert_error(answer, "BAD_USER_INPUT", (change, answer.body))
    for change in ({"redirect_urls": [FIRST, SECOND]}, {"base_url": "https://id.example.com"}):
        assert (await api.send(UPDATE_BRAND, {"input": change}, key=key)).data["updateBrand"]
