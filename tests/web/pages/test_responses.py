"""Responses: security headers on every one, and the error pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from keystead.authentication import email_verification, magic_link, password_change
from keystead.context import ActiveBrand, Server
from keystead.errors import InternalError, KeysteadError, RateLimited, ServerBusy, ServiceUnavailable, StorageFull
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.web.pages.endpoint import LARGEST_FORM
from keystead.web.pages.rendering import choose_wording
from keystead.web.pages.responses import error_page
from tests.attacks.outage import FailingDatabase, failing
from tests.clocks import ManualClock
from tests.make import change_brand, make_server
from tests.web.pages.conftest import Asked
from tests.web.pages.visiting import TWICE, Page, Visitor, has_no_script, is_strict


@pytest.mark.parametrize("kind", list(LINK_KINDS))
async def test_every_response_is_strict(visitor: Visitor, asked: Asked, kind: MailKind) -> None:
    page = await visitor.open(await asked(kind))
    assert is_strict(page.response)
    assert has_no_script(page)
    action, hidden = page.response.url.join(page.form.action), page.form.hidden
    form = {"content-type": "application/x-www-form-urlencoded"}
    requests: dict[int, dict[str, Any]] = {
        403: {"data": hidden, "headers": {"origin": "https://evil.example"}},
        400: {"content": "token=a&token=b", "headers": form},
        413: {"content": b"a" * (LARGEST_FORM + 1), "headers": form},
        415: {"json": hidden},
        410: {"data": {"token": "x"}},
        200: {"data": {**hidden, **(page.typed or {})}},
    }
    for status, request in requests.items():
        answer = await visitor.http.post(action, **request)
        assert answer.status_code == status
        assert is_strict(answer)
        assert has_no_script(Page(answer))
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert is_strict((await visitor.open("/link/reset", method="PUT")).response)


async def test_form_action_allows_the_redirect_that_follows(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked
) -> None:
    await change_brand(server, brand, {"redirect_urls": ["https://app.example.com:8443/in", "https://b.example/"]})
    login, verify = await asked(MailKind.magic_login), await asked(MailKind.verify_email)
    page = await visitor.open(login)
    assert is_strict(page.response, "'self' https://app.example.com:8443")
    assert is_strict((await visitor.open(f"{login}&redirect=https://b.example/")).response, "'self' https://b.example")
    assert is_strict((await visitor.open(verify)).response)
    assert is_strict((await visitor.press(page)).response, "'self' https://app.example.com:8443")


class TestDatabaseOutage:
    @pytest.fixture
    async def outage(self, database_url: str) -> AsyncIterator[FailingDatabase]:
        async with failing(database_url) as outage:
            yield outage

    @pytest.fixture
    async def server(self, outage: FailingDatabase, clock: ManualClock) -> Server:
        return await make_server(outage.database, clock)

    @pytest.mark.attack("A85")
    @pytest.mark.parametrize("kind", list(LINK_KINDS))
    async def test_a_page_is_503_and_the_link_stays_valid(
        self, outage: FailingDatabase, visitor: Visitor, asked: Asked, kind: MailKind
    ) -> None:
        link = await asked(kind)
        page = await visitor.open(link)
        await outage.fail()
        for failed in (await visitor.open(link), await visitor.press(page, page.typed)):
            assert failed.status == 503
            assert int(failed.response.headers["retry-after"]) >= 1
            assert "your link still works" in failed.text
            assert not any(word in failed.response.text.lower() for word in ("sql", "disk", "postgres", "keystead.db"))
            assert is_strict(failed.response)
            assert has_no_script(failed)
        await outage.recover()
        assert (await visitor.press(page, page.typed)).status in (200, 303)


@pytest.mark.attack("A85")
@pytest.mark.parametrize("error", [RuntimeError("text with the password in it"), InternalError(cause="a bug of ours")])
@pytest.mark.parametrize("kind", list(LINK_KINDS))
async def test_a_server_fault_shows_a_reference_and_no_details(
    visitor: Visitor, asked: Asked, monkeypatch: pytest.MonkeyPatch, kind: MailKind, error: Exception
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    page = await visitor.open(await asked(kind))
    for module, name in (
        (email_verification, "verify_email"),
        (magic_link, "hand_over"),
        (password_change, "reset_password"),
    ):
        monkeypatch.setattr(module, name, fail)
    with capture_logs() as log:
        failed = await visitor.press(page, page.typed)
    assert failed.status == 500
    assert is_strict(failed.response)
    told = next(line for line in log if line["event"] == "page.fault")
    assert told["reference_id"] in failed.text
    assert told["reference_id"] == next(line for line in log if line["event"] == "page")["request_id"]
    assert "carry_out" in told["trace"]
    assert "text with the password" not in f"{log}{failed.response.text}"


@pytest.mark.parametrize(("error", "status"), [(ServerBusy(retry_after=3), 503), (RateLimited(retry_after=7), 429)])
async def test_overload_is_reported_and_the_link_stays_valid(
    visitor: Visitor, asked: Asked, monkeypatch: pytest.MonkeyPatch, error: ServerBusy | RateLimited, status: int
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise error

    page = await visitor.open(await asked(MailKind.reset_password))
    with monkeypatch.context() as patched:
        patched.setattr(password_change, "reset_password", refuse)
        answer = await visitor.press(page, TWICE)
    assert answer.status == status
    assert answer.response.headers["retry-after"] == str(error.retry_after)
    assert (await visitor.press(page, TWICE)).status == 200


@pytest.mark.parametrize("error", [ServiceUnavailable(cause="the disk"), StorageFull(cause="the disk")])
def test_faults_for_operators_are_logged_as_errors(error: KeysteadError) -> None:
    with capture_logs() as lines:
        assert error_page(error, choose_wording("en"), "a-reference", "GET").status == 503
    (line,) = lines
    assert (line["log_level"], line["cause"], line["reference_id"]) == ("error", "the disk", "a-reference")
