"""A51, A54: URLs of links and redirects of pages are configured, and depend on no header of a request."""

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
from tests.attacks.mail_operations import Holder, make_holder, typed, use_in_app
from tests.attacks.mails import LINK_MAILS, link_in, open_link, outbox, press, read
from tests.attacks.operations import assert_error
from tests.clocks import ManualClock
from tests.make import change_brand, make_api_key
from tests.web.pages.test_csrf import HOSTILE_REDIRECTS

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
UPDATE_BRAND = "mutation ($input: UpdateBrandInput!) { updateBrand(input: $input) { data { id } } }"
_ADDRESS = re.compile(r"https?://[^\s\"'<>]+")
_ONWARD = re.compile(r'<a class="button" href="([^"]*)"')
every_purpose = pytest.mark.parametrize("purpose", list(LINK_MAILS))


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """Trusts a proxy, without throttling."""
    settings = replace(server.settings, throttling=False, trusted_proxies=(ip_network("192.0.2.7"),))
    client = await make_api(replace(server, settings=settings))
    yield client
    await client.http.aclose()


def _with_headers(api: Api, headers: list[tuple[str, str]]) -> None:
    api.http.headers = httpx.Headers(headers)


@pytest.mark.attack("A51")
@every_purpose
@pytest.mark.parametrize("base_url", [None, "https://id.rainbow.example/auth"])
async def test_a_link_begins_with_the_configured_url(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose, base_url: str | None
) -> None:
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
async def test_a_page_does_not_depend_on_host_headers(
    server: Server, api: Api, brand: ActiveBrand, purpose: TokenPurpose
) -> None:
    await change_brand(server, brand, {"redirect_urls": [FIRST]})
    token = await (await make_holder(api, server, brand, purpose)).ask(purpose)
    link = link_in(server, (await outbox(server))[-1])
    reference = page = await open_link(api, link)
    for headers in HOSTS:
        _with_headers(api, headers)
        page = await open_link(api, link)
        assert (page.content, page.headers) == (reference.content, reference.headers), headers
    _with_headers(api, HOSTS[-1])
    answer = await press(api, link, page, typed(token))
    assert answer.status_code in (200, 303)
    assert EVIL not in page.text + str(page.headers) + answer.text + str(answer.headers)
    assert _leads_to(answer) == FIRST


def _leads_to(answer: httpx.Response) -> str | None:
    """Where the submitted page leads: a redirect, or its one link."""
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
    """Where a link leads with the redirect ``shown`` in its query and ``posted`` in its form."""
    token = await holder.ask(purpose)
    link = link_in(server, (await outbox(server))[-1])
    page = await open_link(api, f"{link}&{shown}")
    assert page.status_code == 200, (shown, page.text)
    assert EVIL not in page.text + str(page.headers), shown
    policy = page.headers["content-security-policy"]
    named = " https://app.example.com" if KINDS[purpose] is SecretKind.magic else ""
    assert f"form-action 'self'{named};" in policy or named == "", policy
    # Encoded by hand, as an attacker would.
    fields = {name: page.text.partition(f'name="{name}" value="')[2].partition('"')[0] for name in ("token", "seal")}
    form = "&".join(f"{name}={quote(text)}" for name, text in (fields | typed(token)).items())
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await api.http.post(link.partition("?")[0], content=f"{form}&{posted}", headers=headers)
    assert answer.status_code in (200, 303, 400), (posted, answer.text)
    assert EVIL not in answer.text + str(answer.headers), posted
    if answer.status_code == 400:
        # An ambiguous form; the link is still valid.
        page = await open_link(api, link)
        answer = await press(api, link, page, typed(token))
    return _leads_to(answer)


@pytest.mark.attack("A54")
@every_purpose
async def test_a_page_redirects_to_listed_urls_alone(
    server: Server, api: Api, brand: ActiveBrand, clock: ManualClock, purpose: TokenPurpose
) -> None:
    await change_brand(server, brand, {"redirect_urls": [FIRST, SECOND]})
    holder = await make_holder(api, server, brand, purpose)
    await holder.ask(purpose)
    link = link_in(server, (await outbox(server))[-1])
    cases = [quote(raw, safe="") for raw in HOSTILE_REDIRECTS]
    for case in cases:
        page = await open_link(api, f"{link}&redirect={case}")
        assert page.status_code == 200, case
        assert 'name="redirect"' not in page.text, case
        assert EVIL not in page.text + str(page.headers), case
    second = quote(SECOND, safe="")
    odd = [f"redirect={second}&redirect={quote(f'https://{EVIL}', safe='')}", "redirect[]=https://evil.example"]
    # Each kind of page posts some of them; choose_target is tested with all.
    wanted = [(f"redirect={case}", f"redirect={case}", FIRST) for case in cases[:: 4 if purpose == "login" else 12]]
    wanted += [("", case, FIRST) for case in odd]
    wanted += [("", "redirect=", FIRST), (f"redirect={second}", f"redirect={second}", SECOND)]
    for number, (shown, posted, target) in enumerate(wanted):
        clock.advance(seconds=1)
        holder = await make_holder(api, server, brand, purpose, f"holder{number}@example.com")
        assert await _follow(api, server, holder, purpose, shown=shown, posted=posted) == target, (shown, posted)


@pytest.mark.attack("A54")
@every_purpose
async def test_without_a_list_there_is_no_redirect(
    server: Server, api: Api, brand: ActiveBrand, purpose: TokenPurpose
) -> None:
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
async def test_ambiguous_urls_cannot_be_configured(server: Server, api: Api, brand: ActiveBrand) -> None:
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
