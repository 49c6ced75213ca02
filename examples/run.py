"""``make example``: Keystead's demo, and the FastAPI application beside it. Ctrl-C ends both."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDER = ".example"
"""The demo's data. Two servers in the folder of ``make demo`` would end each other's sessions."""
READY_WITHIN = 30.0
ENDED_WITHIN = 15.0
PAUSE = 0.05


def main() -> None:
    """Start both, print their URLs, and wait until one of them ends or is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=4000, help="of the demo")
    parser.add_argument("--app-port", type=int, default=8000, help="of the application")
    ports = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    _must_be_free(ports.port, "PORT")
    _must_be_free(ports.app_port, "APP_PORT")
    if ports.port == ports.app_port:
        sys.exit(f"PORT and APP_PORT are both {ports.port}: choose two.")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYSTEAD_")}
    with ExitStack() as running:
        words = ("keystead", "demo", "--json", "--folder", FOLDER, "--port", str(ports.port))
        demo = running.enter_context(_running(environment, *words))
        facts = _facts(demo)
        environment |= {"KEYSTEAD_ENDPOINT": facts["url"].removesuffix("/graphql"), "KEYSTEAD_BRAND": facts["brand"]}
        words = ("uvicorn", "main:app", "--app-dir", str(HERE / "fastapi-app"), "--log-level", "warning", "--port")
        app = running.enter_context(_running(environment, *words, str(ports.app_port)))
        _wait_until_up(app, ports.app_port)
        print(_introduction(facts, ports.app_port), flush=True)
        while demo.poll() is None and app.poll() is None:
            time.sleep(PAUSE)
        ended = "The application" if demo.poll() is None else "The demo"
        sys.exit(f"{ended} has ended, so the other one ends, too.")


def _end(_number: int, _frame: object) -> None:
    # A second Ctrl-C does not interrupt the shutdown of the two.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def _must_be_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            other = port + 100
            sys.exit(f"Port {port} cannot be used ({error.strerror}). Choose another: make example {name}={other}")


@contextmanager
def _running(environment: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    # In its own process group: Ctrl-C reaches this program only, which then ends one after the other.
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDED_WITHIN)
            process.kill()


def _facts(demo: subprocess.Popen[str]) -> dict[str, Any]:
    """Read the JSON document that the demo prints once it is up; its last line is a brace."""
    assert demo.stdout is not None
    text = ""
    for line in demo.stdout:
        text += line
        if line == "}\n":
            facts: dict[str, Any] = json.loads(text)
            return facts
    sys.exit("The demo did not start.")


def _wait_until_up(app: subprocess.Popen[str], port: int) -> None:
    until = time.monotonic() + READY_WITHIN
    while app.poll() is None and time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_WITHIN)
        try:
            connection.request("GET", "/auth/login")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(PAUSE)
        finally:
            connection.close()
    sys.exit("The application did not start.")


def _introduction(facts: dict[str, Any], app_port: int) -> str:
    secrets = facts["secrets"]
    script = [os.path.relpath(sys.executable), os.path.relpath(HERE / "script.py")]
    settings = f"KEYSTEAD_ENDPOINT={facts['url'].removesuffix('/graphql')} KEYSTEAD_API_KEY={secrets['api_key']}"
    return f"""
The application:  http://localhost:{app_port}
  e-mail          {secrets["email"]} (an administrator), or nova@rainbowmakers.example (with fewer permissions)
  password        {secrets["password"]} (of both)
Keystead:         {facts["url"]}, and its mails at {facts["mailbox"]}

A program with an API key; paste it into another terminal:
  {settings} {shlex.join(script)}

Ctrl-C ends both."""


if __name__ == "__main__":
    main()
