"""A real Chromium and a listening server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind
from keystead.users.model import User
from tests.api import Api, listening
from tests.browser.app_site import AppSite, app_site
from tests.chromium import OPTIONS, chromium
from tests.make import make_brand, make_brand_token, make_user
from tests.web.pages.visiting import newest_link

PASSWORD = "rainbow123"
ANN = "ann@example.com"
NEW = "ann.new@example.com"
# What the status of an answer looks like in the console.
_STATUS = "Failed to load resource: the server responded with a status of "


@dataclass
class Site:
    """The server as its users reach it."""

    url: str
    server: Server
    brand: ActiveBrand
    brand_token: str
    api: Api

    async def newest_link(self, kind: MailKind) -> str:
        """The link in the newest mail of this kind."""
        return await newest_link(self.server, kind)


class RemoteApi(Api):
    """A client over real HTTP."""

    def __init__(self, server: Server, url: str) -> None:
        self.server = server
        self.http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)


@dataclass
class Console:
    """Warnings and errors of the browser's console."""

    lines: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_STATUS):
            self.lines.append(message.text)


@pytest.fixture
def app() -> Iterator[AppSite]:
    """The brand's app, on another origin."""
    with app_site() as site:
        yield site


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """``rainbowMakers``, with magic login."""
    return await make_brand(server, features={"magic_login": True})


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """A user with an address and a password."""
    return await make_user(server, brand, ANN, password=PASSWORD)


@pytest.fixture
async def site(server: Server, brand: ActiveBrand, app: AppSite) -> AsyncIterator[Site]:
    """The server, listening; its own address is the one that it listens at."""
    server.settings = replace(server.settings, cors_origins=(app.url,))
    brand_token = (await make_brand_token(server, brand)).reveal()
    async with listening(server.settings, server) as url:
        server.settings = replace(server.settings, base_url=url)
        api = RemoteApi(server, url)
        yield Site(url, server, brand, brand_token, api)
        await api.http.aclose()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium; its windows have nothing to do with each other."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        yield browser
        await browser.close()


@pytest.fixture
def console() -> Console:
    """A line in it at the end fails the test."""
    return Console()


@pytest.fixture
async def window(browser: Browser, console: Console) -> AsyncIterator[BrowserContext]:
    """A window with separate cookies, in English."""
    context = await browser.new_context(locale="en-GB")
    context.set_default_timeout(15_000)
    context.on("console", console.note)
    yield context
    assert await context.cookies() == []
    await context.close()
    assert console.lines == []


@pytest.fixture
async def page(window: BrowserContext) -> Page:
    """An empty tab."""
    return await window.new_page()
