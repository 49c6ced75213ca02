"""A real PgBouncer in front of the tests' PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.postgres_server import UNPRIVILEGED, free_port
from tests.programs import require_program

_READY_WITHIN = 10.0


def pgbouncer() -> str:
    """The path of PgBouncer; a test is skipped without it, unless CI runs it."""
    return require_program("pgbouncer", package="pgbouncer")


@contextmanager
def pooled(url: str, *, mode: str = "transaction", ignored: str = "extra_float_digits") -> Iterator[str]:
    """The URL of the same database through a PgBouncer with few connections."""
    program, port, parts = pgbouncer(), free_port(), urlsplit(url)
    name = parts.path.removeprefix("/")
    password = f" password='{parts.password}'" if parts.password else ""
    folder = Path(tempfile.mkdtemp(prefix="keystead-pgbouncer-"))
    (folder / "users").write_text(f'"{parts.username}" "{parts.password or ""}"\n')
    (folder / "ini").write_text(f"""[databases]
{name} = host={parts.hostname} port={parts.port} dbname={name} user={parts.username}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = 3
ignore_startup_parameters = {ignored}
""")
    drop: dict[str, object] = {}
    if os.geteuid() == 0:  # PgBouncer refuses to run as root
        drop = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
        for path in (folder, folder / "users", folder / "ini"):
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    process = subprocess.Popen(
        [program, str(folder / "ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **drop,  # type: ignore[call-overload]
    )
    try:
        _wait_for(port, process)
        yield f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(int(_READY_WITHIN / 0.05)):
        assert process.poll() is None, "PgBouncer ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        pause.wait(0.05)
    raise AssertionError("PgBouncer does not listen")
