"""What a reader sees when something of ours does not work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from keystead.authentication import email_verification, magic_link, password_change
from keystead.context import Server
from keystead.errors import InternalError, KeysteadError, RateLimited, ServerBusy, ServiceUnavailable, StorageFull
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.web.pages.rendering import choose_wording
from keystead.web.pages.responses import error_page
from tests.attacks.outage import FailingDatabase, failing
from tests.clocks import ManualClock
from tests.make import make_server
from tests.web.pages.conftest import Asked
from tests.web.pages.test_transport import has_no_script, is_strict
from tests.web.pages.visiting import Visitor

TWICE = {"password": "violet indigo blue", "repeated": "violet indigo blue"}


class TestWithoutItsDatabase:
    @pytest.fixture
    async def outage(self, database_url: str) -> AsyncIterator[FailingDatabase]:
        async with failing(database_url) as outage:
            yield outage

    @pytest.fixture
    async def server(self, outage: FailingDatabase, clock: ManualClock) -> Server:
        return await make_server(outage.database, clock)

    @pytest.mark.attack("A85")
    @pytest.mark.parametrize("kind", list(LINK_KINDS))
    async def test_a_page_says_so_and_the_link_stays_good(
        self, outage: FailingDatabase, visitor: Visitor, asked: Asked, kind: MailKind
    ) -> None:
        link = await asked(kind)
        page = await visitor.open(link)
        typed = TWICE if page.form.typed else None
        await outage.fail()
        for failed in (await visitor.open(link), await visitor.press(page, typed)):
            assert failed.status == 503
            assert int(failed.response.headers["retry-after"]) >= 1
            assert "your link still works" in failed.text
            assert not any(word in failed.response.text.lower() for word in ("sql", "disk", "postgres", "keystead.db"))
            assert is_strict(failed.response)
            assert has_no_script(failed)
        await outage.recover()
        assert (await visitor.press(page, typed)).status in (200, 303)


@pytest.mark.attack("A85")
@pytest.mark.parametrize("error", [RuntimeError("text with the password in it"), InternalError(cause="a bug of ours")])
@pytest.mark.parametrize("kind", list(LINK_KINDS))
async def test_a_fault_of_ours_has_a_number_and_no_text(
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
        failed = await visitor.press(page, TWICE if page.form.typed else None)
    assert failed.status == 500
    assert is_strict(failed.response)
    told = next(line for line in log if line["event"] == "page.fault")
    assert told["reference_id"] in failed.text
    assert told["reference_id"] == next(line for line in log if line["event"] == "page")["request_id"]
    assert "carry_out" in told["trace"]
    assert "text with the password" not in f"{log}{failed.response.text}"


@pytest.mark.parametrize(("error", "status"), [(ServerBusy(retry_after=3), 503), (RateLimited(retry_after=7), 429)])
async def test_too_much_at_once_is_said_and_the_link_stays_good(
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
def test_what_an_operator_has_to_mend_is_logged_as_an_error(error: KeysteadError) -> None:
    with capture_logs() as lines:
        assert error_page(error, choose_wording("en"), "a-reference", "GET").status == 503
    (line,) = lines
    assert (line["log_level"], line["cause"], line["reference_id"]) == ("error", "the disk", "a-reference")
