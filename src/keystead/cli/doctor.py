"""``keystead doctor``: what an operator should mend, before it is found out otherwise."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from keystead.cli.options import AsJson
from keystead.cli.output import print_list
from keystead.cli.work import configure_logs
from keystead.errors import SettingsError
from keystead.settings import load_settings

if TYPE_CHECKING:
    from keystead.cli.checks import Finding


def doctor(as_json: AsJson = False) -> None:
    """Check settings, files, master key, schema, signing keys, clocks and mail. Exit code 1 when a check fails."""
    findings = _examine()
    rows = [asdict(finding) for finding in findings]
    print_list(rows, ("status", "check", "detail"), as_json=as_json, empty="")
    if any(finding.status == "failure" for finding in findings):
        raise typer.Exit(1)


def _examine() -> list[Finding]:
    from keystead.cli.checks import Finding, Status, examine
    from keystead.clock import SystemClock

    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        return [Finding("settings", Status.failure, error.message)]
    configure_logs(settings)
    return asyncio.run(examine(settings, SystemClock()))
