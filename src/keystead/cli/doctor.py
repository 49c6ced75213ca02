"""``keystead doctor``: check an installation."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from keystead.cli.options import AsJson
from keystead.cli.output import print_list
from keystead.cli.work import configure_logs
from keystead.errors import KeysteadError, SettingsError, StartupError
from keystead.settings import Settings, load_settings

if TYPE_CHECKING:
    from keystead.cli.checks import Finding
    from keystead.clock import Clock


def doctor(as_json: AsJson = False) -> None:
    """Check settings, files, master key, schema, signing keys, clocks and mail. Exit code 1 if a check fails."""
    findings = _run_checks()
    rows = [asdict(finding) for finding in findings]
    print_list(rows, ("status", "check", "detail"), as_json=as_json, empty="")
    if any(finding.status == "failure" for finding in findings):
        raise typer.Exit(1)


def _run_checks() -> list[Finding]:
    from keystead.cli.checks import Finding, Status
    from keystead.clock import SystemClock

    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        return [Finding("settings", Status.failure, error.message)]
    configure_logs(settings)
    return asyncio.run(examine(settings, SystemClock()))


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """Run every check that the settings allow, in the order in which failures are best fixed.

    ``clock`` is that of this machine. A check that fails does not stop the others.
    """
    from keystead.cli.checks import Finding, Status, check_files, check_master_key, check_sending, check_settings
    from keystead.cli.database_checks import check_contents, check_database
    from keystead.db.factory import open_database

    findings = [*check_settings(settings), *check_files(settings)]
    master_key, about_key = check_master_key(settings)
    findings.append(about_key)
    findings += [finding async for finding in check_sending(settings)]
    file = settings.sqlite_file
    if file is not None and not file.exists():
        return [*findings, Finding("database", Status.warning, "does not exist yet: the first start creates it")]
    in_database: list[Finding] = []
    db = open_database(settings.database_url)
    try:
        await db.open()
        try:
            in_database += [finding async for finding in check_database(db)]
            in_database += [finding async for finding in check_contents(db, settings, master_key, clock)]
        finally:
            await db.close()
        reached = Finding("database", Status.ok, db.dialect)
    except StartupError as error:
        reached = Finding("database", Status.failure, error.message)
    except KeysteadError as error:
        reached = Finding("database", Status.failure, error.cause or error.message)
    return [*findings, reached, *in_database]
