"""examples/fastapi-app and a Keystead server in separate processes, and windows of one Chromium."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from keystead import policy
from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.sessions import access_tokens
from tests.browser.conftest import Console
from tests.databases import SqliteTemplate
from tests.make import PASSWORD, change_brand, make_brand, make_user
from tests.processes.node import Node, RemoteApi, make_colleague, running
from tests.processes.web_app import WebApp, secrets_in, started
from tests.sdk.site import AUTH
from tests.use_cases.people import ANN, is_signed_out

APPLICATION = Path(__file__).parents[3] / "examples" / "fastapi-app"
HOST = "app.localhost"
BRIEFLY = 3


@dataclass
class Stage:
    """What the tests of a module share: the server ``node``, and a colleague of it in this process; and the app."""

    colleague: Server
    brand: ActiveBrand
    node: Node
    app: WebApp

    @property
    def origin(self) -> str:
        """The application's, by a name, so that it has subdomains: browsers know every localhost."""
        return f"http://{HOST}:{self.app.port}"

    async def log_in_and_wait(self, window: Window) -> None:
        """Log in with short-lived access tokens, and return when the token has expired."""
        await self._let_tokens_live(BRIEFLY)
        await window.open()
        await window.log_in()
        await window.is_in()
        token, pause = (await window.cookies())[AUTH], threading.Event()
        async with RemoteApi(self.node) as api:
            while not await is_signed_out(api, token):
                await asyncio.to_thread(pause.wait, 0.1)
        await self._let_tokens_live(policy.LONGEST_ACCESS_TTL)

    async def age(self, window: Window) -> None:
        """Replace the browser's access token by an expired one of the same session."""
        now = self.colleague.clock.now()
        claims = access_tokens.verify(self.colleague, (await window.cookies())[AUTH], now)
        assert claims is not None
        of = claims.brand_id, claims.user_id, claims.session_id
        token = access_tokens.issue(self.colleague, *of, BRIEFLY, now - timedelta(minutes=1))
        await window.context.add_cookies([{"name": AUTH, "value": token, "url": self.origin, "httpOnly": True}])
        assert len(await window.cookies()) == 2

    async def _let_tokens_live(self, seconds: int) -> None:
        # Shorter than a brand may choose, to save time.
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(policy._RANGES, "access_ttl", (BRIEFLY, policy.LONGEST_ACCESS_TTL))
            await change_brand(self.colleague, self.brand, {"policy": {"access_ttl": seconds}})


class Window:
    """One user's browser window with separate cookies. ``asked`` are the URLs that it has requested."""

    def __init__(self, context: BrowserContext, page: Page, stage: Stage) -> None:
        self.context = context
        self.page = page
        self.origin = stage.origin
        self.asked: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))

    async def open(self, path: str = "/") -> int:
        """Opens a page of the application; the status of the answer."""
        response = await self.page.goto(self.origin + path)
        assert response is not None
        return response.status

    async def log_in(self, email: str = ANN, password: str = PASSWORD) -> None:
        """Fills in the form that is open."""
        await self.page.get_by_label("E-mail address").fill(email)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Log in").click()

    async def click(self, name: str) -> None:
        """Presses a button."""
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def go_home(self) -> None:
        """Clicks on the name of the application."""
        await self.page.get_by_role("banner").get_by_role("link").click()

    async def is_in(self, email: str = ANN) -> None:
        """The dashboard of this user is open."""
        await expect(self.page.locator("#email")).to_have_text(email)

    async def is_out(self) -> None:
        """The login page is open, and no cookies are left."""
        await expect(self.page.get_by_role("heading", level=1)).to_have_text("Log in")
        assert urlsplit(self.page.url).path == "/auth/login"
        assert await self.cookies() == {}

    async def cookies(self) -> dict[str, str]:
        """Those that go to the application."""
        return {cookie["name"]: cookie["value"] for cookie in await self.context.cookies(self.origin)}


OpenWindow = Callable[[], Awaitable[Window]]


@pytest.fixture(scope="module")
async def stage(
    browser: Browser, sqlite_template: SqliteTemplate, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """Both processes, on a database with Ann; their output is searched for secrets at the end."""
    folder = tmp_path_factory.mktemp("fastapi-app")
    url = sqlite_template.copy(folder)
    database = open_database(url)
    await database.open()
    colleague = await make_colleague(database)
    brand = await make_brand(colleague)
    await make_user(colleague, brand, ANN, password=PASSWORD)
    with running(folder, url) as node:
        settings = {"KEYSTEAD_ENDPOINT": node.url, "KEYSTEAD_BRAND": brand.name}
        words = "uvicorn", "main:app", "--app-dir", str(APPLICATION)
        with started(folder, *words, **settings) as app:
            app.wait_until_ready("/auth/login")
            yield Stage(colleague, brand, node, app)
    await database.close()
    assert secrets_in(app.output.read_text() + node.log.read_text(), PASSWORD) == []


@pytest.fixture
async def open_window(stage: Stage, browser: Browser) -> AsyncIterator[OpenWindow]:
    """Opens windows; checks that they request nothing outside the application and log no console errors."""
    console, windows = Console(), []

    async def open_one() -> Window:
        context = await browser.new_context(locale="en-GB")
        context.set_default_timeout(15_000)
        context.on("console", console.note)
        windows.append(Window(context, await context.new_page(), stage))
        return windows[-1]

    yield open_one
    for window in windows:
        assert {urlsplit(address).hostname for address in window.asked} <= {HOST, f"sub.{HOST}"}
        await window.context.close()
    assert console.lines == []


@pytest.fixture
async def ann(open_window: OpenWindow) -> Window:
    """A window in which Ann has just logged in."""
    window = await open_window()
    await window.open()
    await window.log_in()
    await window.is_in()
    return window
