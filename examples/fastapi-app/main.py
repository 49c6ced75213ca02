"""An application whose users log in with Keystead: a login page, a dashboard, a protected API, two ways to log out.

KEYSTEAD_ENDPOINT is the server; KEYSTEAD_BRAND or KEYSTEAD_BRAND_TOKEN is the brand whose users log in.
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
from starlette.exceptions import HTTPException as StarletteHTTPException

from keystead_client import AsyncClient, KeysteadError, NotAuthenticated, auth
from keystead_client.errors import Forbidden, GraphQLValidationFailed, Unauthorized
from keystead_client.fastapi import CurrentUser, PageUser, redirect_back
from keystead_client.middleware import KeysteadMiddleware

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
    403: "This form was sent by another site and was ignored.",
    404: "There is no such page.",
    405: "This address is for a button and cannot be opened as a page.",
    503: "This is not available at the moment. Please try again in a minute.",
}


def connect() -> AsyncClient:
    """Make the client for this application's own calls and those of the middleware, with one brand for both.

    A browser is waiting, so the timeout is short. It acts for users only, so no API key is read.
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
    """Render a page that is never cached and loads nothing from other origins."""
    return templates.TemplateResponse(request, name, values, status, PAGE_HEADERS)


def problem(request: Request, status: int, message: str = "") -> Response:
    """Render the error page."""
    title = "Not available" if status == 503 else "That did not work"
    return page(
        request, "problem.html", status, title=title, message=message or PROBLEMS.get(status, "Please go back.")
    )


async def ask_as_user(request: Request, document: str) -> dict[str, Any]:
    """Execute a GraphQL document with the user's access token, which the middleware keeps fresh."""
    address = request.client.host if request.client else None
    return await keystead.execute_with(auth.get_auth_token() or "", document, forwarded_for=address)


@app.get(LOGIN)
async def login_page(request: Request) -> Response:
    """Show the form, except to a logged-in user. It is posted to the same URL, with its ``?redirect=``."""
    return redirect_back(request) if await auth.logged_in() else page(request, "login.html")


@app.post(LOGIN)
async def log_in(request: Request, email: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
    """Log in and redirect to the page before the login, or show the form again with the error."""
    result = await auth.login(email, password)
    if result.error is None:
        return redirect_back(request)
    status = 401 if result.error.code == "INVALID_CREDENTIALS" else 503
    return page(request, "login.html", status, email=email, error=result.error.message)


@app.get("/")
async def dashboard(request: Request, user: PageUser) -> Response:
    """Show the user, their sessions, and the customers that Keystead lets them see."""
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
    """Return the user as JSON; 401 instead of a redirect without a session."""
    return user


@app.post("/auth/logout")
async def log_out(request: Request) -> Response:
    """End this browser's session. Its cookies are deleted in any case."""
    result = await auth.logout()
    if result.error:
        return problem(request, 503, "This browser is logged out, but the session could not be ended in Keystead.")
    return RedirectResponse(LOGIN, 303)


@app.post("/auth/logout-everywhere")
async def log_out_everywhere(request: Request) -> Response:
    """End all sessions of the user: every other browser is logged out on its next request."""
    await auth.require_auth(mode="raise")
    await ask_as_user(request, LOG_OUT_EVERYWHERE)
    await auth.logout()
    return RedirectResponse(LOGIN, 303)


@app.exception_handler(NotAuthenticated)
async def session_may_be_over(request: Request, error: Exception) -> Response:
    """Handle a rejected access token: if the session is over, for example ended elsewhere, delete the cookies."""
    result = await auth.refresh_tokens()
    if result.error is None or result.error.code != "TOKEN_EXPIRED":
        return problem(request, 503)
    await auth.logout()
    return RedirectResponse(LOGIN, 303)


@app.exception_handler(Unauthorized)  # of the application's own brand token, not of the user
@app.exception_handler(KeysteadError)
async def unavailable(request: Request, error: Exception) -> Response:
    """Handle errors of Keystead. They log no user out."""
    return problem(request, 503)


@app.exception_handler(StarletteHTTPException)  # FastAPI's HTTPException, too, and unknown paths and methods
async def rejected(request: Request, error: Exception) -> Response:
    """Respond with a page to browsers, with JSON to programs."""
    assert isinstance(error, StarletteHTTPException)
    if request.url.path.startswith("/api/"):
        return await http_exception_handler(request, error)
    response = problem(request, error.status_code)
    response.headers.update(error.headers or {})
    return response


@app.exception_handler(RequestValidationError)
async def incomplete(request: Request, error: Exception) -> Response:
    """Handle an incomplete login form, the only form with fields."""
    return page(request, "login.html", 422, error="Please fill in both fields.")


@app.middleware("http")  # added last, so it is outside KeysteadMiddleware
async def own_error_pages(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Replace the plain-text 403 (CSRF) and 503 of KeysteadMiddleware with pages of this application."""
    response = await call_next(request)
    is_plain = response.headers.get("content-type", "").startswith("text/plain")
    if response.status_code not in (403, 503) or not is_plain:
        return response
    ours = problem(request, response.status_code)
    for cookie in response.headers.getlist("set-cookie"):  # tokens that were just refreshed
        ours.headers.append("set-cookie", cookie)
    return ours
