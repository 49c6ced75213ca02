"""A terminal with a shell in it, which keeps its variables from one block to the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cli.command import plain_environment

_MARK = "-- the block is over --"


class Terminal:
    """Bash in ``folder``, with ``keystead`` on its path and no setting of Keystead's."""

    def __init__(self, folder: Path) -> None:
        tools = folder.parent / f"{folder.name}-tools"
        tools.mkdir(exist_ok=True)
        command = tools / "keystead"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m keystead "$@"\n')
        command.chmod(0o755)
        environment = plain_environment(NO_PROXY="*", no_proxy="*")
        environment["PATH"] = os.pathsep.join((str(tools), environment["PATH"]))
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            bufsize=1,
            start_new_session=True,
        )

    def run(self, commands: str) -> str:
        """What the commands say, until the last of them is through."""
        self._type(f"{{\n{commands}\n}} < /dev/null\nprintf '\\n%s\\n' '{_MARK}'\n")
        return self._read_until(_MARK)

    def start(self, command: str, announcement: str) -> None:
        """Starts what stays in the foreground, and returns when it has said that it is there."""
        self._type(f"exec {command.strip()} < /dev/null\n")
        self._read_until(announcement.strip())

    def close(self) -> None:
        """Closes the window, with whatever runs in it."""
        self.process.terminate()
        self.process.wait(15)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def _type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def _read_until(self, last: str) -> str:
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            if line.rstrip("\n") == last:
                return said
            said += line
        raise AssertionError(f"the terminal was closed; it said:\n{said}")
