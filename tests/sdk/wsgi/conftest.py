"""The shop in Flask and in Django, in front of a real server; the database makes no difference here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keystead.users.model import User
from tests.clocks import ManualClock
from tests.sdk.site import Wire
from tests.sdk.wsgi.django_shop import make_django
from tests.sdk.wsgi.flask_shop import make_flask
from tests.sdk.wsgi.shop import Shop, WireForThreads


@pytest.fixture(params=["flask", "django"])
def framework(request: pytest.FixtureRequest) -> str:
    """Each test that asks for a shop runs in both."""
    return str(request.param)


@pytest.fixture
def make_app(framework: str) -> Callable[..., Any]:
    """Makes the application."""
    return {"flask": make_flask, "django": make_django}[framework]


@pytest.fixture
async def open_shop(wire: Wire, clock: ManualClock, ann: User) -> Callable[..., Shop]:
    """Puts an application behind the middleware; Ann can log in."""
    way = WireForThreads(wire)
    return lambda app, **options: Shop(way, clock, app, **options)


@pytest.fixture
def shop(open_shop: Callable[..., Shop], make_app: Callable[..., Any]) -> Shop:
    """With every default of the middleware."""
    return open_shop(make_app())
