"""An application whose users log in with Keystead: a login page, a dashboard, a protected API, two ways to log out.

KEYSTEAD_ENDPOINT says where the server is; KEYSTEAD_BRAND or KEYSTEAD_BRAND_TOKEN, which brand's users log in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException as Refusal

from keystead_client import AsyncClient, KeysteadError, NotAuthenticated, auth
from keystead_client.errors import Forbidden, GraphQLValidationFailed, Unauthorized
from keystead_client.fastapi import CurrentUser, PageUser
from keystead_client.middleware import KeysteadMiddleware
from keystead_client.starlette import redirect_back

HERE = Path(__file__).parent
LOGIN = "/auth/login"
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}
MY_SESSIONS = "{ sessionList(pagination: { per_page: 100 }) { data { created_at is_current } pagination { total } } }"
CUSTOMERS = "{ customerList { data { name email status } } }"
LOG_OUT_EVERYWHERE = "mutation { invalidateRefreshToken }"
PROBLEMS = {
    403: "This form was sent by another site, so nothing was done.",
    404: "There is no such page.",
    405: "This address belongs to a button. It cannot be opened as a page.",
    503: "Something is not working at this moment. Please try again in a minute.",
}


def connect() -> AsyncClient:
    """The client of this application, for its own questions and for those of the middleware, with one brand for both.

    A browser waits for the answers, so it gives up soon. It acts for users alone, so no API key is read.
    """
    if not os.environ.get("KEYSTEAD_ENDPOINT"):
        sys.exit("Please set KEYSTEAD_ENDPOINT to the address of Keystead, for example http://localhost:4000.")
    try:
        return AsyncClient(brand=os.environ.get("KEYSTEAD_BRAND"), api_key="", timeout=5, retries=1)
    except ValueError as error:
        sys.exit(f"KEYSTEAD_ENDPOINT or another setting cannot be used: {error}.")


keystead = connect()
app = FastAPI(openapi_url=None)
app.mount("/static", StaticFiles(directory=HERE / "static"))
app.add_middleware(KeysteadMiddleware, client=keystead, public_paths=("/auth", "/static"))
templates = Jinja2Templates(HERE / "templates")


def page(request: Request, name: str, status: int = 200, **values: Any) -> Response:
    """A page that no cache keeps and that loads nothing from elsewhere."""
    return templates.TemplateResponse(request, name, values, status, PAGE_HEADERS)


def problem(request: Request, status: int, message: str = "") -> Response:
    """The page for bad moments."""
    title = "Not available" if status == 503 else "That did not work"
    return page(
        request, "problem.html", status, title=title, message=message or PROBLEMS.get(status, "Please go back.")
    )


async def ask_as_user(request: Request, document: str) -> dict[str, Any]:
    """What Keystead answers to whoever sent the request. The middleware has seen to it that their token is fresh."""
    address = request.client.host if request.client else None
    return await keystead.execute_with(auth.get_auth_token() or "", document, forwarded_for=address)


@app.get(LOGIN)
async def login_page(request: Request) -> Response:
    """The form; who is logged in already needs none. It is posted to the same address, with its ``?redirect=``."""
    return redirect_back(request) if await auth.logged_in() else page(request, "login.html")


@app.post(LOGIN)
async def log_in(request: Request, email: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
    """Sets the cookies and goes to where the browser wanted to be, or shows the form again and says why."""
    result = await auth.login(email, password)
    if result.error is None:
        return redirect_back(request)
    is_wrong = result.error.code == "INVALID_CREDENTIALS"
    error = result.error.message if is_wrong else "Nobody can log in at this moment. Please try again in a minute."
    return page(request, "login.html", 401 if is_wrong else 503, email=email, error=error)


@app.get("/")
async def dashboard(request: Request, user: PageUser) -> Response:
    """Who is logged in, since when, in how many sessions, and what Keystead lets this user see."""
    sessions = (await ask_as_user(request, MY_SESSIONS))["sessionList"]
    try:
        customers = (await ask_as_user(request, CUSTOMERS))["customerList"]["data"]
    except (Forbidden, GraphQLValidationFailed):  # no permission, or no such entity in this brand
        customers = None
    since = next((datetime.fromisoformat(one["created_at"]) for one in sessions["data"] if one["is_current"]), None)
    shown = {"user": user, "since": since, "sessions": sessions["pagination"]["total"], "customers": customers}
    return page(request, "dashboard.html", **shown)


@app.get("/api/me")
async def me(user: CurrentUser) -> object:
    """The user as JSON; 401, never a redirect, for who is not logged in."""
    return user


@app.post("/auth/logout")
async def log_out(request: Request) -> Response:
    """Ends this browser's session. Its cookies go in any case."""
    result = await auth.logout()
    if result.error and result.error.code != "TOKEN_EXPIRED":
        return problem(request, 503, "This browser is logged out, but Keystead was not told.")
    return RedirectResponse(LOGIN, 303)


@app.post("/auth/logout-everywhere")
async def log_out_everywhere(request: Request) -> Response:
    """Ends all sessions of the user: every other browser is out on its next click."""
    await auth.require_auth(mode="raise")
    await ask_as_user(request, LOG_OUT_EVERYWHERE)
    await auth.logout()
    return RedirectResponse(LOGIN, 303)


@app.exception_handler(NotAuthenticated)
async def session_may_be_over(request: Request, error: Exception) -> Response:
    """The access token was refused. If the session has ended, say on another device, the cookies go, too."""
    result = await auth.refresh_tokens()
    if result.error is None or result.error.code != "TOKEN_EXPIRED":
        return problem(request, 503)
    await auth.logout()
    return RedirectResponse(LOGIN, 303)


@app.exception_handler(Unauthorized)  # the application's own brand token: that says nothing about the user
@app.exception_handler(KeysteadError)
async def unavailable(request: Request, error: Exception) -> Response:
    """Keystead did not answer as it should. Nobody is logged out for that."""
    return problem(request, 503)


@app.exception_handler(Refusal)  # Starlette's class: FastAPI's HTTPException, and unknown addresses and methods
async def refused(request: Request, error: Exception) -> Response:
    """A page for people, JSON for programs."""
    assert isinstance(error, Refusal)
    if request.url.path.startswith("/api/"):
        return await http_exception_handler(request, error)
    response = problem(request, error.status_code)
    response.headers.update(error.headers or {})
    return response


@app.exception_handler(RequestValidationError)
async def incomplete(request: Request, error: Exception) -> Response:
    """The only form with fields is that of the login page."""
    return page(request, "login.html", 422, error="Please fill in both fields.")


@app.middleware("http")  # added last, so it stands outside of KeysteadMiddleware
async def in_our_design(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """What KeysteadMiddleware refuses in plain text (forms of other sites) or cannot tell (503), as a page of ours."""
    response = await call_next(request)
    is_plain = response.headers.get("content-type", "").startswith("text/plain")
    if response.status_code not in (403, 503) or not is_plain:
        return response
    ours = problem(request, response.status_code)
    for cookie in response.headers.getlist("set-cookie"):  # tokens that were just renewed
        ours.headers.append("set-cookie", cookie)
    return ours
