"""examples/script.py: its printed command line, and its error messages."""

from __future__ import annotations

import subprocess
import sys

from examples import script
from keystead_client import Client
from tests.cli.command import plain_environment
from tests.examples.conftest import RUN, Example

NAMES = ["Aurora Paints", "Prism & Sons", "Umbrella Repairs"]


def run(**settings: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, str(RUN.with_name("script.py"))],
        env=plain_environment(NO_PROXY="*", **settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_printed_command_lists_the_customers(example: Example) -> None:
    command = example.found("^ +(KEYSTEAD_ENDPOINT=.*)$")
    said = subprocess.run(
        ["sh", "-c", command],
        cwd=example.folder,
        env=plain_environment(NO_PROXY="*"),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert [line[:30].rstrip() for line in said.stdout.splitlines()] == NAMES


def test_it_reads_page_by_page(example: Example) -> None:
    endpoint, key = example.found("KEYSTEAD_ENDPOINT=([^ ]+)"), example.found("KEYSTEAD_API_KEY=([^ ]+)")
    with Client(endpoint, api_key=key) as client:
        assert [customer["name"] for customer in script.customers(client, per_page=2)] == NAMES


def test_errors_are_one_line(example: Example) -> None:
    endpoint = example.found("KEYSTEAD_ENDPOINT=([^ ]+)")
    nowhere = {"KEYSTEAD_ENDPOINT": "http://127.0.0.1:1", "KEYSTEAD_API_KEY": "ks_sk_x"}
    assert run() == (1, "", "Please set KEYSTEAD_ENDPOINT and KEYSTEAD_API_KEY.\n")
    code, _, said = run(KEYSTEAD_ENDPOINT=endpoint, KEYSTEAD_API_KEY="ks_sk_x")
    assert (code, said) == (1, "The server does not know this API key: was it revoked?\n")
    code, _, said = run(**nowhere)
    assert code == 1
    assert "127.0.0.1:1" in said
    assert len(said.splitlines()) == 1
