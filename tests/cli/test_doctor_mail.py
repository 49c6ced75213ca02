"""``keystead doctor``: mail checks against a real SMTP server. No mail is sent."""

from __future__ import annotations

import json

import pytest

from keystead.cli.checks import Finding, Status, check_sending
from keystead.cli.database_checks import LATE, check_outbox
from keystead.context import ActiveBrand, Server
from keystead.mail.smtp import Limits
from keystead.mail.transport import DeliveryRefused
from keystead.settings import load_settings
from keystead.settings.outgoing_mail import MailServer
from keystead.users.model import User
from tests.certificates import Authority
from tests.cli.command import Cli
from tests.clocks import ManualClock
from tests.mail.letters import make_mail
from tests.mail.post import Post, make_delivery
from tests.smtp_server import SmtpServer, SmtpServers, Tls

LOGIN = ("keystead@shop.example", "s3cret: p@ss/wörd")


async def sending(url: str, **given: str) -> dict[str, Finding]:
    settings = load_settings({"KEYSTEAD_SMTP_URL": url, "KEYSTEAD_BASE_URL": "https://id.shop.example", **given})
    return {finding.check: finding async for finding in check_sending(settings)}


async def test_without_a_mail_server_mails_stay_in_the_outbox() -> None:
    found = await sending("")
    assert found["mail_server"].status is Status.warning
    assert "outbox" in found["mail_server"].detail
    assert "mail_from" not in found


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_server_that_accepts_the_login(servers: SmtpServers, trusted: Authority, tls: Tls) -> None:
    server = servers(tls, login=LOGIN)
    found = await sending(server.url, KEYSTEAD_MAIL_FROM="Shop <hello@shop.example>")
    at = f"127.0.0.1:{server.port}"
    assert found["mail_server"] == Finding("mail_server", Status.ok, f"{at}, TLSv1.3, the login is accepted")
    assert found["mail_from"] == Finding("mail_from", Status.ok, "hello@shop.example")
    await server.no_connection_is_open()
    assert server.commands[-2:] == ["NOOP", "QUIT"]
    assert "MAIL" not in server.commands


async def test_a_default_sender_and_mail_in_the_clear_to_another_machine_are_warnings(
    smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await sending(smtp.url)
    assert found["mail_server"].status is Status.ok
    assert found["mail_from"].status is Status.warning
    assert "no-reply@id.shop.example" in found["mail_from"].detail
    monkeypatch.setattr(MailServer, "is_local", False)
    finding = (await sending(smtp.url))["mail_server"]
    assert (finding.status, "in the clear" in finding.detail) == (Status.warning, True)


async def test_a_server_that_cannot_be_used_is_a_failure(servers: SmtpServers, smtp: SmtpServer) -> None:
    with SmtpServer() as gone:
        pass
    secretive = servers("none", login=LOGIN)
    smtp.answer("CONNECT", "554 5.7.1 Not from you")
    for url, said in (
        (servers("starttls").url, "its certificate was refused"),
        (secretive.url.replace("s3cret", "wrong"), "the login was refused: 535"),
        (smtp.url, "554 5.7.1 Not from you"),
        (gone.url, "cannot be reached"),
    ):
        finding = (await sending(url))["mail_server"]
        assert finding.status is Status.failure
        assert said in finding.detail
        assert "p@ss" not in finding.detail


async def test_a_server_that_does_not_respond_is_a_failure(smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(connect=0.05, command=0.05, whole=0.1, goodbye=0.05)
    monkeypatch.setattr("keystead.cli.checks.MAIL_SERVER_LIMITS", limits)
    smtp.withhold("EHLO")
    finding = (await sending(smtp.url))["mail_server"]
    assert (finding.status, "took too long" in finding.detail) == (Status.failure, True)


def test_it_is_part_of_the_command(cli: Cli, smtp: SmtpServer) -> None:
    cli.json("brand", "list")
    cli.settings |= {"KEYSTEAD_SMTP_URL": smtp.url, "KEYSTEAD_MAIL_FROM": "hello@shop.example"}
    said = cli("doctor", "--json")
    assert said.exit_code == 0, said.out
    statuses = {entry["check"]: entry["status"] for entry in said.document}
    assert (statuses["mail_server"], statuses["mail_from"], statuses["outbox"]) == ("ok", "ok", "ok")
    smtp.answer("EHLO", "502 5.5.2 What?")
    said = cli("doctor", "--json")
    assert said.exit_code == 1
    assert {entry["check"] for entry in json.loads(said.out) if entry["status"] == "failure"} == {"mail_server"}


def test_a_default_base_of_links_is_a_warning(cli: Cli) -> None:
    def links() -> tuple[str, str]:
        [found] = [entry for entry in json.loads(cli("doctor", "--json").out) if entry["check"] == "links"]
        return found["status"], found["detail"]

    cli.json("brand", "create", "shop")
    assert links() == ("warning", "begin with the default, http://localhost:4000, in keystead, shop: "
                       "set KEYSTEAD_BASE_URL")  # fmt: skip
    cli.json("brand", "update", "keystead", "--base-url", "https://id.example")
    cli.json("brand", "update", "shop", "--feature", "email_verification=off")
    assert links()[0] == "warning", "there is still the reset"
    cli.json("brand", "update", "shop", "--feature", "password_login=off")
    assert links()[0] == "ok"
    cli.json("brand", "update", "shop", "--feature", "magic_login=on")
    assert "in shop:" in links()[1]
    cli.json("brand", "update", "shop", "--disabled")
    assert links()[0] == "ok"
    cli.json("brand", "update", "shop", "--enabled")
    cli.settings["KEYSTEAD_BASE_URL"] = "https://id.shop.example"
    assert links()[0] == "ok"


async def test_dead_and_late_mails_are_a_warning(
    server: Server, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    assert (await check_outbox(server.db, clock.now())).status is Status.ok
    await make_mail(server, brand, ann)
    clock.advance(seconds=LATE.total_seconds())
    assert (await check_outbox(server.db, clock.now())).status is Status.ok
    clock.advance(seconds=1)
    finding = await check_outbox(server.db, clock.now())
    assert finding.status is Status.warning
    assert finding.detail == "1 mail waiting for more than 15 min: keystead mail list --state waiting"
    post = Post()
    post.error = DeliveryRefused("550 5.1.1 No such mailbox")
    await make_delivery(server, post).deliver_all_due()
    await make_mail(server, brand, ann)
    await make_delivery(server, post).deliver_all_due()
    finding = await check_outbox(server.db, clock.now())
    assert finding.detail == "2 mails given up: keystead mail list --state dead"
